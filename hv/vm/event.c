/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Events into a guest: exceptions, interrupts, and those whose delivery an exit cut short. */
#include "hv/vm/event.h"

#include "hv/cpu/trap.h"
#include "hv/lib/x86.h"
#include "hv/vm/exit.h"
#include "hv/vm/exit_cr.h"
#include "hv/vm/guest.h"
#include "hv/vm/sched.h"
#include "hv/vm/vcpu_start.h"

#define VECTOR_BP 3u
#define VECTOR_OF 4u
#define PRIORITY(vector) ((vector) >> 4 & 0xfu)

void event_inject_exception(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error)
{
    vcpu->pending_exception = true;
    vcpu->exception_vector = vector;
    vcpu->exception_has_error = has_error;
    vcpu->exception_error = error;
    vcpu->attention = true;
}

static void nmi_block(struct vcpu *vcpu, bool blocked);

/* APM2 15.7.2, 15.20: what of EXITINTINFO must be given again. Software interrupts, INT3 and INTO
 * left RIP at their instruction, which runs again. An exception is given again unless the
 * exit's handler raises another: that one is delivered, and the first recurs after it. Interrupts
 * and NMIs are pending again, as before they were let in: what comes first now, an exception of the exit's handler,
 * may close IF, raise TPR or block NMIs for them, and they have to wait for its end as any other. */
void event_interrupted(struct vcpu *vcpu)
{
    uint64_t event = vcpu->vmcb->exitintinfo;
    uint8_t vector = EVENT_VECTOR(event);

    vcpu->attention = true;
    switch (event & EVENT_TYPE_MASK) {
    case EVENT_TYPE_INTERRUPT:
        vlapic_take_back(&vcpu->lapic, vector);
        break;
    case EVENT_TYPE_NMI:
        vcpu->nmi_pending = true;
        nmi_block(vcpu, false);
        break;
    case EVENT_TYPE_EXCEPTION:
        if (vector != VECTOR_BP && vector != VECTOR_OF)
            event_inject_exception(vcpu, vector, (event & EVENT_ERROR_VALID) != 0, (uint32_t)(event >> EVENT_ERROR_SHIFT));
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

/* ---- NMI: one at a time, the next no earlier than the IRET from the first (APM2 8.1.1) ---- */

static void nmi_block(struct vcpu *vcpu, bool blocked)
{
    struct vmcb *vmcb = vcpu->vmcb;
    vcpu->nmi_blocked = blocked;
    vcpu->nmi_iret_rip = NMI_NO_IRET;
    uint32_t intercepts = (vmcb->intercept_misc1 & ~INTERCEPT_IRET) | (blocked ? INTERCEPT_IRET : 0);
    if (vmcb->intercept_misc1 != intercepts)
        vmcb_set_intercept_misc1(vmcb, intercepts);
}

/* The intercept comes before the IRET: it is over at the first exit elsewhere, which is a time slice away at most. */
void event_iret(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    vcpu->nmi_iret_rip = vmcb->rip;
    vmcb_set_intercept_misc1(vmcb, vmcb->intercept_misc1 & ~INTERCEPT_IRET);
}

bool event_nmi_possible(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    if (vcpu->nmi_blocked && vcpu->nmi_iret_rip != NMI_NO_IRET &&
        (vcpu->nmi_iret_rip != vmcb->rip || vcpu->state == VCPU_HALTED))    /* behind a HLT just before the IRET, too */
        nmi_block(vcpu, false);
    return !vcpu->nmi_blocked && (vmcb->interrupt_shadow & INTERRUPT_SHADOW) == 0;
}

/* Takes what is first in line out of it; 0: nothing that the guest can take now. */
static uint64_t next_event(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    bool interruptible = (vmcb->rflags & RFLAGS_IF) != 0 && (vmcb->interrupt_shadow & INTERRUPT_SHADOW) == 0;
    uint64_t event = vmcb->eventinj;

    if ((event & EVENT_VALID) != 0)
        return event;       /* prepared before, and VMRUN was put off: it is on its way */
    if (vcpu->pending_exception) {
        vcpu->pending_exception = false;
        return vcpu->exception_has_error
                   ? vmcb_event_with_error(EVENT_TYPE_EXCEPTION, vcpu->exception_vector, vcpu->exception_error)
                   : vmcb_event(EVENT_TYPE_EXCEPTION, vcpu->exception_vector);
    }
    if (vcpu->nmi_pending && event_nmi_possible(vcpu)) {
        vcpu->nmi_pending = false;
        nmi_block(vcpu, true);
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
        exit_cr_step_end(vcpu);     /* the instruction is tried again behind the event */

    int vector = wanted_interrupt(&vcpu->lapic);
    set_window(vcpu, vector >= 0 ? (int)PRIORITY((unsigned)vector) : NO_WINDOW);
    /* There is no window for NMIs: one that could come now, but for what is injected, is tried again at the next exit. */
    vcpu->attention = vcpu->nmi_pending && event_nmi_possible(vcpu);
}

/* ---- between vCPUs ---- */

enum { MESSAGE_FIXED = 0, MESSAGE_LOWEST = 1, MESSAGE_NMI = 4, MESSAGE_INIT = 5, MESSAGE_STARTUP = 6 };
#define ICR_MESSAGE(icr) ((unsigned)((icr) >> 8) & 7u)
#define ICR_LEVEL_ASSERT (UINT64_C(1) << 14)
#define ICR_TRIGGER_LEVEL (UINT64_C(1) << 15)

static void post(struct vcpu *target, unsigned message, uint8_t vector)
{
    struct vcpu_posted *posted = &target->posted;
    switch (message) {
    case MESSAGE_NMI:
        __atomic_store_n(&posted->nmi, 1, __ATOMIC_RELAXED);
        break;
    case MESSAGE_INIT:
        __atomic_store_n(&posted->startup, 0, __ATOMIC_RELAXED);    /* one sent before is lost, as in a CPU */
        __atomic_store_n(&posted->init, 1, __ATOMIC_RELAXED);
        break;
    case MESSAGE_STARTUP:
        __atomic_store_n(&posted->startup, STARTUP_VALID | vector, __ATOMIC_RELAXED);
        break;
    default:
        __atomic_fetch_or(&posted->irr[vector / 32], 1u << vector % 32, __ATOMIC_RELAXED);
        break;
    }
    __atomic_store_n(&posted->any, 1, __ATOMIC_SEQ_CST);
    sched_notify(target);
}

void event_send_ipi(struct vcpu *vcpu, uint64_t icr)
{
    const struct guest *guest = vcpu->guest;
    unsigned message = ICR_MESSAGE(icr);
    bool interrupt = message == MESSAGE_FIXED || message == MESSAGE_LOWEST;
    /* The de-assertion that ends an INIT on old parts does nothing (APM2 16.5). */
    if (message == MESSAGE_INIT && (icr & ICR_TRIGGER_LEVEL) != 0 && (icr & ICR_LEVEL_ASSERT) == 0)
        return;
    if (message == MESSAGE_LOWEST && vlapic_addressed(vcpu->id, vcpu->id, icr))
        return;     /* one alone gets it: the sender, who has it already */
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++) {
        struct vcpu *target = guest->vcpus[i];
        if ((interrupt && target == vcpu) || !vlapic_addressed(target->id, vcpu->id, icr))
            continue;
        post(target, message, (uint8_t)icr);
        if (message == MESSAGE_LOWEST)
            break;
    }
}

static void take_startup(struct vcpu *vcpu)
{
    uint32_t startup = __atomic_exchange_n(&vcpu->posted.startup, 0, __ATOMIC_RELAXED);
    if ((startup & STARTUP_VALID) != 0 && vcpu->state == VCPU_WAIT_SIPI)
        vcpu_start_at(vcpu, (uint8_t)startup);
}

/* Before it takes what was posted. Whether that wakes it, remains to be seen. */
static void rescue(struct vcpu *vcpu)
{
    vcpu->stranded = false;
    __atomic_fetch_add(&vcpu->guest->stranded, GUEST_RESCUED - 1, __ATOMIC_SEQ_CST);
}

/* Has all been taken that was ever posted to the guest's vCPUs? */
static bool all_taken(const struct guest *guest)
{
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++)
        if (__atomic_load_n(&guest->vcpus[i]->posted.any, __ATOMIC_SEQ_CST) != 0)
            return false;
    return true;
}

/* What Linux leaves behind after `halt`: each CPU has disabled its local APIC and halted. One that never started has it disabled. */
static bool all_disabled(const struct guest *guest)
{
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++)
        if (vlapic_enabled(&guest->vcpus[i]->lapic))
            return false;
    return true;
}

/* Other CPUs strand and rescue theirs meanwhile. If all are stranded before the look at what is posted, and none was
 * rescued until after it, then nobody was there to post anything behind its back. The last of them to come here sees that. */
void event_strand(struct vcpu *vcpu)
{
    struct guest *guest = vcpu->guest;
    uint32_t vcpus = guest->config->vcpus;
    if (vcpu->state == VCPU_HALTED && vcpu->asleep_tsc != 0)
        return;         /* by hv's will */
    vcpu->stranded = true;
    uint64_t stranded = __atomic_add_fetch(&guest->stranded, 1, __ATOMIC_SEQ_CST);
    if (stranded % GUEST_RESCUED != vcpus || !all_taken(guest) ||
        __atomic_load_n(&guest->stranded, __ATOMIC_SEQ_CST) != stranded)
        return;
    if (all_disabled(guest))
        guest_end(guest, GUEST_END_POWEROFF, "halted");
    else if (vcpus == 1)
        guest_end(guest, GUEST_END_CRASH, "HLT with interrupts off: nothing can wake its only vCPU; RIP 0x%lx",
                  vcpu->vmcb->rip);
    else
        guest_end(guest, GUEST_END_CRASH, "HLT with interrupts off: nothing can wake any of its %u vCPUs; RIP 0x%lx is "
                  "that of vCPU %u, the last", vcpus, vcpu->vmcb->rip, vcpu->id);
}

void event_take_posted(struct vcpu *vcpu)
{
    struct vcpu_posted *posted = &vcpu->posted;
    if (__atomic_load_n(&posted->any, __ATOMIC_RELAXED) == 0)
        return;
    if (vcpu->stranded)
        rescue(vcpu);
    (void)__atomic_exchange_n(&posted->any, 0, __ATOMIC_SEQ_CST);
    if (__atomic_exchange_n(&posted->init, 0, __ATOMIC_RELAXED) != 0) {
        vcpu->wbinvd_ticket = vcpu->asleep_tsc = 0;
        if (vcpu->id == 0)      /* it would go to the reset vector, where there is no firmware */
            guest_end(vcpu->guest, GUEST_END_RESET, "sent INIT to its boot vCPU");
        else
            vcpu_start_init(vcpu);
    }
    take_startup(vcpu);
    for (uint32_t i = 0; i < 8; i++) {
        uint32_t bits = __atomic_exchange_n(&posted->irr[i], 0, __ATOMIC_RELAXED);
        for (; bits != 0; bits &= bits - 1)
            vlapic_post(&vcpu->lapic, (uint8_t)(i * 32 + (uint32_t)__builtin_ctz(bits)));
    }
    if (__atomic_exchange_n(&posted->nmi, 0, __ATOMIC_RELAXED) != 0 && vcpu->state != VCPU_WAIT_SIPI)
        vcpu->nmi_pending = true;
    event_notice(vcpu);
}
