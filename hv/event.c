/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Events into a guest: exceptions, interrupts, and those whose delivery an exit cut short. */
#include "exit.h"
#include "guest.h"
#include "x86.h"

#define VECTOR_BP 3u
#define VECTOR_OF 4u
#define PRIORITY(vector) ((vector) >> 4 & 0xfu)

void vcpu_inject_exception(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error)
{
    vcpu->pending_exception = true;
    vcpu->exception_vector = vector;
    vcpu->exception_has_error = has_error;
    vcpu->exception_error = error;
    vcpu->attention = true;
}

/* APM2 15.7.2, 15.20: what of EXITINTINFO must be given again. Software interrupts, INT3 and INTO
 * left RIP at their instruction, which runs again. An exception is given again unless the
 * exit's handler raises another: that one is delivered, and the first recurs after it. */
void event_interrupted(struct vcpu *vcpu)
{
    uint64_t event = vcpu->vmcb->exitintinfo;
    uint8_t vector = EVENT_VECTOR(event);

    vcpu->attention = true;
    switch (event & EVENT_TYPE_MASK) {
    case EVENT_TYPE_INTERRUPT:
    case EVENT_TYPE_NMI:
        vcpu->redeliver = vmcb_event(event & EVENT_TYPE_MASK, vector);
        break;
    case EVENT_TYPE_EXCEPTION:
        if (vector != VECTOR_BP && vector != VECTOR_OF)
            vcpu_inject_exception(vcpu, vector, (event & EVENT_ERROR_VALID) != 0, (uint32_t)(event >> EVENT_ERROR_SHIFT));
        break;
    default:
        break;
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

/* An exit as soon as the guest can take an interrupt above `priority`'s class of TPR (APM2
 * 15.21.4: V_IRQ with V_INTR_PRIO above V_TPR); NO_WINDOW: none. */
#define NO_WINDOW (-1)
static void set_window(struct vcpu *vcpu, int priority)
{
    struct vmcb *vmcb = vcpu->vmcb;
    uint64_t v_intr = V_INTR_MASKING | vlapic_cr8(&vcpu->lapic);
    uint32_t intercepts = vmcb->intercept_misc1 & ~INTERCEPT_VINTR;
    if (priority != NO_WINDOW) {
        v_intr |= V_IRQ | (uint64_t)(unsigned)priority << V_INTR_PRIO_SHIFT;
        intercepts |= INTERCEPT_VINTR;
    }
    if (vmcb->v_intr != v_intr)
        vmcb_set_v_intr(vmcb, v_intr);
    if (vmcb->intercept_misc1 != intercepts)
        vmcb_set_intercept_misc1(vmcb, intercepts);
}

void event_prepare(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    bool interruptible = (vmcb->rflags & RFLAGS_IF) != 0 && (vmcb->interrupt_shadow & INTERRUPT_SHADOW) == 0;
    uint64_t event = 0;

    event_sync_tpr(vcpu);
    int vector = wanted_interrupt(&vcpu->lapic);
    if (vcpu->pending_exception) {
        event = vcpu->exception_has_error
                    ? vmcb_event_with_error(EVENT_TYPE_EXCEPTION, vcpu->exception_vector, vcpu->exception_error)
                    : vmcb_event(EVENT_TYPE_EXCEPTION, vcpu->exception_vector);
        vcpu->pending_exception = false;
    } else if (vcpu->redeliver != 0) {
        event = vcpu->redeliver;    /* it was let in once: IF and TPR have been asked */
        vcpu->redeliver = 0;
    } else if (vector >= 0 && interruptible && PRIORITY((unsigned)vector) > vlapic_cr8(&vcpu->lapic)) {
        event = vmcb_event(EVENT_TYPE_INTERRUPT, (uint8_t)vector);
        vlapic_accept(&vcpu->lapic, (uint8_t)vector);
        vector = wanted_interrupt(&vcpu->lapic);
    }
    vmcb_set_eventinj(vmcb, event);

    int priority = NO_WINDOW;
    if (vcpu->redeliver != 0)
        priority = 0xf;
    else if (vector >= 0)
        priority = (int)PRIORITY((unsigned)vector);
    set_window(vcpu, priority);
    vcpu->attention = false;
}

void event_send_ipi(struct vcpu *vcpu, uint64_t icr)
{
    const struct guest *guest = vcpu->guest;
    enum { MESSAGE_FIXED = 0, MESSAGE_LOWEST = 1 };
    unsigned message = (unsigned)(icr >> 8) & 7u;
    if (message != MESSAGE_FIXED && message != MESSAGE_LOWEST)
        return;                         /* no NMI, INIT, SIPI while guests have one vCPU */
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS; i++) {
        struct vcpu *target = guest->vcpus[i];
        if (target == NULL || target == vcpu || !vlapic_addressed(&target->lapic, &vcpu->lapic, icr))
            continue;
        vlapic_post(&target->lapic, (uint8_t)icr);
        target->attention = true;
        vcpu_wake(target);
        if (message == MESSAGE_LOWEST)
            break;
    }
}
