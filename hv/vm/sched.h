/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which vCPU runs when, on each CPU: its queues. */
#ifndef SEVISOR_SCHED_H
#define SEVISOR_SCHED_H

#include "hv/vm/vcpu.h"

/* Gives a vCPU to a CPU, for its life; and has it run there. On the boot CPU. A CPU takes the vCPUs of guests
 * that have ended or pause off its queue by itself: guest->vcpus_queued counts them down. */
void sched_place(struct cpu *cpu, struct vcpu *vcpu);
void sched_add(struct vcpu *vcpu);
/* Those of a paused guest run again, or `only` one; NULL: all. On the boot CPU. */
void sched_resume(struct guest *guest, const struct vcpu *only);
/* Takes over the vCPUs that were added, and drops those of guests that have ended or pause. */
void sched_change(struct cpu *cpu);
static inline void sched_update(struct cpu *cpu)
{
    if (__atomic_load_n(&cpu->incoming, __ATOMIC_RELAXED) != NULL ||
        __atomic_load_n(&cpu->guest_stops, __ATOMIC_RELAXED))
        sched_change(cpu);
}
/* Wakes the vCPUs whose timer is due, or to which something was sent. Returns the host TSC of the earliest timer that
 * could wake one; *preempt: one that has run less than `running` woke up. `running` may be NULL, and `preempt` then. */
uint64_t sched_poll(struct cpu *cpu, struct vcpu *running, uint64_t now, bool *preempt);
/* The vCPU whose slice begins now, off the queue of those that wait; NULL: none can run before `*next`. */
struct vcpu *sched_choose(struct cpu *cpu, uint64_t now, uint64_t *next);
/* It has run, and waits: for its turn, or, asleep, for `deadline` as vcpu_poll() has told. */
void sched_put_back(struct cpu *cpu, struct vcpu *vcpu, uint64_t deadline);

#endif
