/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A bit for each page of the guest's RAM. Its vCPUs change them without a lock, a word of 64 pages at a time: a hypercall for a
 * TiB changes 4 Mi words. */
#include "hv/vm/pages.h"

#include "hv/mm/page.h"

#define WORD_PAGES 64u
#define ATTRIBUTE_PAGE_SIZE UINT64_C(0xf) /* 0: 4 KiB, 1: 2 MiB, 2: 1 GiB; `npages` counts 4 KiB in any case */
#define ATTRIBUTE_PAGE_SIZE_MAX 2u
#define ATTRIBUTE_PRIVATE UINT64_C(0x10)

static uint64_t bits_pages(const struct guest *guest)
{
    return (guest->memory.size / PAGE_SIZE / 8 + PAGE_SIZE - 1) / PAGE_SIZE;
}

bool pages_create(struct guest *guest)
{
    paddr_t bits;
    if (!guest->sev)
        return true;
    if (!page_alloc(bits_pages(guest), 1, &bits))
        return false;
    guest->shared = page_va(bits);
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
        if (shared)
            __atomic_fetch_or(word, mask, __ATOMIC_RELAXED);
        else
            __atomic_fetch_and(word, ~mask, __ATOMIC_RELAXED);
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
