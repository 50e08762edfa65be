/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A watchdog: CPUs look after each other, and say when one no longer comes round. */
#ifndef SEVISOR_WATCH_H
#define SEVISOR_WATCH_H

#include "hv/cpu/cpu.h"

#define WATCH_STUCK_US 5000000u     /* a round takes a time slice, 10 ms */

/* Called often, by CPUs that are up and about. The boot CPU looks after all others, the
 * first of the others after the boot CPU. */
void watch_poll(struct cpu *own);
/* In trap.c's NMI handler: true when watch_poll() asked where the CPU is. */
bool watch_answer(struct cpu *cpu, uint64_t rip);

#endif
