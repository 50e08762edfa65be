/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The pool of 4 KiB pages: a bitmap of the arena. */
#include "hv/mm/page.h"

#include "hv/cpu/lock.h"
#include "hv/lib/bits.h"
#include "hv/lib/string.h"

static uint64_t page_alias;     /* of the arena: virtual minus physical */

/* The pool: a bit per page, set when taken. The bitmap lies in the pool's first pages. */
static uint64_t *pool_bits;
static uint64_t pool_base;      /* physical */
static uint64_t pool_pages, pool_free_pages;
static uint64_t pool_hint;      /* no free page below it */
static struct lock pool_lock;   /* LOCK_POOL */

void *page_va(paddr_t page)
{
    return (void *)(uintptr_t)(page_alias + page.raw);
}

paddr_t page_pa(const void *va)
{
    return paddr((uintptr_t)va - page_alias);
}

void page_init(const struct handoff *handoff)
{
    page_alias = HV_ARENA_BASE - handoff->arena_base;
    pool_base = handoff->arena_base + handoff->arena_used;
    pool_pages = (handoff->arena_size - handoff->arena_used) / PAGE_SIZE;
    uint64_t bitmap_pages = (pool_pages / 8 + PAGE_SIZE) / PAGE_SIZE;
    ASSERT(bitmap_pages < pool_pages);
    pool_bits = page_va(paddr(pool_base));
    memset(pool_bits, 0, bitmap_pages * PAGE_SIZE);
    bits_mark(pool_bits, 0, bitmap_pages, true);
    pool_hint = bitmap_pages;
    pool_free_pages = pool_pages - bitmap_pages;
}

bool page_alloc(uint64_t count, paddr_t *out)
{
    ASSERT(count > 0);
    lock_take(&pool_lock, LOCK_POOL);
    while (pool_hint < pool_pages && bits_has(pool_bits, pool_hint))
        pool_hint++;
    uint64_t first = bits_take(pool_bits, pool_hint, pool_pages, count);
    bool taken = first < pool_pages;
    if (taken) {
        pool_free_pages -= count;
        *out = paddr(pool_base + first * PAGE_SIZE);
        memset(page_va(*out), 0, count * PAGE_SIZE);
    }
    lock_release(&pool_lock, LOCK_POOL);
    return taken;
}

void page_free(paddr_t base, uint64_t count)
{
    ASSERT(base.raw % PAGE_SIZE == 0 && base.raw >= pool_base && count <= pool_pages);
    uint64_t first = (base.raw - pool_base) / PAGE_SIZE;
    ASSERT(first <= pool_pages - count);
    memset(page_va(base), 0, count * PAGE_SIZE);
    lock_take(&pool_lock, LOCK_POOL);
    bits_mark(pool_bits, first, count, false);
    pool_free_pages += count;
    if (first < pool_hint)
        pool_hint = first;
    lock_release(&pool_lock, LOCK_POOL);
}

uint64_t page_count(void)
{
    return pool_pages;
}

uint64_t page_free_count(void)
{
    return __atomic_load_n(&pool_free_pages, __ATOMIC_RELAXED);
}
