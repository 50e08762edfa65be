/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A vCPU lives on one CPU, whose queues no other CPU touches: others push onto cpu->incoming and cpu->posted, or set
 * cpu->guest_stops, and then kick it (cpu/smp.c).
 *
 * Of the vCPUs that can run, the one with the least fair_tsc is next (fair.c). Among vCPUs that never sleep this is round
 * robin by time slice. One that wakes up may preempt one that has had more time, so that its timer interrupt is not late.
 *
 * The cost of a poll does not depend on how many vCPUs sleep: it concerns those whose deadline has passed
 * (cpu->timers, of which a vCPU is a member only while its timer could wake it) and those to which something
 * was sent (cpu->posted).
 */
#include "hv/vm/sched.h"

#include "hv/cpu/clock.h"
#include "hv/cpu/smp.h"
#include "hv/vm/fair.h"
#include "hv/vm/guest.h"
#include "hv/vm/vcpu_poll.h"

/* A vCPU that wakes up preempts one that has had more time than it by this. */
#define PREEMPT_US 500u

/* Whose node this is, `place` bytes into it. */
static struct vcpu *vcpu_of(struct heap_node *node, size_t place)
{
    return (struct vcpu *)((uint8_t *)node - place);
}

void sched_place(struct cpu *cpu, struct vcpu *vcpu)
{
    vcpu->cpu = cpu;
    __atomic_fetch_add(&cpu->assigned, 1, __ATOMIC_RELAXED);
}

void sched_add(struct vcpu *vcpu)
{
    struct cpu *cpu = vcpu->cpu;
    __atomic_fetch_add(&vcpu->guest->vcpus_queued, 1, __ATOMIC_RELAXED);
    vcpu->next = __atomic_load_n(&cpu->incoming, __ATOMIC_RELAXED);
    while (!__atomic_compare_exchange_n(&cpu->incoming, &vcpu->next, vcpu, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
        ;
    smp_kick(cpu);
}

void sched_resume(struct guest *guest, const struct vcpu *only)
{
    __atomic_store_n(&guest->paused, false, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < guest->config->vcpus; i++)
        if (only == NULL || guest->vcpus[i] == only)
            sched_add(guest->vcpus[i]);
}

/* Where it waits from now on: for its turn, or, asleep, for `deadline`, a host TSC. */
static void queue(struct cpu *cpu, struct vcpu *vcpu, uint64_t deadline)
{
    bool can_run = vcpu->state == VCPU_RUNNABLE;
    if (vcpu->state != VCPU_HALTED)
        deadline = UINT64_MAX;
    if (can_run != heap_holds(&vcpu->ready)) {
        if (can_run)
            heap_insert(&cpu->ready, &vcpu->ready, vcpu->fair_tsc);
        else
            heap_remove(&cpu->ready, &vcpu->ready);
    }
    if (heap_holds(&vcpu->timer)) {
        if (vcpu->timer.key == deadline)
            return;
        heap_remove(&cpu->timers, &vcpu->timer);
    }
    if (deadline != UINT64_MAX)
        heap_insert(&cpu->timers, &vcpu->timer, deadline);
}

/* A vCPU that does not run: its deadline has passed, or something was sent to it. */
static void poll_waiting(struct cpu *cpu, struct vcpu *vcpu, const struct vcpu *running, uint64_t now, bool *preempt)
{
    bool slept = vcpu->state != VCPU_RUNNABLE;
    __atomic_store_n(&vcpu->no_kick_until, 0, __ATOMIC_SEQ_CST);  /* before it polls what was posted */
    queue(cpu, vcpu, vcpu_poll(vcpu, now));
    if (vcpu->state == VCPU_RUNNABLE)
        vcpu->no_kick_until = UINT64_MAX;         /* it polls when its turn comes */
    if (running == NULL)
        return;
    if (vcpu->state != VCPU_RUNNABLE)
        vcpu->no_kick_until = cpu->slices + 1;    /* what did not wake it: no further kick in this slice */
    else if (slept && vcpu->fair_tsc + clock_us_to_tsc(PREEMPT_US) < running->fair_tsc)
        *preempt = true;
    fair_charge(cpu, vcpu, clock_tsc());       /* not the one that was interrupted */
}

static void take_incoming(struct cpu *cpu)
{
    struct vcpu *vcpu = __atomic_exchange_n(&cpu->incoming, NULL, __ATOMIC_ACQUIRE), *next;
    for (; vcpu != NULL; vcpu = next) {
        next = vcpu->next;
        vcpu->next = cpu->run_queue;
        cpu->run_queue = vcpu;
        vcpu->queued = true;
        vcpu->fair_tsc = cpu->fair_tsc;
        poll_waiting(cpu, vcpu, NULL, clock_tsc(), NULL);
        cpu->guest_stops = true;     /* its guest may have been ended or paused before it was on the queue */
    }
}

static void take_posted(struct cpu *cpu, const struct vcpu *running, uint64_t now, bool *preempt)
{
    struct vcpu *vcpu = __atomic_exchange_n(&cpu->posted, NULL, __ATOMIC_SEQ_CST), *next;
    for (; vcpu != NULL; vcpu = next) {
        bool queued = vcpu->queued;
        next = vcpu->posted.next;
        __atomic_store_n(&vcpu->posted.listed, false, __ATOMIC_SEQ_CST);
        if (!queued)
            guest_note_end();       /* an ended guest may be freed from here on: lifecycle.c waits for this */
        else if (vcpu != running)
            poll_waiting(cpu, vcpu, running, now, preempt);
    }
}

/* ---- ends and pauses ---- */

/* A guest's end begins, and its pause is complete, when all its vCPUs are off their queues. */
static void drop_stopped(struct cpu *cpu)
{
    struct vcpu **link = &cpu->run_queue, *vcpu;
    __atomic_store_n(&cpu->guest_stops, false, __ATOMIC_SEQ_CST);
    while ((vcpu = *link) != NULL) {
        struct guest *guest = vcpu->guest;
        if (!guest_stops(guest)) {
            link = &vcpu->next;
            continue;
        }
        *link = vcpu->next;
        vcpu->next = NULL;
        vcpu->queued = false;
        if (heap_holds(&vcpu->ready))
            heap_remove(&cpu->ready, &vcpu->ready);
        if (heap_holds(&vcpu->timer))
            heap_remove(&cpu->timers, &vcpu->timer);
        if (cpu->current == vcpu) {
            switch_to(&vcpu->switched, NULL);
            cpu->current = NULL;
        }
        if (cpu->sleeper == vcpu)
            cpu->sleeper = NULL;
        /* Afterwards it may be freed. */
        if (__atomic_sub_fetch(&guest->vcpus_queued, 1, __ATOMIC_ACQ_REL) == 0)
            guest_note_end();
    }
}

void sched_change(struct cpu *cpu)
{
    take_incoming(cpu);
    drop_stopped(cpu);
}

/* ---- who is next ---- */

uint64_t sched_poll(struct cpu *cpu, struct vcpu *running, uint64_t now, bool *preempt)
{
    uint64_t earliest = UINT64_MAX;
    if (__atomic_load_n(&cpu->posted, __ATOMIC_RELAXED) != NULL)
        take_posted(cpu, running, now, preempt);
    while (cpu->timers != NULL && cpu->timers->key <= now)
        poll_waiting(cpu, vcpu_of(cpu->timers, offsetof(struct vcpu, timer)), running, now, preempt);
    if (running != NULL)
        earliest = vcpu_poll(running, now);
    return cpu->timers != NULL && cpu->timers->key < earliest ? cpu->timers->key : earliest;
}

/* Takes it out of those that wait. One that has been charged since it began to wait goes back to its place. */
static struct vcpu *take_first(struct cpu *cpu)
{
    struct heap_node *first;
    while ((first = cpu->ready) != NULL) {
        struct vcpu *vcpu = vcpu_of(first, offsetof(struct vcpu, ready));
        heap_remove(&cpu->ready, first);
        if (first->key == vcpu->fair_tsc)
            return vcpu;
        heap_insert(&cpu->ready, first, vcpu->fair_tsc);
    }
    return NULL;
}

struct vcpu *sched_choose(struct cpu *cpu, uint64_t now, uint64_t *next)
{
    __atomic_store_n(&cpu->slices, cpu->slices + 1, __ATOMIC_SEQ_CST);  /* before it polls what was posted */
    *next = sched_poll(cpu, NULL, now, NULL);
    struct vcpu *vcpu = take_first(cpu);
    if (vcpu != NULL && vcpu->fair_tsc > cpu->fair_tsc)
        cpu->fair_tsc = vcpu->fair_tsc;
    return vcpu;
}

void sched_put_back(struct cpu *cpu, struct vcpu *vcpu, uint64_t deadline)
{
    vcpu->no_kick_until = vcpu->state == VCPU_RUNNABLE ? UINT64_MAX : 0;
    queue(cpu, vcpu, deadline);
}
