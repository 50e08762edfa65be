/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's own address space: W^X, guard pages, C-bit by view. */
#ifndef SEVISOR_HOSTMAP_H
#define SEVISOR_HOSTMAP_H

#include "hv/mm/memory.h"

/* Where the arena lies: page_va() and page_pa() work from then on. */
void hostmap_arena(const struct handoff *handoff);
/* Builds the final tables and switches to them. */
void hostmap_init(const struct handoff *handoff);

/* A stack of `npages` above a guard page; returns its top. NULL: no room. Never freed. */
void *hostmap_stack(uint64_t npages);
/* hv's half of the address space as all CPUs have it, without the boot CPU's windows, for another root. */
void hostmap_share(uint64_t *root);
/* What CR3 holds on every CPU but the boot CPU, which has a root of its own. */
uint64_t hostmap_cr3(void);

/* The one function that adds the C-bit to a page-table entry: host tables and
 * nested tables alike. VIEW_GUEST adds none (the guest's own C-bit selects). */
uint64_t hostmap_entry_address(paddr_t page, enum memory_view view);
/* The one function that adds the C-bit to an address for the firmware. */
uint64_t hostmap_firmware_address(paddr_t page, enum memory_view view);
/* The mask; 0 without SME. */
uint64_t hostmap_c_bit(void);

/* Writes back and invalidates the lines of a mapped range (CLFLUSH; APM3). */
void cache_flush(const void *va, uint64_t size);

#endif
