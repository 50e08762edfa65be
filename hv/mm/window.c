/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Windows onto memory that hv does not own. Up to 32 pages come from a
 * table that exists from the start, so that nothing is allocated. Larger ones take 2 MiB slots, at the same offset inside a slot as the memory has
 * inside its 2 MiB, so that all but their ends are large pages.
 */
#include "hv/mm/window.h"

#include "hv/cpu/cpu.h"
#include "hv/lib/bits.h"
#include "hv/lib/pagetable.h"
#include "hv/lib/x86.h"
#include "hv/mm/layout.h"
#include "hv/mm/page.h"

#define WINDOW_SMALL_PAGES 32u      /* the secure processor's registers among them */

static uint64_t *window_pte;        /* WINDOW_PAGES entries */
static uint64_t *window_cpu_pte[MAX_CPUS / 512];    /* page tables of the CPUs' own windows */
static uint64_t *window_all_pte;    /* of the page that all CPUs have in common */
static struct pagetable *window_table;
static uint64_t window_page_bits[WINDOW_PAGES / 64];
static uint64_t window_slot_bits[WINDOW_SLOTS / 64];

_Static_assert(WINDOW_PAGES == 512, "one page table");
_Static_assert(WINDOW_SLOTS % 512 == 0 && WINDOW_SLOTS_BASE % SIZE_1G == 0, "whole page directories");
_Static_assert(WINDOW_SLOTS_BASE >> 39 == WINDOW_PAGES_BASE >> 39, "one unshared table leads to both");
_Static_assert(WINDOW_PAGES_BASE % SIZE_2M == 0 && WINDOW_CPU_BASE % SIZE_2M == 0, "a page table of their own each");

void window_init_shared(struct pagetable *shared, uint32_t cpus)
{
    for (uint32_t i = 0; i < cpus; i++) {
        uint64_t *entry = pagetable_entry(shared, WINDOW_CPU_BASE + i * PAGE_SIZE, 1);
        ASSERT(entry != NULL);
        if (i % 512 == 0)
            window_cpu_pte[i / 512] = entry;
    }
    window_all_pte = pagetable_entry(shared, WINDOW_ALL, 1);
    ASSERT(window_all_pte != NULL);
}

void window_init_boot(struct pagetable *boot)
{
    window_table = boot;
    ASSERT(pagetable_unshare(boot, WINDOW_PAGES_BASE, 2));
    window_pte = pagetable_entry(boot, WINDOW_PAGES_BASE, 1);
    ASSERT(window_pte != NULL);
    for (uint64_t i = 0; i < WINDOW_SLOTS; i += 512)
        ASSERT(pagetable_entry(boot, WINDOW_SLOTS_BASE + i * SIZE_2M, 2) != NULL);
}

static uint64_t *window_slot_entry(uint64_t slot)
{
    uint64_t *entry = pagetable_entry(window_table, WINDOW_SLOTS_BASE + slot * SIZE_2M, 2);
    ASSERT(entry != NULL);
    return entry;
}

/* Unused entries are flushed too: the CPU may have cached translations speculatively (APM2 5.5). */
static void window_clear_slots(uint64_t first, uint64_t count)
{
    for (uint64_t slot = first; slot < first + count; slot++) {
        uint64_t *entry = window_slot_entry(slot);
        uint64_t old = *entry;
        *entry = 0;
        if ((old & PTE_P) != 0 && (old & PTE_PS) == 0)
            page_free(paddr(old & PTE_ADDRESS & ~view_c_bit()), 1);
    }
    write_cr3(read_cr3());      /* no entry is global; the freed tables are not reused yet */
}

/* Maps [address, address+size) (C-bit included) into slots; false: out of pool pages, nothing mapped. */
static bool window_fill_slots(uint64_t first, uint64_t address, uint64_t size, uint64_t bits)
{
    uint64_t offset = address & (SIZE_2M - 1);
    for (uint64_t slot = first; size > 0; slot++) {
        uint64_t part = size < SIZE_2M - offset ? size : SIZE_2M - offset;
        uint64_t *entry = window_slot_entry(slot);
        if (part == SIZE_2M) {
            *entry = address | bits | PTE_PS | PTE_P;
        } else {
            paddr_t page;
            if (!page_alloc(1, &page)) {
                window_clear_slots(first, slot - first);
                return false;
            }
            uint64_t *pte = page_va(page);
            for (uint64_t i = 0; i < part; i += PAGE_SIZE)
                pte[(offset + i) / PAGE_SIZE] = (address + i) | bits | PTE_P;
            *entry = view_entry_address(page, VIEW_ENCRYPTED) | PTE_W | PTE_P;
        }
        address += part;
        size -= part;
        offset = 0;
    }
    return true;
}

static void *window_open(paddr_t base, uint64_t size, enum memory_view view, uint64_t bits)
{
    ASSERT(base.raw % PAGE_SIZE == 0 && size > 0 && view != VIEW_GUEST);
    ASSERT(this_cpu()->index == 0);     /* no other CPU has these in its tables */
    if (size > WINDOW_SLOTS * SIZE_2M)
        return NULL;
    size = (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    uint64_t address = view_entry_address(base, view), npages = size / PAGE_SIZE;
    if (npages <= WINDOW_SMALL_PAGES) {
        uint64_t first = bits_take(window_page_bits, 0, WINDOW_PAGES, npages);
        if (first == WINDOW_PAGES)
            return NULL;
        for (uint64_t i = 0; i < npages; i++)
            window_pte[first + i] = (address + i * PAGE_SIZE) | bits | PTE_P;
        return (void *)(uintptr_t)(WINDOW_PAGES_BASE + first * PAGE_SIZE);
    }
    uint64_t offset = base.raw & (SIZE_2M - 1);
    uint64_t count = (offset + size + SIZE_2M - 1) / SIZE_2M;
    uint64_t first = bits_take(window_slot_bits, 0, WINDOW_SLOTS, count);
    if (first == WINDOW_SLOTS)
        return NULL;
    if (!window_fill_slots(first, address, size, bits)) {
        bits_mark(window_slot_bits, first, count, false);
        return NULL;
    }
    return (void *)(uintptr_t)(WINDOW_SLOTS_BASE + first * SIZE_2M + offset);
}

void window_unmap(void *window, uint64_t size)
{
    uint64_t va = (uintptr_t)window;
    ASSERT(this_cpu()->index == 0);
    size = (size + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
    if (va >= WINDOW_SLOTS_BASE) {
        uint64_t first = (va - WINDOW_SLOTS_BASE) / SIZE_2M;
        uint64_t count = ((va & (SIZE_2M - 1)) + size + SIZE_2M - 1) / SIZE_2M;
        ASSERT(first + count <= WINDOW_SLOTS);
        window_clear_slots(first, count);
        bits_mark(window_slot_bits, first, count, false);
        return;
    }
    uint64_t first = (va - WINDOW_PAGES_BASE) / PAGE_SIZE, npages = size / PAGE_SIZE;
    ASSERT(va >= WINDOW_PAGES_BASE && first + npages <= WINDOW_PAGES);
    for (uint64_t i = 0; i < npages; i++) {
        window_pte[first + i] = 0;
        invlpg((const void *)(uintptr_t)(va + i * PAGE_SIZE));
    }
    bits_mark(window_page_bits, first, npages, false);
}

void *window_map_own(paddr_t page, enum memory_view view)
{
    uint32_t index = this_cpu()->index;
    uint64_t *entry = &window_cpu_pte[index / 512][index % 512];
    ASSERT(page.raw % PAGE_SIZE == 0 && view != VIEW_GUEST && *entry == 0);
    *entry = view_entry_address(page, view) | PTE_W | PTE_NX | PTE_P;
    return (void *)(uintptr_t)(WINDOW_CPU_BASE + index * PAGE_SIZE);
}

void window_unmap_own(void)
{
    uint32_t index = this_cpu()->index;
    window_cpu_pte[index / 512][index % 512] = 0;
    /* Only here: no other CPU ever uses this address, so what it may have in its TLB does no harm. */
    invlpg((const void *)(uintptr_t)(WINDOW_CPU_BASE + index * PAGE_SIZE));
}

void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    return window_open(base, size, view, PTE_W | PTE_NX);
}

volatile void *mmio_map(paddr_t base, uint64_t size)
{
    uint64_t offset = base.raw & (PAGE_SIZE - 1);
    uint8_t *page =
        window_open(paddr(base.raw - offset), offset + size, VIEW_PLAIN, PTE_W | PTE_NX | PTE_PCD | PTE_PWT);
    return page == NULL ? NULL : page + offset;
}

void mmio_unmap(volatile void *va, uint64_t size)
{
    uint64_t offset = (uintptr_t)va & (PAGE_SIZE - 1);
    window_unmap((void *)((uintptr_t)va - offset), offset + size);
}

volatile void *mmio_map_all(paddr_t page)
{
    ASSERT(page.raw % PAGE_SIZE == 0 && *window_all_pte == 0);
    *window_all_pte = view_entry_address(page, VIEW_PLAIN) | PTE_W | PTE_NX | PTE_PCD | PTE_PWT | PTE_P;
    return (volatile void *)(uintptr_t)WINDOW_ALL;
}
