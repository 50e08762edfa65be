/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The run loops: of a vCPU until its slice is over or it sleeps, and of a CPU. */
#include "hv/vm/run.h"

#include "hv/console/console.h"
#include "hv/console/mca_log.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/smp.h"
#include "hv/lib/panic.h"
#include "hv/lib/x86.h"
#include "hv/mm/view.h"
#include "hv/vm/event.h"
#include "hv/vm/exit_cpuid.h"
#include "hv/vm/exit_npf.h"
#include "hv/vm/fair.h"
#include "hv/vm/guest.h"
#include "hv/vm/sched.h"
#include "hv/vm/vcpu_poll.h"
#include "hv/vm/watch.h"

void run_init(struct cpu *cpu, bool com2_free)
{
    run_init_cpu(cpu);
    exit_cpuid_init(&cpu->features);    /* after switch_init() */
    exit_npf_init();
    vmcb_maps_init(com2_free);
}

void run_init_cpu(struct cpu *cpu)
{
    switch_init();
    __asm__ volatile("vmsave" : : "a"(view_entry_address(cpu->host_vmcb, VIEW_ENCRYPTED)) : "memory");
}

/* ---- a vCPU ---- */

/* No other CPU may have cached the VMCB, and the TLB may hold nothing of an earlier owner of the
 * ASID. Nor of another vCPU of the same guest: their TLB entries have the same tag. */
static void load(struct cpu *cpu, struct vcpu *vcpu)
{
    if (vcpu->last_cpu == cpu && vcpu->guest->config->vcpus == 1)
        return;
    vmcb_mark_dirty(vcpu->vmcb);
    vcpu_flush_tlb(vcpu);
    vcpu->last_cpu = cpu;
}

static bool can_run(const struct vcpu *vcpu)
{
    return vcpu->state == VCPU_RUNNABLE && !guest_stops(vcpu->guest);
}

/* A HLT is over at once when something waits that ends it. Else `*deadline` tells when its timer could. */
static bool goes_on(struct vcpu *vcpu, uint64_t *deadline)
{
    if (vcpu->state == VCPU_HALTED)
        *deadline = vcpu_poll(vcpu, clock_tsc());
    return can_run(vcpu);
}

/* The boot CPU buffers what came in on the operator's line, if it is time; returns when it is next. */
static uint64_t poll_line(struct cpu *cpu, uint64_t now)
{
    if (now >= cpu->line_tsc) {
        console_drain();
        cpu->line_tsc = now + clock_us_to_tsc(cpu->line_us);
    }
    return cpu->line_tsc;
}

void run_vcpu(struct vcpu *vcpu)
{
    struct cpu *cpu = this_cpu();
    volatile bool *timer_fired = &cpu->timer_fired;
    uint64_t host_vmcb = view_entry_address(cpu->host_vmcb, VIEW_ENCRYPTED), asleep_until = UINT64_MAX;
    bool preempt = false;

    __atomic_store_n(&vcpu->no_kick_until, 0, __ATOMIC_SEQ_CST);   /* before it polls what was posted */
    load(cpu, vcpu);
    switch_to(cpu->current != NULL ? &cpu->current->switched : NULL, &vcpu->switched);
    cpu->current = vcpu;
    struct vcpu *payer = cpu->sleeper != NULL ? cpu->sleeper : vcpu;    /* it is charged for the switch */
    vcpu->timer_changed = true;         /* poll the timers first */
    while (goes_on(vcpu, &asleep_until)) {
        if (*timer_fired || vcpu->timer_changed) {
            smp_acknowledge_kick(cpu);     /* before the poll: what comes during it is seen next time */
            vcpu->timer_changed = false;
            if (__atomic_exchange_n(&vcpu->tlb_stale, false, __ATOMIC_SEQ_CST))
                vcpu_flush_tlb(vcpu);
            uint64_t now = clock_tsc();
            if (payer == vcpu)
                fair_charge_stay(cpu, vcpu, now);
            else
                fair_charge(cpu, payer, now);
            uint64_t next = sched_poll(cpu, vcpu, now, &preempt);
            if (cpu->line_tsc != 0) {
                uint64_t line = poll_line(cpu, now);
                next = line < next ? line : next;
            }
            if (now >= cpu->slice_end_tsc || preempt || (cpu->index == 0 && guest_ends_wait()))
                break;
            lapic_timer_arm(next < cpu->slice_end_tsc ? next : cpu->slice_end_tsc);
            if (!can_run(vcpu))
                break;                  /* an INIT that was posted to it, or its guest's end */
            if (payer != vcpu)
                fair_charge(cpu, payer, clock_tsc());
            payer = vcpu;
        }
        if (vcpu->request)
            event_prepare(vcpu);
        if ((vcpu->vmcb->cr4 & CR4_MCE) == 0)       /* a guest on a CPU without decode assists: vcpu_cr.c */
            vmcb_set_cr4(vcpu->vmcb, vcpu->vmcb->cr4 | CR4_MCE);
        ASSERT(cpu->locks_held == 0);
        vmrun_enter(&vcpu->run, &cpu->timer_fired, host_vmcb);
    }
    if (!preempt)
        fair_charge(cpu, vcpu, clock_tsc());   /* else the rest is charged to the one that woke up */
    sched_put_back(cpu, vcpu, asleep_until);
    cpu->sleeper = vcpu->state == VCPU_HALTED ? vcpu : NULL;
}

/* ---- a CPU ---- */

bool run_round(struct cpu *cpu, uint64_t slice, uint64_t *next)
{
    smp_acknowledge_kick(cpu);      /* what comes from here on ends the sleep, or the VMRUN */
    sched_update(cpu);
    uint64_t now = clock_tsc();
    watch_poll(cpu, now);
    mca_log_poll(cpu, now);
    struct vcpu *vcpu = sched_choose(cpu, now, next);
    if (vcpu == NULL)
        return false;
    cpu->slice_end_tsc = now + slice;
    run_vcpu(vcpu);
    return true;
}

void run_idle(struct cpu *cpu, uint64_t until)
{
    volatile bool *timer_fired = &cpu->timer_fired;
    /* Only the boot CPU polls the operator's line; the others sleep until an interrupt. */
    uint64_t latest = cpu->index == 0 ? clock_tsc() + clock_us_to_tsc(cpu->line_us) : cpu->mca_due_tsc;
    lapic_timer_arm(until < latest ? until : latest);
    cpu->idle = true;
    cli();
    if (!*timer_fired)
        sti_hlt();      /* an interrupt is taken no earlier than in the HLT, and ends it */
    else
        sti();
    cpu->idle = false;
    fair_charge_nobody(cpu);
}

void run_loop(struct cpu *cpu)
{
    uint64_t next;
    cpu->charged_tsc = clock_tsc();
    for (;;)
        if (!run_round(cpu, fair_slice_tsc(), &next))
            run_idle(cpu, next);
}
