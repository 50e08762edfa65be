/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A vCPU lives on one CPU, whose run queue nobody else touches; what others want of that CPU they
 * write down elsewhere, and then kick it (smp.c), so that it looks around.
 *
 * Who runs next on a CPU: of those that can, the vCPU that has had the least of it (fair_tsc). Among
 * vCPUs that never sleep this is round robin by time slice. One that wakes up is put
 * at most a slice behind the others, so that nobody saves up time by sleeping; and it may cut
 * short the slice of one that has had more, so that its timer interrupt is in time. The way from one vCPU to
 * the next is paid by the one that wanted it: else a guest that sleeps and wakes all the time would
 * spend the time of the others.
 */
#include "vcpu.h"

#include "clock.h"
#include "console.h"
#include "guest.h"
#include "mca.h"
#include "monitor.h"
#include "smp.h"
#include "switch.h"
#include "watch.h"
#include "x86.h"

#define SLICE_US 10000u
/* A slice is not cut short for a smaller advantage than this. */
#define PREEMPT_US 500u

/* Not further behind the vCPU chosen last than a slice. */
static void catch_up(const struct cpu *cpu, struct vcpu *vcpu)
{
    uint64_t slice = clock_us_to_tsc(SLICE_US);
    uint64_t least = cpu->fair_tsc > slice ? cpu->fair_tsc - slice : 0;
    if (vcpu->fair_tsc < least)
        vcpu->fair_tsc = least;
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

static void enqueue(struct cpu *cpu, struct vcpu *vcpu)
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

static void dequeue(struct cpu *cpu, struct vcpu *vcpu)
{
    struct vcpu *before = vcpu;
    while (before->next != vcpu)
        before = before->next;
    before->next = vcpu->next;
    if (cpu->run_queue == vcpu)
        cpu->run_queue = before != vcpu ? before : NULL;
    vcpu->next = NULL;
}

static void take_incoming(struct cpu *cpu)
{
    struct vcpu *vcpu = __atomic_exchange_n(&cpu->incoming, NULL, __ATOMIC_ACQUIRE), *next;
    for (; vcpu != NULL; vcpu = next) {
        next = vcpu->next;
        enqueue(cpu, vcpu);
    }
}

static struct vcpu *find_ended(const struct cpu *cpu)
{
    struct vcpu *vcpu = cpu->run_queue;
    if (vcpu == NULL)
        return NULL;
    do {
        if (guest_is_ending(vcpu->guest))
            return vcpu;
        vcpu = vcpu->next;
    } while (vcpu != cpu->run_queue);
    return NULL;
}

/* The boot CPU tears a guest down when all its vCPUs are off their queues. */
static void drop_ended(struct cpu *cpu)
{
    struct vcpu *vcpu;
    while ((vcpu = find_ended(cpu)) != NULL) {
        struct guest *guest = vcpu->guest;
        dequeue(cpu, vcpu);
        __atomic_fetch_sub(&cpu->assigned, 1, __ATOMIC_RELAXED);
        if (cpu->current == vcpu)
            cpu->current = NULL;
        if (cpu->sleeper == vcpu)
            cpu->sleeper = NULL;
        /* Afterwards it may be gone. */
        if (__atomic_sub_fetch(&guest->vcpus_queued, 1, __ATOMIC_ACQ_REL) == 0)
            smp_kick(smp_cpu(0));
    }
}

void vcpu_wake(struct vcpu *vcpu)
{
    if (vcpu->state == VCPU_RUNNABLE)
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
        if (vcpu == running || vcpu->state != VCPU_RUNNABLE) {
            bool sent = __atomic_load_n(&vcpu->posted.any, __ATOMIC_RELAXED) != 0;
            if (running == NULL)
                __atomic_store_n(&vcpu->quiet, false, __ATOMIC_SEQ_CST);
            uint64_t next = vcpu_poll(vcpu, now);
            earliest = next < earliest ? next : earliest;
            /* Awake, it looks when its turn comes. And what did not wake it is not asked for again in this slice. */
            if (vcpu != running && (vcpu->state == VCPU_RUNNABLE || (running != NULL && sent)))
                vcpu->quiet = true;
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

/* The operator, on the boot CPU. */
static void poll_monitor(struct cpu *cpu)
{
    monitor_poll();
    cpu->line_us = monitor_poll_us();
    cpu->line_tsc = cpu->line_us < SLICE_US ? clock_tsc() + clock_us_to_tsc(cpu->line_us) : 0;
}

uint64_t sched_look_at_line(struct cpu *cpu, uint64_t now)
{
    if (now >= cpu->line_tsc) {
        console_drain();
        cpu->line_tsc = now + clock_us_to_tsc(cpu->line_us);
    }
    return cpu->line_tsc;
}

static void idle(struct cpu *cpu, uint64_t next)
{
    volatile bool *timer_fired = &cpu->timer_fired;
    /* Only the boot CPU has the operator's keys to look at; the others sleep until somebody wants them. */
    uint64_t start = clock_tsc(), latest = cpu->index == 0 ? start + clock_us_to_tsc(cpu->line_us) : cpu->mca_due_tsc;
    lapic_timer_arm(next < latest ? next : latest);
    cpu->idle = true;
    cli();
    if (!*timer_fired)
        sti_hlt();      /* an interrupt is taken no earlier than in the HLT, and ends it */
    else
        sti();
    cpu->idle = false;
    cpu->charged_tsc = clock_tsc();
    cpu->sleeper = NULL;
    cpu->idle_tsc += cpu->charged_tsc - start;
}

/* One look around, and a time slice for a vCPU. False: none can run before `*next`. */
static bool run_one(struct cpu *cpu, uint64_t *next)
{
    bool preempt;
    watch_poll(cpu);
    sched_look_around(cpu);     /* what comes from here on ends the sleep, or the VMRUN */
    take_incoming(cpu);
    drop_ended(cpu);
    uint64_t now = clock_tsc();
    mca_poll(cpu, now);
    *next = sched_poll(cpu, NULL, now, &preempt);
    struct vcpu *vcpu = choose(cpu);
    if (vcpu == NULL)
        return false;
    if (vcpu->fair_tsc > cpu->fair_tsc)
        cpu->fair_tsc = vcpu->fair_tsc;
    cpu->run_queue = vcpu;
    cpu->slice_end_tsc = now + clock_us_to_tsc(SLICE_US);
    vcpu_run(vcpu);
    return true;
}

static void serve(struct cpu *cpu)
{
    uint64_t next;
    if (!run_one(cpu, &next))
        idle(cpu, next);
}

void sched_breathe(bool waits)
{
    struct cpu *cpu = this_cpu();
    uint64_t now = clock_tsc(), slice = clock_us_to_tsc(SLICE_US), next;
    cpu->rounds++;              /* it works or waits, but is not stuck */
    poll_monitor(cpu);
    if (!waits && now - cpu->breath_tsc < slice)
        return;
    cpu->charged_tsc = now;     /* no vCPU pays for the work */
    cpu->sleeper = NULL;
    while (clock_tsc() - now < slice && run_one(cpu, &next))
        ;                       /* one that sleeps again at once does not use up the others' time */
    cpu->breath_tsc = clock_tsc();
}

void sched_serve(struct cpu *cpu)
{
    cpu->charged_tsc = clock_tsc();
    for (;;)
        serve(cpu);
}

/* Guests' ends and relaunches are the operator's business: no vCPU pays for them. */
static void look_after_guests(struct cpu *cpu)
{
    bool any = false;
    for (uint32_t i = 0, count = guest_count(); i < count; i++)
        any |= guest_teardown(&guests[i]) || guest_relaunch(&guests[i]);
    if (any)
        cpu->charged_tsc = clock_tsc();
}

void sched_loop(struct cpu *cpu)
{
    cpu->charged_tsc = clock_tsc();
    while (guest_any_alive()) {
        poll_monitor(cpu);
        look_after_guests(cpu);
        if (guest_any_alive())
            serve(cpu);
    }
}
