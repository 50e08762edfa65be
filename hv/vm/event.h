/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Interrupts and exceptions on their way into a guest. */
#ifndef SEVISOR_EVENT_H
#define SEVISOR_EVENT_H

#include "hv/vm/vcpu.h"

/* Decides what the next entry injects, and whether it ends when the guest can take
 * more; clears vcpu->request. */
void event_prepare(struct vcpu *vcpu);
/* An exit interrupted the delivery of an event (EXITINTINFO). */
void event_interrupted(struct vcpu *vcpu);
/* The guest's CR8 writes, which do not exit, reach the vlapic. */
static inline void event_sync_tpr(struct vcpu *vcpu)
{
    vlapic_set_tpr(&vcpu->lapic, (uint8_t)(vcpu->vmcb->v_intr & V_TPR_MASK));
}
/* The other way, after a write to the vlapic's TPR. */
static inline void event_write_tpr(struct vcpu *vcpu)
{
    vmcb_set_v_intr(vcpu->vmcb, (vcpu->vmcb->v_intr & ~V_TPR_MASK) | vlapic_cr8(&vcpu->lapic));
}
/* After a write to the vlapic: if an interrupt waits, vcpu->request asks for event_prepare(). */
static inline void event_notice(struct vcpu *vcpu)
{
    const uint32_t *irr = vcpu->lapic.irr;
    if ((irr[0] | irr[1] | irr[2] | irr[3] | irr[4] | irr[5] | irr[6] | irr[7]) != 0 ||
        (vcpu->vmcb->v_intr & V_IRQ) != 0)
        vcpu->request = true;
}

/* The guest can take an NMI now. Asked for when one waits. */
bool event_nmi_possible(struct vcpu *vcpu);
/* NMIs are blocked, and until the IRET at `iret_rip` has been executed; NMI_NO_IRET: none is about to be. */
void event_block_nmi(struct vcpu *vcpu, bool blocked, uint64_t iret_rip);
/* What comes before all else at the next entry, as EVENTINJ: prepared already, or an exception; 0: nothing. */
uint64_t event_first(const struct vcpu *vcpu);
/* The guest's IRET, intercepted while an NMI is being handled. */
void event_iret(struct vcpu *vcpu);

/* #GP(0), #UD, ... at the next entry. */
void event_inject_exception(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error);

#endif
