/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The machine's other CPUs: their start, and what is asked of them by interrupts. */
#ifndef SEVISOR_SMP_H
#define SEVISOR_SMP_H

#include "cpu.h"

/* Starts all CPUs of the hand-over, one after another. One that does not come, or is not like the boot CPU, is
 * reported and left out. On the boot CPU, once vcpu_init() is through. */
void smp_start(const struct handoff *handoff);

/* CPUs by index, those that run only; NULL: none. smp_cpus() is one more than the highest index. */
struct cpu *smp_cpu(uint32_t index);
uint32_t smp_cpus(void);

/* The CPU looks around (sched.c) soon; it leaves VMRUN or HLT for it. Any CPU may ask, also of itself. */
void smp_kick(struct cpu *cpu);
/* WBINVD on these CPUs: a bit array by index, of MAX_CPUS. */
void smp_wbinvd(const uint64_t *set);
/*
 * The end of the machine has one CPU that brings it about: the first that calls this. It halts all others, by NMI, and
 * waits until they are, but not for ever; they may hold locks. True: this was the first call of
 * that CPU. For all others it does not return.
 */
bool smp_end_begin(void);
/* This CPU is the one. */
bool smp_end_is_here(void);
/* In the NMI handler: halts for good if another CPU ends the machine. */
void smp_end_halt(void);

/* Called by trap.c, in interrupt context. */
void smp_wbinvd_interrupt(void);

/* entry.asm, from ap.asm: a CPU's first C, on its stack and hv's tables, interrupts off. */
_Noreturn void smp_main(struct cpu *cpu);

#endif
