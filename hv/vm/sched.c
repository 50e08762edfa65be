/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A vCPU lives on one CPU, whose queues nobody else touches; what others want of that CPU they
 * write down elsewhere, and then kick it (smp.c), so that it looks around.
 *
 * Who runs next on a CPU: of those that can, the vCPU that has had the least of it (fair_tsc). Among
 * vCPUs that never sleep this is round robin by time slice. One that wakes up is put
 * at most a slice behind the others, so that nobody saves up time by sleeping; and it may cut
 * short the slice of one that has had more, so that its timer interrupt is in time. The way from one vCPU to
 * the next is paid by the one that wanted it: else a guest that sleeps and wakes all the time would
 * spend the time of the others.
 *
 * What a look around costs does not depend on how many vCPUs sleep: it concerns those whose time has come
 * (cpu->timers, of which a vCPU is a member only while its timer could wake it) and those to which something
 * was sent (cpu->posted).
 */
#include "hv/vm/sched.h"

#include "hv/console/console.h"
#include "hv/console/mca_log.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/mca.h"
#include "hv/cpu/smp.h"
#include "hv/lib/x86.h"
#include "hv/svm/switch.h"
#include "hv/vm/guest.h"
#include "hv/vm/vcpu.h"
#include "hv/vm/watch.h"

/* A slice is not cut short for a smaller advantage than this. */
#define PREEMPT_US 500u
/* The interrupt that ends a slice may be late by so much, and the vCPU pays for it. */
#define LATE_US 1000u

uint64_t sched_slice_tsc(void)
{
    static uint64_t tsc;        /* the same, whoever finds it first */
    uint64_t slice = __atomic_load_n(&tsc, __ATOMIC_RELAXED);
    if (slice == 0)
        __atomic_store_n(&tsc, slice = clock_us_to_tsc(SCHED_SLICE_US), __ATOMIC_RELAXED);
    return slice;
}

static struct vcpu *of_ready(struct heap_node *node)
{
    return (struct vcpu *)((uint8_t *)node - offsetof(struct vcpu, ready));
}

static struct vcpu *of_timer(struct heap_node *node)
{
    return (struct vcpu *)((uint8_t *)node - offsetof(struct vcpu, timer));
}

/* ---- who pays ---- */

void sched_charge_work(struct cpu *cpu, struct vcpu *vcpu, uint64_t now)
{
    uint64_t spent = now - cpu->charged_tsc, interrupts = __atomic_load_n(&cpu->others_tsc, __ATOMIC_RELAXED);
    uint64_t others = interrupts - cpu->others_charged;
    cpu->charged_tsc = now;
    if (others != 0) {
        cpu->others_charged = interrupts;
        spent -= others < spent ? others : spent;
    }
    vcpu->run_tsc += spent;
    vcpu->fair_tsc += spent;
}

/* More than this is no vCPU's doing: the machine has stood still. */
void sched_charge(struct cpu *cpu, struct vcpu *vcpu, uint64_t now)
{
    static uint64_t most;       /* the same, whoever finds it first */
    if (now - cpu->charged_tsc > __atomic_load_n(&most, __ATOMIC_RELAXED)) {
        uint64_t found = sched_slice_tsc() + clock_us_to_tsc(LATE_US);
        __atomic_store_n(&most, found, __ATOMIC_RELAXED);
        if (now - cpu->charged_tsc > found)
            cpu->charged_tsc = now - found;
    }
    sched_charge_work(cpu, vcpu, now);
}

/* The vCPU pays until the interrupt that took the CPU from it. When that is long after the slice's end, the machine
 * has stood still meanwhile (an SMI, a debugger, a host that had stopped its emulator), for which nobody pays. */
void sched_charge_stay(struct cpu *cpu, struct vcpu *vcpu, uint64_t now)
{
    uint64_t until = __atomic_load_n(&cpu->interrupted_tsc, __ATOMIC_RELAXED), paid = cpu->charged_tsc;
    if (until <= paid || until > now)
        until = now;    /* an interrupt of before */
    if (until > cpu->slice_end_tsc) {
        uint64_t latest = cpu->slice_end_tsc + clock_us_to_tsc(LATE_US);
        if (latest < paid)
            latest = paid;
        if (until > latest)
            cpu->charged_tsc += until - latest;
    }
    sched_charge(cpu, vcpu, until);
}

/* Not further behind the vCPU chosen last than a slice. */
static void catch_up(const struct cpu *cpu, struct vcpu *vcpu)
{
    uint64_t slice = sched_slice_tsc();
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

static void list(struct cpu *cpu, struct vcpu *vcpu)
{
    if (cpu->run_queue == NULL) {
        vcpu->next = vcpu;
        cpu->run_queue = vcpu;
    } else {
        vcpu->next = cpu->run_queue->next;
        cpu->run_queue->next = vcpu;
    }
    vcpu->queued = true;
}

static void unlist(struct cpu *cpu, struct vcpu *vcpu)
{
    struct vcpu *before = vcpu;
    while (before->next != vcpu)
        before = before->next;
    before->next = vcpu->next;
    if (cpu->run_queue == vcpu)
        cpu->run_queue = before != vcpu ? before : NULL;
    vcpu->next = NULL;
    vcpu->queued = false;
    if (heap_holds(&vcpu->ready))
        heap_remove(&cpu->ready, &vcpu->ready);
    if (heap_holds(&vcpu->timer))
        heap_remove(&cpu->timers, &vcpu->timer);
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

/* Something may have come for a vCPU that does not run: its time, or a message. */
static void attend(struct cpu *cpu, struct vcpu *vcpu, const struct vcpu *running, uint64_t now, bool *preempt)
{
    bool slept = vcpu->state != VCPU_RUNNABLE;
    __atomic_store_n(&vcpu->quiet_until, 0, __ATOMIC_SEQ_CST);  /* before it looks at what was posted */
    queue(cpu, vcpu, vcpu_poll(vcpu, now));
    if (vcpu->state == VCPU_RUNNABLE)
        vcpu->quiet_until = UINT64_MAX;         /* it looks when its turn comes */
    if (running == NULL)
        return;
    if (vcpu->state != VCPU_RUNNABLE)
        vcpu->quiet_until = cpu->slices + 1;    /* what did not wake it is not asked for again in this slice */
    else if (slept && vcpu->fair_tsc + clock_us_to_tsc(PREEMPT_US) < running->fair_tsc)
        *preempt = true;
    sched_charge(cpu, vcpu, clock_tsc());       /* not the one that had to make way */
}

static void take_incoming(struct cpu *cpu)
{
    struct vcpu *vcpu = __atomic_exchange_n(&cpu->incoming, NULL, __ATOMIC_ACQUIRE), *next;
    for (; vcpu != NULL; vcpu = next) {
        next = vcpu->next;
        list(cpu, vcpu);
        vcpu->fair_tsc = cpu->fair_tsc;
        attend(cpu, vcpu, NULL, clock_tsc(), NULL);
        cpu->guest_ends = true;     /* it may have missed that its guest does */
    }
}

/* ---- what others send ---- */

void sched_notify(struct vcpu *vcpu)
{
    struct cpu *cpu = vcpu->cpu;
    struct vcpu_posted *posted = &vcpu->posted;
    if (!__atomic_exchange_n(&posted->listed, true, __ATOMIC_SEQ_CST)) {
        posted->next = __atomic_load_n(&cpu->posted, __ATOMIC_RELAXED);
        while (!__atomic_compare_exchange_n(&cpu->posted, &posted->next, vcpu, false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
            ;
    }
    /* Else vCPUs elsewhere could keep the CPU from the guest that has it. */
    if (__atomic_load_n(&cpu->slices, __ATOMIC_SEQ_CST) >= __atomic_load_n(&vcpu->quiet_until, __ATOMIC_SEQ_CST))
        smp_kick(cpu);
}

static void take_posted(struct cpu *cpu, const struct vcpu *running, uint64_t now, bool *preempt)
{
    struct vcpu *vcpu = __atomic_exchange_n(&cpu->posted, NULL, __ATOMIC_SEQ_CST), *next;
    for (; vcpu != NULL; vcpu = next) {
        bool queued = vcpu->queued;
        next = vcpu->posted.next;
        __atomic_store_n(&vcpu->posted.listed, false, __ATOMIC_SEQ_CST);
        if (!queued)
            guest_note_end();       /* from here on it may be gone: life.c has waited for this */
        else if (vcpu != running)
            attend(cpu, vcpu, running, now, preempt);
    }
}

/* ---- ends ---- */

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

/* A guest's end begins when all its vCPUs are off their queues. */
static void drop_ended(struct cpu *cpu)
{
    struct vcpu *vcpu;
    if (!__atomic_load_n(&cpu->guest_ends, __ATOMIC_RELAXED))
        return;
    __atomic_store_n(&cpu->guest_ends, false, __ATOMIC_SEQ_CST);
    while ((vcpu = find_ended(cpu)) != NULL) {
        struct guest *guest = vcpu->guest;
        unlist(cpu, vcpu);
        __atomic_fetch_sub(&cpu->assigned, 1, __ATOMIC_RELAXED);
        if (cpu->current == vcpu)
            cpu->current = NULL;
        if (cpu->sleeper == vcpu)
            cpu->sleeper = NULL;
        /* Afterwards it may be gone. */
        if (__atomic_sub_fetch(&guest->vcpus_queued, 1, __ATOMIC_ACQ_REL) == 0)
            guest_note_end();
    }
}

void sched_wake(struct vcpu *vcpu)
{
    if (vcpu->state == VCPU_RUNNABLE)
        return;
    vcpu->state = VCPU_RUNNABLE;
    catch_up(this_cpu(), vcpu);
}

uint64_t sched_poll(struct cpu *cpu, struct vcpu *running, uint64_t now, bool *preempt)
{
    uint64_t earliest = UINT64_MAX;
    if (__atomic_load_n(&cpu->posted, __ATOMIC_RELAXED) != NULL)
        take_posted(cpu, running, now, preempt);
    while (cpu->timers != NULL && cpu->timers->key <= now)
        attend(cpu, of_timer(cpu->timers), running, now, preempt);
    if (running != NULL)
        earliest = vcpu_poll(running, now);
    return cpu->timers != NULL && cpu->timers->key < earliest ? cpu->timers->key : earliest;
}

/* Takes it out of those that wait. One that has been charged since it began to wait goes back to its place. */
static struct vcpu *choose(struct cpu *cpu)
{
    struct heap_node *first;
    while ((first = cpu->ready) != NULL) {
        struct vcpu *vcpu = of_ready(first);
        heap_remove(&cpu->ready, first);
        if (first->key == vcpu->fair_tsc)
            return vcpu;
        heap_insert(&cpu->ready, first, vcpu->fair_tsc);
    }
    return NULL;
}

void sched_put_back(struct cpu *cpu, struct vcpu *vcpu, uint64_t deadline)
{
    vcpu->quiet_until = vcpu->state == VCPU_RUNNABLE ? UINT64_MAX : 0;
    queue(cpu, vcpu, deadline);
}

uint64_t sched_look_at_line(struct cpu *cpu, uint64_t now)
{
    if (now >= cpu->line_tsc) {
        console_drain();
        cpu->line_tsc = now + clock_us_to_tsc(cpu->line_us);
    }
    return cpu->line_tsc;
}

void sched_work_is_over(struct cpu *cpu)
{
    cpu->charged_tsc = clock_tsc();
    cpu->sleeper = NULL;
}

void sched_idle(struct cpu *cpu, uint64_t until)
{
    volatile bool *timer_fired = &cpu->timer_fired;
    /* Only the boot CPU has the operator's keys to look at; the others sleep until somebody wants them. */
    uint64_t start = clock_tsc(), latest = cpu->index == 0 ? start + clock_us_to_tsc(cpu->line_us) : cpu->mca_due_tsc;
    lapic_timer_arm(until < latest ? until : latest);
    cpu->idle = true;
    cli();
    if (!*timer_fired)
        sti_hlt();      /* an interrupt is taken no earlier than in the HLT, and ends it */
    else
        sti();
    cpu->idle = false;
    sched_work_is_over(cpu);
    cpu->idle_tsc += cpu->charged_tsc - start;
}

bool sched_run(struct cpu *cpu, uint64_t slice, uint64_t *next)
{
    bool preempt;
    watch_poll(cpu);
    sched_look_around(cpu);     /* what comes from here on ends the sleep, or the VMRUN */
    if (__atomic_load_n(&cpu->incoming, __ATOMIC_RELAXED) != NULL)
        take_incoming(cpu);
    drop_ended(cpu);
    uint64_t now = clock_tsc();
    mca_log_poll(cpu, now);
    __atomic_store_n(&cpu->slices, cpu->slices + 1, __ATOMIC_SEQ_CST);  /* before it looks at what was posted */
    *next = sched_poll(cpu, NULL, now, &preempt);
    struct vcpu *vcpu = choose(cpu);
    if (vcpu == NULL)
        return false;
    if (vcpu->fair_tsc > cpu->fair_tsc)
        cpu->fair_tsc = vcpu->fair_tsc;
    cpu->slice_end_tsc = now + slice;
    vcpu_run(vcpu);
    return true;
}

void sched_serve(struct cpu *cpu)
{
    uint64_t next;
    cpu->charged_tsc = clock_tsc();
    for (;;)
        if (!sched_run(cpu, sched_slice_tsc(), &next))
            sched_idle(cpu, next);
}
