/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What of the LAPIC only hv's core calls; the rest is in clock.h. */
#ifndef SEVISOR_LAPIC_H
#define SEVISOR_LAPIC_H

#include "hv/lib/types.h"

/* The low half of ICR (APM2 16.5): message type, and level asserted. */
#define LAPIC_MESSAGE_FIXED 0x4000u     /* or'ed with the vector */
#define LAPIC_MESSAGE_NMI 0x4400u
#define LAPIC_MESSAGE_INIT 0x4500u
#define LAPIC_MESSAGE_STARTUP 0x4600u   /* or'ed with the page number */
/* Whether an interrupt can be sent to this CPU alone: xAPIC ids have 8 bits (APM2 16.5), x2APIC ids 32, and the last of each
 * means all CPUs. */
bool lapic_reaches(uint32_t apic_id);
/* To the CPU with this APIC id. What was written before is seen by who is interrupted. */
void lapic_send(uint32_t apic_id, uint32_t message);

/* The timer's interrupt: marks this_cpu()->timer_fired, or goes on waiting. */
void lapic_timer_interrupt(void);

#endif
