/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Windows onto memory and device registers that hv does not have mapped. */
#ifndef SEVISOR_WINDOW_H
#define SEVISOR_WINDOW_H

#include "hv/lib/types.h"
#include "hv/mm/view.h"

struct pagetable;

/* Makes the tables of the CPUs' own windows, in the table that all CPUs have. */
void window_init_shared(struct pagetable *shared, uint32_t cpus);
/* Then those of the boot CPU's windows, in its own, which still has all else in common with the other: no CPU but the
 * boot CPU can walk through a table that is freed when a window closes (APM2 5.5: translations are cached speculatively). With
 * them, mapping a page allocates nothing. */
void window_init_boot(struct pagetable *boot);

/* A window onto memory outside the pool: read/write, no execute. `size` bytes
 * from `base` (page aligned), PLAIN or ENCRYPTED. NULL: window space used up. The boot CPU's: no other CPU has
 * it in its tables, so none can have it in its TLB when it is gone. */
void *window_map(paddr_t base, uint64_t size, enum memory_view view);
/* Unmaps and flushes the TLB; does not flush caches. */
void window_unmap(void *va, uint64_t size);

/* This CPU's own window: one page, for exit handlers. Not while it is mapped already. */
void *window_map_own(paddr_t page, enum memory_view view);
void window_unmap_own(void);

/* Device registers: uncached, C=0. NULL: window space used up. On the boot CPU, as window_map(). */
volatile void *mmio_map(paddr_t base, uint64_t size);
void mmio_unmap(volatile void *va, uint64_t size);
/* A page of device registers for all CPUs, for good. Once. */
volatile void *mmio_map_all(paddr_t page);

#endif
