/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The start of the machine's other CPUs. */
#ifndef SEVISOR_INIT_SMP_H
#define SEVISOR_INIT_SMP_H

#include "hv/cpu/cpu.h"

/* Starts all CPUs of the hand-over, one after another. One that does not come, or is not like the boot CPU, is
 * reported and left out. On the boot CPU, once run_init() is through. */
void smp_start(const struct handoff *handoff);

/* entry.asm, from ap.asm: a CPU's first C, on its stack and hv's tables, interrupts off. */
_Noreturn void smp_main(struct cpu *cpu);

#endif
