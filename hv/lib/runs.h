/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Free runs of physical memory, in units of 2 MiB: a sorted list. Pure: hv
 * allocates guests' memory with it, and boot/'s preflight plays the same
 * allocation through before it commits.
 */
#ifndef SEVISOR_RUNS_H
#define SEVISOR_RUNS_H

#include "hv/lib/types.h"

#define RUNS_MAX 4096u

struct run {
    uint64_t base, size;    /* bytes, multiples of 2 MiB, size > 0 */
};

struct runs {
    uint32_t count;
    struct run run[RUNS_MAX];   /* ascending, never touching each other */
};

/* Adds what lies in [base, base+size) in whole 2 MiB units; merges. False: the list is
 * full, or part of it is there already; nothing changed. */
bool runs_give(struct runs *runs, uint64_t base, uint64_t size);
/* Takes `size` bytes (rounded up to 2 MiB), 1 GiB aligned if it is that large and can be had,
 * from the smallest run that is enough. False: none; nothing changed. */
bool runs_take(struct runs *runs, uint64_t size, uint64_t *base);
uint64_t runs_total(const struct runs *runs);

#endif
