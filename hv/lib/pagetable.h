/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Builds long-mode page tables (APM2 5.3) in a run of pages that is given in
 * advance. Pure: boot/ builds hv's first tables with it, hostmap.c the final
 * ones, uefi.c those of the runtime services.
 */
#ifndef SEVISOR_PAGETABLE_H
#define SEVISOR_PAGETABLE_H

#include "hv/lib/types.h"

#define PTE_P (UINT64_C(1) << 0)
#define PTE_W (UINT64_C(1) << 1)
#define PTE_PWT (UINT64_C(1) << 3)
#define PTE_PCD (UINT64_C(1) << 4)
#define PTE_PS (UINT64_C(1) << 7)           /* level 2: 2 MiB */
#define PTE_NX (UINT64_C(1) << 63)
#define PTE_ADDRESS UINT64_C(0x000ffffffffff000)    /* C-bit included */

struct pagetable {
    uint64_t root;          /* physical address of the PML4 */
    uint64_t next, end;     /* physical: pages for tables, not yet used */
    uint64_t alias;         /* virtual minus physical: where those pages can be written now */
    uint64_t c_bit;         /* in every pointer to a table: they lie in encrypted memory */
};

/* Tables will be made of [base, end), page aligned, at least one page. */
void pagetable_init(struct pagetable *table, uint64_t base, uint64_t end, uint64_t alias, uint64_t c_bit);

/* Maps [va, va+size) to `address` (with its C-bit, if any) upwards, `bits` in each entry, in
 * 2 MiB pages where both are aligned. Nothing may be mapped there. False: out of pages. */
bool pagetable_map(struct pagetable *table, uint64_t va, uint64_t address, uint64_t size, uint64_t bits);

/* The entry that maps `va` at `level` (1: 4 KiB, 2: 2 MiB); tables above are made as
 * needed. NULL: out of pages. */
uint64_t *pagetable_entry(struct pagetable *table, uint64_t va, unsigned level);

/* Gives this root tables of its own on the way to `va`, down to the one that has its entry at `level`: copies of
 * those that it had in common with another root, whose later changes it does not see. False: out of pages. */
bool pagetable_unshare(struct pagetable *table, uint64_t va, unsigned level);

/* What CR3 takes. */
uint64_t pagetable_cr3(const struct pagetable *table);

#endif
