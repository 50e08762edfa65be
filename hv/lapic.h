/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What of the LAPIC only hv's core calls; the rest is in clock.h. */
#ifndef SEVISOR_LAPIC_H
#define SEVISOR_LAPIC_H

/* The timer's interrupt: marks this_cpu()->timer_fired, or goes on waiting. */
void lapic_timer_interrupt(void);

#endif
