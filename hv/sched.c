/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Who runs next on a CPU: of those that can, the vCPU that has had the least of it (fair_tsc). Among
 * vCPUs that never sleep this is round robin by time slice. One that wakes up is put
 * at most a slice behind the others, so that nobody saves up time by sleeping; and it may cut
 * short the slice of one that has had more, so that its timer interrupt is in time. The way from one vCPU to
 * the next is paid by the one that wanted it: else a guest that sleeps and wakes all the time would
 * spend the time of the others.
 */
#include "vcpu.h"

#include "clock.h"
#include "guest.h"
#include "monitor.h"
#include "switch.h"
#include "x86.h"

#define SLICE_US 10000u
/* A slice is not cut short for a smaller advantage than this. */
#define PREEMPT_US 500u
/* The operator's keys are looked at so often. */
#define IDLE_US 10000u

/* Not further behind the vCPU chosen last than a slice. */
static void catch_up(const struct cpu *cpu, struct vcpu *vcpu)
{
    uint64_t slice = clock_us_to_tsc(SLICE_US);
    uint64_t least = cpu->fair_tsc > slice ? cpu->fair_tsc - slice : 0;
    if (vcpu->fair_tsc < least)
        vcpu->fair_tsc = least;
}

void sched_add(struct cpu *cpu, struct vcpu *vcpu)
{
    vcpu->fair_tsc = cpu->fair_tsc;
    if (cpu->run_queue == NULL) {
        vcpu->next = vcpu;
        cpu->run_queue = vcpu;
    } else {
        vcpu->next = cpu->run_queue->next;
        cpu->run_queue->next = vcpu;
    }
}

void sched_remove(struct vcpu *vcpu)
{
    struct cpu *cpu = this_cpu();
    struct vcpu *before = vcpu;
    if (vcpu->next == NULL)
        return;
    while (before->next != vcpu)
        before = before->next;
    before->next = vcpu->next;
    if (cpu->run_queue == vcpu)
        cpu->run_queue = before != vcpu ? before : NULL;
    vcpu->next = NULL;
}

void vcpu_wake(struct vcpu *vcpu)
{
    if (vcpu->state != VCPU_HALTED)
        return;
    vcpu->state = VCPU_RUNNABLE;
    catch_up(this_cpu(), vcpu);
}

uint64_t sched_poll(struct cpu *cpu, const struct vcpu *running, uint64_t now, bool *preempt)
{
    uint64_t earliest = UINT64_MAX, advantage = clock_us_to_tsc(PREEMPT_US);
    struct vcpu *vcpu = cpu->run_queue;
    if (vcpu == NULL)
        return earliest;
    do {
        if (vcpu == running || vcpu->state == VCPU_HALTED) {
            uint64_t next = vcpu_poll(vcpu, now);
            earliest = next < earliest ? next : earliest;
            if (running != NULL && vcpu != running && vcpu->state == VCPU_RUNNABLE &&
                vcpu->fair_tsc + advantage < running->fair_tsc)
                *preempt = true;
        }
        vcpu = vcpu->next;
    } while (vcpu != cpu->run_queue);
    return earliest;
}

/* The run queue's order decides among equals: it starts after the one that ran last. */
static struct vcpu *choose(struct cpu *cpu)
{
    struct vcpu *chosen = NULL, *vcpu = cpu->run_queue;
    if (vcpu == NULL)
        return NULL;
    do {
        vcpu = vcpu->next;
        if (vcpu->state == VCPU_RUNNABLE && (chosen == NULL || vcpu->fair_tsc < chosen->fair_tsc))
            chosen = vcpu;
    } while (vcpu != cpu->run_queue);
    return chosen;
}

static void idle(struct cpu *cpu, uint64_t next)
{
    volatile bool *timer_fired = &cpu->timer_fired;
    uint64_t start = clock_tsc(), latest = start + clock_us_to_tsc(IDLE_US);
    *timer_fired = false;
    lapic_timer_arm(next < latest ? next : latest);
    cli();
    if (!*timer_fired)
        sti_hlt();      /* an interrupt is taken no earlier than in the HLT, and ends it */
    else
        sti();
    cpu->charged_tsc = clock_tsc();
    cpu->sleeper = NULL;
    cpu->idle_tsc += cpu->charged_tsc - start;
}

/* Launches and ends are the operator's business, no vCPU pays for them. */
static void tear_down_ended(struct cpu *cpu)
{
    bool any = false;
    for (uint32_t i = 0; i < GUEST_MAX && guests[i].config != NULL; i++) {
        if (!guest_is_ending(&guests[i]))
            continue;
        for (uint32_t v = 0; v < GUEST_MAX_VCPUS; v++) {
            if (guests[i].vcpus[v] != NULL)
                sched_remove(guests[i].vcpus[v]);
        }
        guest_teardown(&guests[i]);
        any = true;
    }
    if (any)
        cpu->charged_tsc = clock_tsc();
}

void sched_loop(struct cpu *cpu)
{
    bool preempt;
    cpu->charged_tsc = clock_tsc();
    while (guest_any_alive()) {
        monitor_poll();
        tear_down_ended(cpu);
        uint64_t now = clock_tsc(), next = sched_poll(cpu, NULL, now, &preempt);
        struct vcpu *vcpu = choose(cpu);
        if (vcpu == NULL) {
            if (guest_any_alive())
                idle(cpu, next);
            continue;
        }
        if (vcpu->fair_tsc > cpu->fair_tsc)
            cpu->fair_tsc = vcpu->fair_tsc;
        cpu->run_queue = vcpu;
        cpu->slice_end_tsc = now + clock_us_to_tsc(SLICE_US);
        vcpu_run(vcpu);
    }
}
