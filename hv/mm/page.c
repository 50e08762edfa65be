/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The pool of 4 KiB pages: a bitmap of the arena. */
#include "hv/mm/page.h"

#include "hv/cpu/lock.h"
#include "hv/lib/panic.h"
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

static bool pool_taken(uint64_t page)
{
    return (pool_bits[page / 64] >> (page % 64) & 1) != 0;
}

static void pool_mark(uint64_t first, uint64_t count, bool taken)
{
    for (uint64_t i = first; i < first + count; i++) {
        uint64_t bit = UINT64_C(1) << (i % 64);
        ASSERT(((pool_bits[i / 64] & bit) != 0) != taken);
        pool_bits[i / 64] ^= bit;
    }
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
    pool_mark(0, bitmap_pages, true);
    pool_hint = bitmap_pages;
    pool_free_pages = pool_pages - bitmap_pages;
}

static bool pool_take(uint64_t count, uint64_t align, paddr_t *out)
{
    ASSERT(count > 0 && align > 0 && (align & (align - 1)) == 0);
    uint64_t first_number = pool_base / PAGE_SIZE;      /* alignment is of the physical address */
    uint64_t first = pool_hint + (-(first_number + pool_hint) & (align - 1));
    uint64_t run = 0;
    bool below_is_taken = true;     /* everything between pool_hint and here */
    for (uint64_t page = pool_hint; page < pool_pages; page++) {
        if (pool_taken(page)) {
            if (below_is_taken)
                pool_hint = page + 1;
            first = page + 1 + (-(first_number + page + 1) & (align - 1));
            run = 0;
            continue;
        }
        below_is_taken = false;
        if (page < first)
            continue;
        if (++run == count) {
            pool_mark(first, count, true);
            pool_free_pages -= count;
            *out = paddr(pool_base + first * PAGE_SIZE);
            memset(page_va(*out), 0, count * PAGE_SIZE);
            return true;
        }
    }
    return false;
}

bool page_alloc(uint64_t count, uint64_t align, paddr_t *out)
{
    lock_take(&pool_lock, LOCK_POOL);
    bool taken = pool_take(count, align, out);
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
    pool_mark(first, count, false);
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
