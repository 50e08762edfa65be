/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A watchdog: CPUs check that the others make progress, and report one that is stuck. */
#ifndef SEVISOR_WATCH_H
#define SEVISOR_WATCH_H

#include "hv/cpu/cpu.h"

#define WATCH_STUCK_US 5000000u     /* a round takes a time slice, 10 ms */

/* Called in each round of a CPU; `now` is the TSC. The boot CPU checks all others, the first of the others checks the boot CPU. */
void watch_look(struct cpu *own, uint64_t now);
static inline void watch_poll(struct cpu *own, uint64_t now)
{
    if (now >= own->watch_next_tsc)
        watch_look(own, now);
}
/* In trap.c's NMI handler. True: another CPU's watch_poll() has asked where this CPU is. */
bool watch_answer(struct cpu *cpu, uint64_t rip);

#endif
