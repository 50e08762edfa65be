/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's own memory: a pool of 4 KiB pages in its arena, mapped from HV_ARENA_BASE on, with C=1 where there is SME. Page tables,
 * VMCBs and hv's data come from it. */
#ifndef SEVISOR_PAGE_H
#define SEVISOR_PAGE_H

#include "boot/handoff.h"
#include "hv/lib/types.h"

/* Takes over the hand-over's arena. Once, on the boot CPU. */
void page_init(const struct handoff *handoff);

/* `count` contiguous pool pages, zeroed. False: none left, nothing taken. On any CPU. */
bool page_alloc(uint64_t count, paddr_t *out);
/* Returns pool pages: they are zeroed first. */
void page_free(paddr_t base, uint64_t count);
/* A pool page as hv sees it, and back. */
void *page_va(paddr_t page);
paddr_t page_pa(const void *va);

/* Pages of the pool; and those of them that are free. */
uint64_t page_count(void);
uint64_t page_free_count(void);

#endif
