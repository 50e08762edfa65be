/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Time: the TSC, whose frequency boot/ measured; and the LAPIC's one-shot timer. */
#ifndef SEVISOR_CLOCK_H
#define SEVISOR_CLOCK_H

#include "types.h"

void clock_init(uint64_t tsc_hz);
uint64_t clock_tsc(void);               /* ordered RDTSC */
uint64_t clock_hz(void);
uint64_t clock_tsc_to_ns(uint64_t tsc);
uint64_t clock_us_to_tsc(uint64_t us);
uint64_t clock_now_us(void);            /* since clock_init */
/* Wall-clock at TSC 0, ns since 1970; from the RTC, read once. 0 when unknown. */
uint64_t clock_boot_wall_ns(void);
/* What is wrong with it, in rtc_read()'s words; NULL: nothing that can be seen. */
const char *clock_wall_fault(void);

/* Host LAPIC (x2APIC where present, else MMIO): enabled, timer calibrated
 * against the TSC. */
void lapic_init(void);
/* One interrupt at or soon after `tsc`; UINT64_MAX disarms. Sets this_cpu()->timer_fired. */
void lapic_timer_arm(uint64_t tsc);
void lapic_eoi(void);

#endif
