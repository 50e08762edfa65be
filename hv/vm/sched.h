/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which vCPU runs when, on each CPU. */
#ifndef SEVISOR_SCHED_H
#define SEVISOR_SCHED_H

#include "hv/vm/vcpu.h"

/* Gives a vCPU to a CPU, for its life; and has it run there. On the boot CPU. A CPU takes the vCPUs of guests
 * that have ended off its queue by itself: guest->vcpus_queued counts them down. */
void sched_place(struct cpu *cpu, struct vcpu *vcpu);
void sched_add(struct vcpu *vcpu);
/* Wakes the vCPUs whose timer is due, or to which something was sent. Returns the host TSC of the earliest timer that
 * somebody would hear; *preempt: one that has run less than `running` woke up. `running` may be NULL. */
uint64_t sched_poll(struct cpu *cpu, struct vcpu *running, uint64_t now, bool *preempt);
/* Something was written to vcpu->posted: its CPU takes it soon. On any CPU, while the vCPU's guest has one that runs. */
void sched_notify(struct vcpu *vcpu);
/* All time up to `now` that nobody has paid for yet is the vCPU's, without that of interrupts for others; at most
 * about a slice. */
void sched_charge(struct cpu *cpu, struct vcpu *vcpu, uint64_t now);
/* The same for work that the vCPU has asked for, without a limit. */
void sched_charge_work(struct cpu *cpu, struct vcpu *vcpu, uint64_t now);
/* The same at the end of a stay on the CPU: up to the interrupt that ended it, if one did, and of a stall at most a slice. */
void sched_charge_stay(struct cpu *cpu, struct vcpu *vcpu, uint64_t now);
/* It has run, and waits: for its turn, or, asleep, for `deadline` as vcpu_poll() has told. */
void sched_put_back(struct cpu *cpu, struct vcpu *vcpu, uint64_t deadline);
/* From here on the CPU sees all that was done before somebody set cpu->timer_fired. */
/* The boot CPU keeps what came in on the operator's line, if it is time; returns when it is next. */
uint64_t sched_look_at_line(struct cpu *cpu, uint64_t now);
static inline void sched_look_around(struct cpu *cpu)
{
    cpu->rounds++;
    (void)__atomic_exchange_n(&cpu->timer_fired, false, __ATOMIC_SEQ_CST);
}
/* A time slice, as long as nothing else is wanted of the CPU. */
#define SCHED_SLICE_US 10000u
uint64_t sched_slice_tsc(void);
/* One look around, and at most `slice` TSC cycles for a vCPU. False: none can run before `*next`. */
bool sched_run(struct cpu *cpu, uint64_t slice, uint64_t *next);
/* Sleeps until then, or until something comes. */
void sched_idle(struct cpu *cpu, uint64_t until);
/* The CPU has worked for no vCPU: none pays for it. */
void sched_work_is_over(struct cpu *cpu);
/* Every other CPU's loop. */
_Noreturn void sched_serve(struct cpu *cpu);

/* Something for a vCPU that sleeps arrived (an interrupt, its startup): runnable again. */
void sched_wake(struct vcpu *vcpu);

#endif
