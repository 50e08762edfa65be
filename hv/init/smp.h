/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The machine's other CPUs: their start, and what is asked of them by interrupts. */
#ifndef SEVISOR_SMP_H
#define SEVISOR_SMP_H

#include "hv/cpu/cpu.h"

/* Starts all CPUs of the hand-over, one after another. One that does not come, or is not like the boot CPU, is
 * reported and left out. On the boot CPU, once vcpu_init() is through. */
void smp_start(const struct handoff *handoff);

/*
 * The end of the machine has one CPU that brings it about: the first that calls this. It halts all others, by NMI, and
 * waits until they are, but not for ever; they may hold locks. True: this was the first call of
 * that CPU. For all others it does not return.
 */
bool smp_end_begin(void);
/* Around a call that may not come back. After SMP_END_CALL_US one of the halted CPUs, if there are any, becomes the one that
 * brings about the end, and calls end_take_over(); on the CPU that was it smp_end_return() does not return then. */
#define SMP_END_CALL_US 10000000u
void smp_end_call(void);
void smp_end_return(void);
/* This CPU is the one. */
bool smp_end_is_here(void);
/* In the NMI handler: halts for good if another CPU ends the machine. */
void smp_end_halt(void);
/* entry.asm, from ap.asm: a CPU's first C, on its stack and hv's tables, interrupts off. */
_Noreturn void smp_main(struct cpu *cpu);

#endif
