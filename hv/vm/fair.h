/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A CPU's time is charged to its vCPUs, in fair_tsc: of those that can run, the one with the least is next. The switch from one
 * vCPU to the next is charged to the one that caused it: else a guest that sleeps and wakes all the time would spend the
 * time of the others. */
#ifndef SEVISOR_FAIR_H
#define SEVISOR_FAIR_H

#include "hv/vm/vcpu.h"

/* A time slice, as long as nothing else is wanted of the CPU. */
#define FAIR_SLICE_US 10000u
uint64_t fair_slice_tsc(void);
/* All time up to `now` that nobody has paid for yet is the vCPU's, without that of interrupts for others; at most
 * about a slice. */
void fair_charge(struct cpu *cpu, struct vcpu *vcpu, uint64_t now);
/* The same for work that the vCPU has asked for, without a limit. */
void fair_charge_work(struct cpu *cpu, struct vcpu *vcpu, uint64_t now);
/* The same at the end of a stay on the CPU: up to the interrupt that ended it, if one did, and of a stall at most a slice. */
void fair_charge_stay(struct cpu *cpu, struct vcpu *vcpu, uint64_t now);
/* The CPU has worked for no vCPU: none pays for it. */
static inline void fair_charge_nobody(struct cpu *cpu)
{
    cpu->charged_tsc = clock_tsc();
    cpu->sleeper = NULL;
}
/* Something for a vCPU that sleeps arrived (an interrupt, its startup): runnable again. It is put no further behind the vCPU
 * chosen last than a slice, so that nobody saves up time by sleeping. */
void fair_wake(struct vcpu *vcpu);

#endif
