/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * RDMSR and WRMSR: what is on no list is #GP(0), and a line in the log. Here are the vlapic's MSRs, which
 * guests access most; each kind of access is a function out of line, so that none saves registers for another.
 */
#include "hv/vm/exit_msr.h"

#include "hv/cpu/clock.h"
#include "hv/lib/apic.h"
#include "hv/vm/event.h"
#include "hv/vm/exit.h"
#include "hv/vm/exit_msr_list.h"
#include "hv/vm/ipi.h"

static uint32_t msr_number(const struct vcpu *vcpu)
{
    return (uint32_t)vcpu->run.gprs.rcx;
}

static bool msr_is_write(const struct vcpu *vcpu)
{
    return vcpu->vmcb->exitinfo1 != 0;      /* APM2 15.11 */
}

static uint64_t msr_written(const struct vcpu *vcpu)
{
    return vcpu->run.gprs.rdx << 32 | (uint32_t)vcpu->vmcb->rax;
}

static void finish_read(struct vcpu *vcpu, uint64_t value)
{
    vmcb_set_rax(vcpu->vmcb, (uint32_t)value);
    vcpu->run.gprs.rdx = value >> 32;
    exit_skip(vcpu, 2);
}

/* #GP(0), and a line in the log. */
OUT_OF_LINE void refuse(struct vcpu *vcpu)
{
    uint32_t msr = msr_number(vcpu);
    if (msr_is_write(vcpu))
        exit_log(vcpu, "writes 0x%lx to MSR 0x%x: #GP (RIP 0x%lx)", msr_written(vcpu), msr, vcpu->vmcb->rip);
    else
        exit_log(vcpu, "reads MSR 0x%x: #GP (RIP 0x%lx)", msr, vcpu->vmcb->rip);
    event_inject_exception(vcpu, VECTOR_GP, true, 0);
}

OUT_OF_LINE void read_vlapic(struct vcpu *vcpu)
{
    uint64_t value;
    event_sync_tpr(vcpu);
    if (vlapic_read(&vcpu->lapic, msr_number(vcpu), vcpu_guest_tsc(vcpu, clock_tsc()), &value))
        finish_read(vcpu, value);
    else
        refuse(vcpu);
    event_notice(vcpu);         /* the timer may have expired, as the guest sees now */
}

/* The host's timer is armed already, mostly for an earlier time: the end of the slice. */
static void notice_deadline(struct vcpu *vcpu, uint64_t now)
{
    uint64_t deadline = vcpu->lapic.deadline_tsc, guest_now = vcpu_guest_tsc(vcpu, now), armed = this_cpu()->timer_tsc;
    if (deadline == UINT64_MAX)
        return;
    if (deadline <= guest_now || armed <= now || deadline - guest_now < armed - now)
        vcpu->timer_changed = vcpu->request = true;
}

OUT_OF_LINE void write_timer(struct vcpu *vcpu)
{
    uint64_t now = clock_tsc();
    if (!vlapic_write(&vcpu->lapic, msr_number(vcpu), vcpu_guest_tsc(vcpu, now), msr_written(vcpu), &vcpu->ipi)) {
        refuse(vcpu);
        return;
    }
    notice_deadline(vcpu, now);
    exit_skip(vcpu, 2);
}

OUT_OF_LINE void write_tpr_through(struct vcpu *vcpu)
{
    event_write_tpr(vcpu);
}

/* Registers that do not depend on the time. */
OUT_OF_LINE void write_vlapic(struct vcpu *vcpu)
{
    if (!vlapic_write(&vcpu->lapic, msr_number(vcpu), 0, msr_written(vcpu), &vcpu->ipi)) {
        refuse(vcpu);
        return;
    }
    if (msr_number(vcpu) == APIC_TPR)
        write_tpr_through(vcpu);
    if (vcpu->ipi.send)
        ipi_send(vcpu, vcpu->ipi.icr);
    event_notice(vcpu);
    exit_skip(vcpu, 2);
}

OUT_OF_LINE void read_or_write_listed(struct vcpu *vcpu)
{
    uint32_t msr = msr_number(vcpu);
    bool write = msr_is_write(vcpu);
    uint64_t value;
    if (write && exit_msr_list_write(vcpu, msr, msr_written(vcpu)))
        exit_skip(vcpu, 2);
    else if (!write && exit_msr_list_read(vcpu, msr, &value))
        finish_read(vcpu, value);
    else
        refuse(vcpu);
}

void exit_msr(struct vcpu *vcpu)
{
    uint32_t msr = msr_number(vcpu);
    bool timer = (msr >= APIC_LVT_TIMER && msr <= APIC_TIMER_DIVIDE) || msr == MSR_TSC_DEADLINE;

    if (!timer && (msr < MSR_X2APIC_BASE || msr > APIC_LAST) && msr != MSR_APIC_BASE)
        read_or_write_listed(vcpu);
    else if (!msr_is_write(vcpu))
        read_vlapic(vcpu);
    else if (timer)
        write_timer(vcpu);
    else
        write_vlapic(vcpu);
}
