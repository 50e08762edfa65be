/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* WBINVD of all CPUs, without a time limit. */
#ifndef SEVISOR_WBINVD_H
#define SEVISOR_WBINVD_H

#include "hv/cpu/clock.h"
#include "hv/mm/memory.h"

/* After smp_start(): WBINVD on every CPU that is up; interrupts are on. The first call asks for it (all zeros), and it is to be called again
 * until it is true: all have done it, however long that takes. Then it can be used again. On the boot CPU. */
struct wbinvd {
    uint64_t ticket; /* smp_wbinvd_begin()'s; 0: not asked for */
    struct clock_limit answer;
    bool named; /* those that are late */
};
bool wbinvd_all(struct wbinvd *wbinvd);

/* Changes an extent's view. False: that takes a WBINVD, which not all CPUs have executed yet; to be called again. */
static inline bool wbinvd_set_view(struct wbinvd *wbinvd, struct extent *extent, enum memory_view view)
{
    return extent_set_view(extent, view, false) || (wbinvd_all(wbinvd) && extent_set_view(extent, view, true));
}

#endif
