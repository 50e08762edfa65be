/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* window_map() and mmio_map() are in hostmap.h; this is what hostmap.c needs. */
#ifndef SEVISOR_WINDOW_H
#define SEVISOR_WINDOW_H

#include "types.h"

struct pagetable;

/* Makes the tables of all windows, so that mapping a page allocates nothing. */
void window_init(struct pagetable *table, uint32_t cpus);

#endif
