/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Time: the TSC, whose frequency boot/ measured. */
#ifndef SEVISOR_CLOCK_H
#define SEVISOR_CLOCK_H

#include "hv/lib/types.h"
#include "hv/lib/x86.h"

#define NS_PER_S UINT64_C(1000000000)

/* `wall_seconds`: since 1970, when the TSC was `wall_tsc`; 0: unknown. */
void clock_init(uint64_t tsc_hz, uint64_t wall_seconds, uint64_t wall_tsc);
uint64_t clock_tsc(void);               /* ordered RDTSC */
uint64_t clock_hz(void);
uint64_t clock_tsc_to_ns(uint64_t tsc);
uint64_t clock_us_to_tsc(uint64_t us);
uint64_t clock_now_us(void);            /* since clock_init */
/* Wall-clock at TSC 0, ns since 1970. 0 when unknown. */
uint64_t clock_boot_wall_ns(void);

/* A limit for a wait. A machine that stands still meanwhile (an SMI, a debugger, a host that stops its emulator) does not
 * use it up: of the time between two looks at it a step counts at most, so it has to be looked at all the time. */
struct clock_limit {
    uint64_t left, last; /* TSC cycles; when it was looked at */
};
#define CLOCK_LIMIT_STEP_US 20000u

static inline struct clock_limit clock_limit(uint64_t us)
{
    return (struct clock_limit){.left = clock_us_to_tsc(us), .last = clock_tsc()};
}

static inline bool clock_limit_over(struct clock_limit *limit)
{
    uint64_t now = clock_tsc(), step = clock_us_to_tsc(CLOCK_LIMIT_STEP_US), passed = now - limit->last;
    passed = passed < step ? passed : step;
    limit->last = now;
    limit->left = passed < limit->left ? limit->left - passed : 0;
    return limit->left == 0;
}

static inline void clock_wait_us(uint64_t us)
{
    struct clock_limit limit = clock_limit(us);
    while (!clock_limit_over(&limit))
        cpu_relax();
}

#endif
