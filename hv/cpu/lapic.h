/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The host's local APIC: x2APIC where the CPU has it, else registers in memory. */
#ifndef SEVISOR_LAPIC_H
#define SEVISOR_LAPIC_H

#include "hv/lib/types.h"

/* The registers' physical address (APIC_BASE of this CPU). */
paddr_t lapic_address(void);
/* Uncached registers at that address, the same for all CPUs; before lapic_init() where CPUs have no x2APIC. */
void lapic_use_registers(volatile void *registers);
/* Enables it, and calibrates the timer against the TSC, the first time; the PC's 8259s are masked. On each CPU. */
void lapic_init(void);

/* The low half of ICR (APM2 16.5): message type, and level asserted. */
#define LAPIC_MESSAGE_FIXED 0x4000u     /* or'ed with the vector */
#define LAPIC_MESSAGE_NMI 0x4400u
#define LAPIC_MESSAGE_INIT 0x4500u
#define LAPIC_MESSAGE_STARTUP 0x4600u   /* or'ed with the page number */
/* Whether an interrupt can be sent to this CPU alone: xAPIC ids have 8 bits (APM2 16.5), x2APIC ids 32, and the last of each
 * means all CPUs. */
bool lapic_reaches(uint32_t apic_id);
/* To the CPU with this APIC id. Earlier stores are visible to the interrupted CPU. */
void lapic_send(uint32_t apic_id, uint32_t message);

/* One interrupt at or soon after `tsc`; UINT64_MAX disarms. Sets this_cpu()->timer_fired. */
void lapic_timer_arm(uint64_t tsc);
/* The timer's interrupt: marks this_cpu()->timer_fired, or goes on waiting. */
void lapic_timer_interrupt(void);
void lapic_eoi(void);

#endif
