/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Steps go by RFLAGS.TF with all exceptions intercepted (vcpu_cr.c); an instruction that exits is over with hv's part of it.
 * Interrupts and NMIs wait until the guest is resumed. An exception of the instruction is delivered, and the step ends before its
 * handler's first instruction: an interrupt of the host's is pending at VMRUN then, and comes right behind the injected
 * event (APM2 15.20), as KVM's immediate exits do. The guest finds hv's TF where PUSHF, INT n and SYSCALL store RFLAGS: nothing
 * here decodes instructions, or writes to its memory.
 *
 * Breakpoints stand in the guest's own DR0-3 and DR7, beside those that it uses itself. #DB is intercepted anyway
 * (VMCB_EXCEPTIONS): a guest without a debugger pays nothing. A guest that reads DR7 sees them; what it writes there counts.
 */
#include "hv/vm/debug.h"

#include "hv/cpu/lapic.h"
#include "hv/cpu/trap.h"
#include "hv/lib/x86.h"
#include "hv/vm/guest.h"
#include "hv/vm/vcpu_cr.h"

#define BREAKPOINTS 4u
#define DR7_TYPE(dr7, n) ((dr7) >> (16 + 4 * (n)) & 3) /* 0: of an instruction, a fault; else a trap */

void debug_begin(struct guest *guest, const struct vcpu *step)
{
    for (uint32_t i = 0; i < guest->config->vcpus; i++) {
        struct vcpu *vcpu = guest->vcpus[i];
        vcpu->stopped = 0;
        vcpu->step = vcpu == step ? STEP_ASKED : STEP_NONE;
        vcpu->request = true;
    }
}

/* On its CPU. All vCPUs of the guest leave their queues; then control.c tells. */
static void stop(struct vcpu *vcpu, uint32_t code)
{
    vcpu->stopped = (uint8_t)(code + 1);
    vcpu->request = true;
    guest_pause(vcpu->guest);
    __atomic_store_n(&vcpu->step, STEP_NONE, __ATOMIC_RELEASE); /* who sees that, sees the pause */
}

/* ---- one instruction ---- */

void debug_enter(struct vcpu *vcpu)
{
    if ((vcpu->vmcb->eventinj & EVENT_VALID) == 0) {
        if (!vcpu->stepping)
            vcpu_cr_step(vcpu, false);
        return;
    }
    vcpu->step = STEP_DELIVERY;
    vcpu->request = true; /* once more, should the entry not come about */
    clgi(); /* vmrun_enter() needs it so, and its VMRUN sets GIF */
    lapic_send(this_cpu()->apic_id, LAPIC_MESSAGE_FIXED | TRAP_KICK);
}

void debug_delivered(struct vcpu *vcpu)
{
    if (vcpu->exception == 0) /* else an exit came in the middle of the delivery */
        stop(vcpu, 0);
}

void debug_stepped(struct vcpu *vcpu)
{
    if (vcpu->step != STEP_NONE)
        stop(vcpu, 0);
}

/* ---- breakpoints ---- */

static uint32_t debugger; /* control guests that have ended */

static uint8_t enabled(uint64_t dr7)
{
    uint8_t found = 0;
    for (uint32_t i = 0; i < BREAKPOINTS; i++)
        found |= (uint8_t)(((dr7 >> 2 * i & 3) != 0) << i);
    return found;
}

void debug_forget(void)
{
    __atomic_fetch_add(&debugger, 1, __ATOMIC_SEQ_CST);
}

void debug_refresh(struct vcpu *vcpu)
{
    uint32_t now = __atomic_load_n(&debugger, __ATOMIC_SEQ_CST);
    if (vcpu->debugger == now)
        return;
    for (uint32_t i = 0; i < BREAKPOINTS; i++)
        if ((vcpu->breakpoints >> i & 1) != 0)
            vmcb_set_dr7(vcpu->vmcb, vcpu->vmcb->dr7 & ~(UINT64_C(3) << 2 * i));
    vcpu->breakpoints = 0;
    vcpu->debugger = now;
}

void debug_set_breakpoints(struct vcpu *vcpu, const uint64_t dr[static 4], uint64_t dr7)
{
    debug_refresh(vcpu);
    vcpu->breakpoints = enabled(dr7) & (uint8_t)(vcpu->breakpoints | ~enabled(vcpu->vmcb->dr7));
    for (uint32_t i = 0; i < BREAKPOINTS; i++)
        vcpu->switched.dr[i] = dr[i];
    vmcb_set_dr7(vcpu->vmcb, dr7 | DR7_RESET);
}

bool debug_exception(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    bool stepping = vcpu->stepping, own = stepping && vcpu_cr_stepped(vcpu);
    uint64_t hit = vmcb->dr6 & vcpu->breakpoints & enabled(vmcb->dr7);
    if (hit == 0) {
        if (stepping)
            debug_stepped(vcpu);
        return own;
    }
    uint32_t first = (uint32_t)__builtin_ctzl(hit);
    vmcb_set_dr6(vmcb, vmcb->dr6 & ~hit);
    if (DR7_TYPE(vmcb->dr7, first) == 0)
        vmcb_set_rflags(vmcb, vmcb->rflags | RFLAGS_RF); /* else it would come again, and never be passed */
    debug_refresh(vcpu);
    if (vcpu->breakpoints != 0)
        stop(vcpu, 1 + first);
    /* What is left to tell the guest. */
    return (vmcb->dr6 & enabled(vmcb->dr7)) == 0 && ((vmcb->dr6 & DR6_BS) == 0 || (vmcb->rflags & RFLAGS_TF) == 0);
}
