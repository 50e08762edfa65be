/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A limit on how many lines may be printed in a time. The caller holds what protects it. */
#ifndef SEVISOR_RATE_H
#define SEVISOR_RATE_H

#include "hv/lib/types.h"

/* All zeros: nothing was printed yet. */
struct rate {
    uint64_t window;            /* when the present one began */
    uint32_t admitted, left_out;    /* in it */
};

/* How many of `wanted` lines may be printed at `now`: `limit` in a window of `length`, in the caller's unit of time. *left_out: how
 * many were not in the window that this call has ended; 0: it has ended none. */
static inline uint32_t rate_admit(struct rate *rate, uint64_t now, uint64_t length, uint32_t limit, uint32_t wanted,
                                  uint32_t *left_out)
{
    *left_out = 0;
    if (now - rate->window >= length) {
        *left_out = rate->left_out;
        *rate = (struct rate){.window = now};
    }
    uint32_t room = limit - rate->admitted, admitted = wanted < room ? wanted : room;
    rate->admitted += admitted;
    rate->left_out += wanted - admitted;
    return admitted;
}

#endif
