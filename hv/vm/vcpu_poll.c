/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What has come for a vCPU, and when its timer is next. */
#include "hv/vm/vcpu_poll.h"

#include "hv/lib/x86.h"
#include "hv/vm/event.h"
#include "hv/vm/exit_cache.h"
#include "hv/vm/fair.h"
#include "hv/vm/ipi.h"

uint64_t vcpu_poll(struct vcpu *vcpu, uint64_t now)
{
    uint64_t guest_now = vcpu_guest_tsc(vcpu, now), host;
    ipi_take(vcpu);
    if (vcpu->wbinvd_ticket != 0) {     /* in the middle of an instruction, which nothing interrupts */
        if (!exit_cache_over(vcpu))
            return vcpu->asleep_tsc;
        fair_wake(vcpu);
    }
    bool hears = (vcpu->vmcb->rflags & RFLAGS_IF) != 0;
    uint64_t deadline = vlapic_timer(&vcpu->lapic, guest_now);
    event_sync_tpr(vcpu);
    if (vlapic_pending(&vcpu->lapic) >= 0) {
        vcpu->request = true;
        if (hears)
            fair_wake(vcpu);
    }
    if (vcpu->nmi_pending && event_nmi_possible(vcpu)) {
        vcpu->request = true;
        fair_wake(vcpu);
    }
    if (vcpu->state != VCPU_RUNNABLE) {
        if (!hears && !vcpu->awaits_ipi)
            ipi_await(vcpu);
        if (!hears || !vlapic_timer_deliverable(&vcpu->lapic))
            deadline = UINT64_MAX;
    }
    /* The guest chooses its TSC, so only the difference counts. */
    if (deadline == UINT64_MAX || __builtin_add_overflow(now, deadline > guest_now ? deadline - guest_now : 0, &host))
        host = UINT64_MAX;
    if (vcpu->state == VCPU_HALTED && vcpu->asleep_tsc != 0) {
        if (now < vcpu->asleep_tsc)
            return vcpu->asleep_tsc < host ? vcpu->asleep_tsc : host;
        fair_wake(vcpu);
    }
    return host;
}
