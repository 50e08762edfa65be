/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The MSRs of the vlapic: after the timer interrupts themselves, what a guest exits for most. */
#include "exit.h"

#include "clock.h"
#include "x86.h"

#define MSR_X2APIC_TIMER_FIRST 0x832u   /* LVT entry, counts, divider */
#define MSR_X2APIC_TIMER_LAST 0x83eu

/* Only to these does the time matter; the others are spared a look at the clock. */
#define NO_TIME 0u
static bool is_timer(uint32_t msr)
{
    return msr == MSR_TSC_DEADLINE || (msr >= MSR_X2APIC_TIMER_FIRST && msr <= MSR_X2APIC_TIMER_LAST);
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

void exit_vlapic_read(struct vcpu *vcpu, uint32_t msr)
{
    uint64_t value, now = is_timer(msr) ? clock_tsc() : NO_TIME;
    event_sync_tpr(vcpu);
    if (vlapic_read(&vcpu->lapic, msr, vcpu_guest_tsc(vcpu, now), &value))
        exit_msr_finish_read(vcpu, value);
    else
        exit_msr_refuse(vcpu);
}

void exit_vlapic_write(struct vcpu *vcpu, uint32_t msr)
{
    struct vlapic_ipi ipi;
    uint64_t now = is_timer(msr) ? clock_tsc() : NO_TIME;
    event_sync_tpr(vcpu);
    if (!vlapic_write(&vcpu->lapic, msr, vcpu_guest_tsc(vcpu, now), exit_msr_written(vcpu), &ipi)) {
        exit_msr_refuse(vcpu);
        return;
    }
    if (ipi.send)
        event_send_ipi(vcpu, ipi.icr);
    if (now != NO_TIME)
        notice_deadline(vcpu, now);
    event_notice(vcpu);
    exit_skip(vcpu, 2);
}
