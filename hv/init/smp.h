/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The machine's other CPUs: their start, and what is asked of them by interrupts. */
#ifndef SEVISOR_SMP_H
#define SEVISOR_SMP_H

#include "hv/cpu/cpu.h"

/* Starts all CPUs of the hand-over, one after another. One that does not come, or is not like the boot CPU, is
 * reported and left out. On the boot CPU, once vcpu_init() is through. */
void smp_start(const struct handoff *handoff);

/* CPUs by index, those that run only; NULL: none. smp_cpus() is one more than the highest index. */
struct cpu *smp_cpu(uint32_t index);
uint32_t smp_cpus(void);

/* The CPU looks around (sched.c) soon; it leaves VMRUN or HLT for it. Any CPU may ask, also of itself. */
void smp_kick(struct cpu *cpu);
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
/* WBINVD on CPUs, `set` being a bit array by index, of MAX_CPUS. The first asks for it, and executes it here if this CPU is
 * in the set; its ticket tells the second whether all have done it since. A CPU that is late (SMIs hold interrupts off) owes
 * it, and executes nothing of a guest before. Any CPU may ask, also while another does. */
uint64_t smp_wbinvd_begin(const uint64_t *set);
bool smp_wbinvd_done(const uint64_t *set, uint64_t ticket);
/* Of the last WBINVD of each CPU in the set, TSC cycles: together without this CPU's, and the longest of all. */
struct smp_cost { uint64_t others, longest; };
struct smp_cost smp_wbinvd_cost(const uint64_t *set);

/* Called by trap.c, in interrupt context. */
void smp_kick_interrupt(void);
void smp_wbinvd_interrupt(void);

/* entry.asm, from ap.asm: a CPU's first C, on its stack and hv's tables, interrupts off. */
_Noreturn void smp_main(struct cpu *cpu);

#endif
