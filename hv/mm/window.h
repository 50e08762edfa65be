/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* window_map() and mmio_map() are in hostmap.h; this is what hostmap.c needs. */
#ifndef SEVISOR_WINDOW_H
#define SEVISOR_WINDOW_H

#include "hv/lib/types.h"

struct pagetable;

/* Makes the tables of the CPUs' own windows, in the table that all CPUs have. */
void window_init_shared(struct pagetable *shared, uint32_t cpus);
/* Then those of the boot CPU's windows, in its own, which still has all else in common with the other: no CPU but the
 * boot CPU can walk through a table that is freed when a window closes (APM2 5.5: translations are cached speculatively). With
 * them, mapping a page allocates nothing. */
void window_init_boot(struct pagetable *boot);

#endif
