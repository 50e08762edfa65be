/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Two bits for each page of the guest's RAM: shared; changed between shared and private, since somebody looked. Its vCPUs change them
 * without a lock, a word of 64 pages at a time: a hypercall for a TiB changes 4 Mi words. */
#include "hv/vm/pages.h"

#include "hv/cpu/smp.h"
#include "hv/mm/page.h"

#define WORD_PAGES 64u
#define ATTRIBUTE_PAGE_SIZE UINT64_C(0xf) /* 0: 4 KiB, 1: 2 MiB, 2: 1 GiB; `npages` counts 4 KiB in any case */
#define ATTRIBUTE_PAGE_SIZE_MAX 2u
#define ATTRIBUTE_PRIVATE UINT64_C(0x10)

static uint64_t words(const struct guest *guest)
{
    return (guest->memory.size / PAGE_SIZE + WORD_PAGES - 1) / WORD_PAGES;
}

static uint64_t bits_pages(const struct guest *guest)
{
    return (2 * words(guest) * sizeof(uint64_t) + PAGE_SIZE - 1) / PAGE_SIZE;
}

bool pages_create(struct guest *guest)
{
    paddr_t bits;
    if (!guest->sev)
        return true;
    if (!page_alloc(bits_pages(guest), &bits))
        return false;
    guest->shared = page_va(bits);
    guest->share_changed = guest->shared + words(guest);
    return true;
}

void pages_destroy(struct guest *guest)
{
    if (guest->shared != NULL)
        page_free(page_pa(guest->shared), bits_pages(guest));
    guest->shared = NULL;
}

/* Of the word with page `at`: the bits of [at, end). */
static uint64_t mask_of(uint64_t at, uint64_t end)
{
    uint64_t mask = UINT64_MAX << at % WORD_PAGES;
    return end / WORD_PAGES == at / WORD_PAGES ? mask & ~(UINT64_MAX << end % WORD_PAGES) : mask;
}

void pages_set_shared(struct guest *guest, gpaddr_t gpa, uint64_t size, bool shared)
{
    uint64_t end = (gpa.raw + size) / PAGE_SIZE;
    for (uint64_t at = gpa.raw / PAGE_SIZE; guest->shared != NULL && at < end;
         at = (at / WORD_PAGES + 1) * WORD_PAGES) {
        uint64_t *word = &guest->shared[at / WORD_PAGES], mask = mask_of(at, end);
        uint64_t was = shared ? __atomic_fetch_or(word, mask, __ATOMIC_SEQ_CST)
                              : ~__atomic_fetch_and(word, ~mask, __ATOMIC_SEQ_CST);
        if ((~was & mask) != 0)
            __atomic_fetch_or(&guest->share_changed[at / WORD_PAGES], ~was & mask, __ATOMIC_SEQ_CST);
    }
}

bool pages_are_shared(const struct guest *guest, gpaddr_t gpa, uint64_t size)
{
    paddr_t address;
    if (guest->shared == NULL || !guest_ram_address(guest, gpa, size, &address))
        return false;
    uint64_t end = (gpa.raw + size + PAGE_SIZE - 1) / PAGE_SIZE;
    for (uint64_t at = gpa.raw / PAGE_SIZE; at < end; at = (at / WORD_PAGES + 1) * WORD_PAGES) {
        uint64_t mask = mask_of(at, end);
        if ((__atomic_load_n(&guest->shared[at / WORD_PAGES], __ATOMIC_RELAXED) & mask) != mask)
            return false;
    }
    return true;
}

/* What changes after it was looked at is told the next time. */
uint8_t pages_look(struct guest *guest, gpaddr_t gpa, bool clear)
{
    uint64_t usage = npt_usage(&guest->npt, gpa, clear), page = gpa.raw / PAGE_SIZE;
    uint64_t bit = UINT64_C(1) << page % WORD_PAGES, changed = 0, shared = 0;
    if (guest->shared != NULL) {
        changed =
            __atomic_fetch_and(&guest->share_changed[page / WORD_PAGES], clear ? ~bit : UINT64_MAX, __ATOMIC_SEQ_CST);
        shared = __atomic_load_n(&guest->shared[page / WORD_PAGES], __ATOMIC_SEQ_CST);
    }
    return (uint8_t)(((shared & bit) != 0 ? CONTROL_PAGE_SHARED : 0) |
                     ((usage & NPT_A) != 0 ? CONTROL_PAGE_TOUCHED : 0) |
                     ((usage & NPT_D) != 0 || (changed & bit) != 0 ? CONTROL_PAGE_DIRTY : 0));
}

void pages_flush_tlb(struct guest *guest)
{
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++) {
        __atomic_store_n(&guest->vcpus[i]->tlb_stale, true, __ATOMIC_SEQ_CST);
        smp_kick(guest->vcpus[i]->cpu);
    }
}

bool pages_map_gpa_range(struct guest *guest, uint64_t gpa, uint64_t npages, uint64_t attributes)
{
    uint64_t size;
    paddr_t address;
    if (gpa % PAGE_SIZE != 0 || npages == 0 || __builtin_mul_overflow(npages, PAGE_SIZE, &size) ||
        !guest_ram_address(guest, gpaddr(gpa), size, &address) ||
        (attributes & ~(ATTRIBUTE_PAGE_SIZE | ATTRIBUTE_PRIVATE)) != 0 ||
        (attributes & ATTRIBUTE_PAGE_SIZE) > ATTRIBUTE_PAGE_SIZE_MAX)
        return false;
    pages_set_shared(guest, gpaddr(gpa), size, (attributes & ATTRIBUTE_PRIVATE) == 0);
    return true;
}
