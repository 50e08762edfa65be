/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Events into a guest: exceptions, interrupts, and those whose delivery an exit interrupted. */
#include "hv/vm/event.h"

#include "hv/cpu/trap.h"
#include "hv/lib/x86.h"
#include "hv/vm/debug.h"
#include "hv/vm/vcpu_cr.h"

#define VECTOR_BP 3u
#define VECTOR_OF 4u
#define PRIORITY(vector) ((vector) >> 4 & 0xfu)

void event_inject_exception(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error)
{
    vcpu->exception = vmcb_event(EVENT_TYPE_EXCEPTION, vector) |
                      (has_error ? EVENT_ERROR_VALID | (uint64_t)error << EVENT_ERROR_SHIFT : 0);
    vcpu->request = true;
}

/* APM2 15.7.2, 15.20: what of EXITINTINFO must be injected again. Software interrupts, INT3 and INTO
 * left RIP at their instruction, which runs again. An exception is injected again unless the
 * exit's handler raises another: that one is delivered, and the first recurs after it. Interrupts
 * and NMIs become pending again: an exception of the exit's handler, which is delivered first, may clear IF, raise TPR or block
 * NMIs, and they then wait as any other. */
void event_interrupted(struct vcpu *vcpu)
{
    uint64_t event = vcpu->vmcb->exitintinfo, type = event & EVENT_TYPE_MASK;
    uint8_t vector = EVENT_VECTOR(event);

    vcpu->request = true;
    if (type == EVENT_TYPE_INTERRUPT) {
        vlapic_take_back(&vcpu->lapic, vector);
    } else if (type == EVENT_TYPE_NMI) {
        vcpu->nmi_pending = true;
        event_block_nmi(vcpu, false, NMI_NO_IRET);
    } else if (type == EVENT_TYPE_EXCEPTION && vector != VECTOR_BP && vector != VECTOR_OF) {
        event_inject_exception(vcpu, vector, (event & EVENT_ERROR_VALID) != 0, (uint32_t)(event >> EVENT_ERROR_SHIFT));
    }
}

/* Highest vector that only TPR could hold back, or -1. */
static int wanted_interrupt(struct vlapic *lapic)
{
    uint32_t tpr = lapic->tpr;
    lapic->tpr = 0;
    int vector = vlapic_pending(lapic);
    lapic->tpr = tpr;
    return vector;
}

/* Of one of intercept_misc1's exits. */
static void set_intercept(struct vmcb *vmcb, uint32_t exit, bool wanted)
{
    uint32_t intercepts = (vmcb->intercept_misc1 & ~INTERCEPT(exit)) | (wanted ? INTERCEPT(exit) : 0);
    if (vmcb->intercept_misc1 != intercepts)
        vmcb_set_intercept_misc1(vmcb, intercepts);
}

/* An exit as soon as the guest can take an interrupt of the vector's class of TPR (APM2
 * 15.21.4: V_IRQ with V_INTR_PRIO above V_TPR); -1: none. */
static void set_window(struct vcpu *vcpu, int vector)
{
    uint64_t v_intr = V_INTR_MASKING | vlapic_cr8(&vcpu->lapic);
    if (vector >= 0)
        v_intr |= V_IRQ | (uint64_t)PRIORITY((unsigned)vector) << V_INTR_PRIO_SHIFT;
    if (vcpu->vmcb->v_intr != v_intr)
        vmcb_set_v_intr(vcpu->vmcb, v_intr);
    set_intercept(vcpu->vmcb, VMEXIT_VINTR, vector >= 0);
}

/* ---- NMI: one at a time, the next no earlier than the IRET from the first (APM2 8.1.1) ---- */

void event_block_nmi(struct vcpu *vcpu, bool blocked, uint64_t iret_rip)
{
    vcpu->nmi_blocked = blocked;
    vcpu->nmi_iret_rip = blocked ? iret_rip : NMI_NO_IRET;
    set_intercept(vcpu->vmcb, VMEXIT_IRET, blocked && iret_rip == NMI_NO_IRET);
}

/* The intercept comes before the IRET, which has been executed at the first exit with another RIP: a time slice later at most. */
void event_iret(struct vcpu *vcpu)
{
    event_block_nmi(vcpu, true, vcpu->vmcb->rip);
    vcpu->request |= vcpu->nmi_pending;
}

bool event_nmi_possible(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    if (vcpu->nmi_blocked && vcpu->nmi_iret_rip != NMI_NO_IRET &&
        (vcpu->nmi_iret_rip != vmcb->rip || vcpu->state == VCPU_HALTED)) /* behind a HLT just before the IRET, too */
        event_block_nmi(vcpu, false, NMI_NO_IRET);
    return !vcpu->nmi_blocked && (vmcb->interrupt_shadow & INTERRUPT_SHADOW) == 0;
}

uint64_t event_first(const struct vcpu *vcpu)
{
    uint64_t prepared = vcpu->vmcb->eventinj; /* and VMRUN has not been executed since */
    return (prepared & EVENT_VALID) != 0 ? prepared : vcpu->exception;
}

/* The event of the highest priority, which is pending no longer; 0: none that the guest can take now. */
static uint64_t next_event(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    bool interruptible = (vmcb->rflags & RFLAGS_IF) != 0 && (vmcb->interrupt_shadow & INTERRUPT_SHADOW) == 0;
    uint64_t event = event_first(vcpu);

    if ((vmcb->eventinj & EVENT_VALID) == 0)
        vcpu->exception = 0;
    if (event != 0)
        return event;
    if (vcpu->step != STEP_NONE)
        return 0;
    if (vcpu->nmi_pending && event_nmi_possible(vcpu)) {
        vcpu->nmi_pending = false;
        event_block_nmi(vcpu, true, NMI_NO_IRET);
        return vmcb_event(EVENT_TYPE_NMI, TRAP_NMI);
    }
    int vector = wanted_interrupt(&vcpu->lapic);
    if (vector < 0 || !interruptible || PRIORITY((unsigned)vector) <= vlapic_cr8(&vcpu->lapic))
        return 0;
    vlapic_accept(&vcpu->lapic, (uint8_t)vector);
    return vmcb_event(EVENT_TYPE_INTERRUPT, (uint8_t)vector);
}

void event_prepare(struct vcpu *vcpu)
{
    event_sync_tpr(vcpu);
    vmcb_set_eventinj(vcpu->vmcb, next_event(vcpu));
    if (vcpu->stepping && (vcpu->vmcb->eventinj & EVENT_VALID) != 0)
        vcpu_cr_step_end(vcpu); /* the instruction is tried again after the event */

    set_window(vcpu, vcpu->step == STEP_NONE ? wanted_interrupt(&vcpu->lapic) : -1);
    /* There is no window for NMIs: one that could come now, but for what is injected or for the IRET that is executed next, is
     * tried again at the next exit. */
    vcpu->request = vcpu->nmi_pending && (event_nmi_possible(vcpu) || vcpu->nmi_iret_rip != NMI_NO_IRET);
    if (vcpu->step != STEP_NONE)
        debug_enter(vcpu);
}
