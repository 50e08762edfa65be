/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The start of the machine's other CPUs. */
#ifndef SEVISOR_INIT_SMP_H
#define SEVISOR_INIT_SMP_H

#include "hv/cpu/cpu.h"

/* Starts all CPUs of the handoff, one after another. A CPU that does not start, or differs from the boot CPU, is logged and
 * left out. On the boot CPU, after run_init(). */
void smp_start(const struct handoff *handoff);

/* Called by entry.asm after ap.asm: the first C code of a CPU, on its stack and hv's page tables, interrupts off. */
_Noreturn void smp_main(struct cpu *cpu);

#endif
