/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's own address space: W^X, guard pages, C-bit by view. */
#ifndef SEVISOR_HOSTMAP_H
#define SEVISOR_HOSTMAP_H

#include "boot/handoff.h"
#include "hv/lib/types.h"

/* Completes the tables that boot/ made, and switches to the boot CPU's. */
void hostmap_init(const struct handoff *handoff);

/* A stack of `npages` above a guard page; returns its top. NULL: no room. Never freed. */
void *hostmap_stack(uint64_t npages);
/* hv's half of the address space as all CPUs have it, without the boot CPU's windows, for another root. */
void hostmap_share(uint64_t *root);
/* What CR3 holds on every CPU but the boot CPU, which has a root of its own. */
uint64_t hostmap_cr3(void);

#endif
