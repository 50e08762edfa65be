/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Time is the TSC; its frequency was measured by boot/ against the ACPI PM timer. */
#include "hv/cpu/clock.h"

#include "hv/lib/x86.h"

#define US_PER_S UINT64_C(1000000)

static uint64_t clock_frequency;    /* Hz; below 2^34, so that a second's part times 10^9 fits */
static uint64_t clock_start;
static uint64_t clock_wall;         /* ns since 1970 at TSC 0 */

void clock_init(uint64_t tsc_hz, uint64_t wall_seconds, uint64_t wall_tsc)
{
    clock_frequency = tsc_hz;
    clock_start = rdtsc();
    uint64_t up_ns = clock_tsc_to_ns(wall_tsc);
    clock_wall = wall_seconds * NS_PER_S > up_ns ? wall_seconds * NS_PER_S - up_ns : 0;
}

uint64_t clock_tsc(void)
{
    return rdtsc();
}

uint64_t clock_hz(void)
{
    return clock_frequency;
}

uint64_t clock_tsc_to_ns(uint64_t tsc)
{
    if (clock_frequency == 0)
        return 0;
    return tsc / clock_frequency * NS_PER_S + tsc % clock_frequency * NS_PER_S / clock_frequency;
}

uint64_t clock_us_to_tsc(uint64_t us)
{
    return us / US_PER_S * clock_frequency + us % US_PER_S * clock_frequency / US_PER_S;
}

uint64_t clock_now_us(void)
{
    return clock_tsc_to_ns(rdtsc() - clock_start) / 1000;
}

uint64_t clock_boot_wall_ns(void)
{
    return clock_wall;
}
