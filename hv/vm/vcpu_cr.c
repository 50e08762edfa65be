/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * CR0 and CR4 of a guest. Two settings are the host's while a guest runs: CR4.MCE stays 1, else a machine check
 * shuts the processor down (APM2 9.3.1); CR0.CD and NW stay 0, else the guest runs uncached, and slows those
 * who share its caches. The guest reads back what it wrote.
 *
 * CR4: each MOV exits. CR0: writes of bits other than TS and MP exit (the selective intercept, APM2 15.9); reads,
 * and all other writes, only as long as the guest's CD or NW differ from the hardware's. CLTS, LMSW and SMSW touch
 * neither CD nor NW, and nothing here decodes instructions: the guest executes them itself, with the intercepts
 * of CR0 off for this one instruction, by RFLAGS.TF and intercepts of all exceptions. So SMSW to a register of
 * 32 or 64 bits reads CD and NW as 0.
 *
 * On a CPU without decode assists (APM2 15.33; all that have SEV have them) EXITINFO1 does not name the register,
 * so nothing is intercepted: MCE is set again before each entry, and a guest may clear it, or set CD, until then.
 */
#include "hv/vm/vcpu_cr.h"

#include "hv/lib/x86.h"

#define DR6_CAUSES UINT64_C(0xe00f)     /* BT BS BD B3-0 */
#define STEP_EXCEPTIONS 0xfffffffbu     /* all but NMI, which has an intercept of its own */

bool vcpu_cr_intercepts(void)
{
    return this_cpu()->features.decode_assists && this_cpu()->features.next_rip;
}

uint64_t vcpu_cr0(const struct vcpu *vcpu)
{
    return vcpu->vmcb->cr0 | vcpu->cr0_hidden;
}

uint64_t vcpu_cr4(const struct vcpu *vcpu)
{
    return vcpu_cr_intercepts() ? vcpu->vmcb->cr4 & ~CR4_MCE : vcpu->vmcb->cr4;
}

static void set_intercepts(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    vmcb_set_intercept_exceptions(vmcb, vcpu->stepping ? STEP_EXCEPTIONS : VMCB_EXCEPTIONS);
    if (!vcpu_cr_intercepts())
        return;
    uint32_t cr = INTERCEPT(VMEXIT_READ_CR4) | INTERCEPT(VMEXIT_WRITE_CR4);
    uint32_t misc1 = vmcb->intercept_misc1 & ~INTERCEPT(VMEXIT_CR0_SEL_WRITE);
    if (!vcpu->stepping || !vcpu->cr0_free) {
        misc1 |= INTERCEPT(VMEXIT_CR0_SEL_WRITE);
        if (vcpu->cr0_hidden != 0)
            cr |= INTERCEPT(VMEXIT_READ_CR0) | INTERCEPT(VMEXIT_WRITE_CR0);
    }
    vmcb_set_intercept_cr(vmcb, cr);
    vmcb_set_intercept_misc1(vmcb, misc1);
}

void vcpu_cr_set_cr0(struct vcpu *vcpu, uint64_t cr0)
{
    vcpu->cr0_hidden = vcpu_cr_intercepts() ? cr0 & CR0_HIDDEN : 0;
    vmcb_set_cr0(vcpu->vmcb, cr0 & ~CR0_HIDDEN);
    set_intercepts(vcpu);
}

void vcpu_cr_reset(struct vcpu *vcpu, uint64_t cr0, uint64_t cr4)
{
    vcpu->stepping = false;
    vcpu_cr_set_cr0(vcpu, cr0);
    vmcb_set_cr4(vcpu->vmcb, cr4 | CR4_MCE);
}

/* ---- single steps by hv: CLTS, LMSW, SMSW, and the operator's (debug.c) ---- */

void vcpu_cr_step(struct vcpu *vcpu, bool cr0_free)
{
    struct vmcb *vmcb = vcpu->vmcb;
    if (!vcpu->stepping) {
        vcpu->step_tf = vmcb->rflags & RFLAGS_TF;
        vcpu->step_dr6 = vmcb->dr6;
    }
    vcpu->stepping = true;
    vcpu->cr0_free = cr0_free;
    /* RF: no breakpoint at the instruction stops the operator's step; one that has exited has passed it. */
    vmcb_set_rflags(vmcb, vmcb->rflags | RFLAGS_TF | (cr0_free ? 0 : RFLAGS_RF));
    set_intercepts(vcpu);
}

void vcpu_cr_step_end(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    vcpu->stepping = false;
    vmcb_set_rflags(vmcb, (vmcb->rflags & ~RFLAGS_TF) | vcpu->step_tf);
    set_intercepts(vcpu);
}

bool vcpu_cr_stepped(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    bool own = vcpu->step_tf == 0 && (vmcb->dr6 & ~vcpu->step_dr6 & DR6_CAUSES & ~DR6_BS) == 0;
    vcpu_cr_step_end(vcpu);
    if (vcpu->step_tf == 0)
        vmcb_set_dr6(vmcb, (vmcb->dr6 & ~DR6_BS) | (vcpu->step_dr6 & DR6_BS));
    return own;
}
