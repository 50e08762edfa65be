/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * RDMSR and WRMSR: what is on no list is #GP(0), and a line in the log. Here are the vlapic's, which
 * a guest exits for most of all; each way is a function out of line.
 */
#include "hv/vm/exit_msr.h"

#include "hv/cpu/clock.h"
#include "hv/lib/x86.h"
#include "hv/vm/event.h"
#include "hv/vm/exit.h"
#include "hv/vm/exit_msr_list.h"

#define MSR_X2APIC_TPR 0x808u
#define MSR_X2APIC_TIMER_FIRST 0x832u   /* LVT entry, counts, divider */
#define MSR_X2APIC_TIMER_LAST 0x83eu
#define MSR_X2APIC_LAST 0x8ffu

void exit_msr_refuse(struct vcpu *vcpu)
{
    uint32_t msr = exit_msr_number(vcpu);
    if (exit_msr_is_write(vcpu))
        exit_log(vcpu, "writes 0x%lx to MSR 0x%x: #GP (RIP 0x%lx)", exit_msr_written(vcpu), msr, vcpu->vmcb->rip);
    else
        exit_log(vcpu, "reads MSR 0x%x: #GP (RIP 0x%lx)", msr, vcpu->vmcb->rip);
    event_inject_exception(vcpu, VECTOR_GP, true, 0);
}

OUT_OF_LINE void read_vlapic(struct vcpu *vcpu)
{
    uint64_t value;
    event_sync_tpr(vcpu);
    if (vlapic_read(&vcpu->lapic, exit_msr_number(vcpu), vcpu_guest_tsc(vcpu, clock_tsc()), &value))
        exit_msr_finish_read(vcpu, value);
    else
        exit_msr_refuse(vcpu);
    event_notice(vcpu);         /* the timer may have expired, as the guest sees now */
}

/* The host's timer is armed already, mostly for an earlier time: the end of the slice. */
static void notice_deadline(struct vcpu *vcpu, uint64_t now)
{
    uint64_t deadline = vcpu->lapic.deadline_tsc, guest_now = vcpu_guest_tsc(vcpu, now), armed = this_cpu()->timer_tsc;
    if (deadline == UINT64_MAX)
        return;
    if (deadline <= guest_now || armed <= now || deadline - guest_now < armed - now)
        vcpu->timer_changed = vcpu->attention = true;
}

OUT_OF_LINE void write_timer(struct vcpu *vcpu)
{
    uint64_t now = clock_tsc();
    if (!vlapic_write(&vcpu->lapic, exit_msr_number(vcpu), vcpu_guest_tsc(vcpu, now), exit_msr_written(vcpu), &vcpu->ipi)) {
        exit_msr_refuse(vcpu);
        return;
    }
    notice_deadline(vcpu, now);
    exit_skip(vcpu, 2);
}

OUT_OF_LINE void write_tpr_through(struct vcpu *vcpu)
{
    event_write_tpr(vcpu);
}

/* Time does not matter to these. */
OUT_OF_LINE void write_vlapic(struct vcpu *vcpu)
{
    if (!vlapic_write(&vcpu->lapic, exit_msr_number(vcpu), 0, exit_msr_written(vcpu), &vcpu->ipi)) {
        exit_msr_refuse(vcpu);
        return;
    }
    if (exit_msr_number(vcpu) == MSR_X2APIC_TPR)
        write_tpr_through(vcpu);
    if (vcpu->ipi.send)
        event_send_ipi(vcpu, vcpu->ipi.icr);
    event_notice(vcpu);
    exit_skip(vcpu, 2);
}

void exit_msr(struct vcpu *vcpu)
{
    uint32_t msr = exit_msr_number(vcpu);
    bool timer = (msr >= MSR_X2APIC_TIMER_FIRST && msr <= MSR_X2APIC_TIMER_LAST) || msr == MSR_TSC_DEADLINE;

    if (!timer && (msr < MSR_X2APIC_BASE || msr > MSR_X2APIC_LAST) && msr != MSR_APIC_BASE)
        exit_msr_list(vcpu);
    else if (!exit_msr_is_write(vcpu))
        read_vlapic(vcpu);
    else if (timer)
        write_timer(vcpu);
    else
        write_vlapic(vcpu);
}
