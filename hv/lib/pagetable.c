/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Long-mode page tables, built in pages that are given in advance. */
#include "hv/lib/pagetable.h"

#include "hv/lib/string.h"

#define PAGETABLE_LEVELS 4u

static uint64_t *pagetable_at(const struct pagetable *table, uint64_t physical)
{
    return (uint64_t *)(uintptr_t)(physical + table->alias);
}

/* A zeroed page; 0: none left. */
static uint64_t pagetable_take(struct pagetable *table)
{
    if (table->next >= table->end)
        return 0;
    uint64_t page = table->next;
    table->next += PAGE_SIZE;
    memset(pagetable_at(table, page), 0, PAGE_SIZE);
    return page;
}

void pagetable_init(struct pagetable *table, uint64_t base, uint64_t end, uint64_t alias, uint64_t c_bit)
{
    *table = (struct pagetable){.next = base, .end = end, .alias = alias, .c_bit = c_bit};
    table->root = pagetable_take(table);
}

uint64_t *pagetable_entry(struct pagetable *table, uint64_t va, unsigned level)
{
    uint64_t *entries = pagetable_at(table, table->root);
    for (unsigned l = PAGETABLE_LEVELS;; l--) {
        uint64_t *entry = &entries[va >> (PAGE_SHIFT + 9 * (l - 1)) & 511];
        if (l == level)
            return entry;
        if ((*entry & PTE_P) == 0) {
            uint64_t page = pagetable_take(table);
            if (page == 0)
                return NULL;
            *entry = page | table->c_bit | PTE_W | PTE_P;
        }
        entries = pagetable_at(table, *entry & PTE_ADDRESS & ~table->c_bit);
    }
}

bool pagetable_map(struct pagetable *table, uint64_t va, uint64_t address, uint64_t size, uint64_t bits)
{
    for (uint64_t done = 0; done < size;) {
        uint64_t v = va + done, a = address + done;
        bool large = ((v | a) & (SIZE_2M - 1)) == 0 && size - done >= SIZE_2M;
        uint64_t *entry = pagetable_entry(table, v, large ? 2 : 1);
        if (entry == NULL)
            return false;
        *entry = a | bits | (large ? PTE_PS : 0) | PTE_P;
        done += large ? SIZE_2M : PAGE_SIZE;
    }
    return true;
}

bool pagetable_unshare(struct pagetable *table, uint64_t va, unsigned level)
{
    for (unsigned l = PAGETABLE_LEVELS; l > level; l--) {
        uint64_t *entry = pagetable_entry(table, va, l), page = pagetable_take(table);
        if (page == 0)
            return false;
        if ((*entry & PTE_P) != 0)
            memcpy(pagetable_at(table, page), pagetable_at(table, *entry & PTE_ADDRESS & ~table->c_bit), PAGE_SIZE);
        *entry = page | table->c_bit | PTE_W | PTE_P;
    }
    return true;
}

uint64_t pagetable_cr3(const struct pagetable *table)
{
    return table->root | table->c_bit;
}
