/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* MOV to and from CR0 and CR4, CLTS, LMSW, SMSW; vcpu_cr.c says what exits when. */
#include "hv/vm/exit_cr.h"

#include "hv/lib/x86.h"
#include "hv/vm/event.h"
#include "hv/vm/exit.h"
#include "hv/vm/exit_cpuid.h"
#include "hv/vm/vcpu_cr.h"

/* What the TLB may have been filled by (APM2 5.5.3, 3.1.3); PKE is checked at each access. */
#define CR0_TRANSLATION (CR0_PE | CR0_WP | CR0_PG)
#define CR4_TRANSLATION (CR4_PSE | CR4_PAE | CR4_PGE | CR4_LA57 | CR4_PCIDE | CR4_SMEP | CR4_SMAP)
#define CR3_PCID UINT64_C(0xfff)
#define SEGMENT_L 0x200u

enum { GPR_RAX = 0, GPR_RSP = 4 };

/* APM3 MOV CRn, APM2 3.1.1, 14.6, 5.5.1. Reserved bits of the lower half are ignored. */
static bool guest_writes_cr0(struct vcpu *vcpu, uint64_t value)
{
    struct vmcb *vmcb = vcpu->vmcb;
    uint64_t changed = value ^ vcpu_cr0(vcpu), efer = vmcb->efer;
    bool code64 = (vmcb->cs.attributes & SEGMENT_L) != 0;

    if (value > UINT32_MAX || (value & CR0_HIDDEN) == CR0_NW || (value & (CR0_PG | CR0_PE)) == CR0_PG ||
        ((value & CR0_PG) == 0 && (vmcb->cr4 & CR4_PCIDE) != 0))
        return false;
    if ((changed & CR0_PG) != 0 && (efer & EFER_LME) != 0) {
        if (code64 || (vmcb->cr4 & CR4_PAE) == 0)
            return false;
        vmcb_set_efer(vmcb, (value & CR0_PG) != 0 ? efer | EFER_LMA : efer & ~EFER_LMA);
    }
    vcpu_cr_set_cr0(vcpu, (value & CR0_DEFINED) | CR0_ET);
    if ((changed & CR0_TRANSLATION) != 0)
        vcpu_flush_tlb(vcpu);
    return true;
}

/* APM2 3.1.3, APM3 appendix E. */
uint64_t exit_cr4_defined(void)
{
    enum part { LEAF_1_EDX, LEAF_1_ECX, LEAF_7_EBX, LEAF_7_ECX };
    static const struct {
        uint64_t cr4;
        uint8_t part, bit;
    } bits[] = {
        {CR4_VME | CR4_PVI, LEAF_1_EDX, 1}, {CR4_DE, LEAF_1_EDX, 2},       {CR4_PSE, LEAF_1_EDX, 3},
        {CR4_TSD, LEAF_1_EDX, 4},           {CR4_PAE, LEAF_1_EDX, 6},      {CR4_MCE, LEAF_1_EDX, 7},
        {CR4_PGE, LEAF_1_EDX, 13},          {CR4_OSFXSR, LEAF_1_EDX, 24},  {CR4_OSXMMEXCPT, LEAF_1_EDX, 25},
        {CR4_PCIDE, LEAF_1_ECX, 17},        {CR4_OSXSAVE, LEAF_1_ECX, 26}, {CR4_FSGSBASE, LEAF_7_EBX, 0},
        {CR4_SMEP, LEAF_7_EBX, 7},          {CR4_SMAP, LEAF_7_EBX, 20},    {CR4_UMIP, LEAF_7_ECX, 2},
        {CR4_PKE, LEAF_7_ECX, 3},           {CR4_LA57, LEAF_7_ECX, 16},
    };
    struct cpuid one = exit_cpuid_offered(1), seven = exit_cpuid_offered(7);
    const uint32_t parts[] = {one.edx, one.ecx, seven.ebx, seven.ecx};
    uint64_t defined = CR4_PCE;
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++)
        if ((parts[bits[i].part] >> bits[i].bit & 1) != 0)
            defined |= bits[i].cr4;
    return defined;
}

/* APM3 MOV CRn, APM2 3.1.3, 5.3.4, 5.5.1. */
static bool guest_writes_cr4(struct vcpu *vcpu, uint64_t value)
{
    struct vmcb *vmcb = vcpu->vmcb;
    uint64_t changed = value ^ vcpu_cr4(vcpu);
    bool long_mode = (vmcb->efer & EFER_LMA) != 0;

    if ((value & ~exit_cr4_defined()) != 0)
        return false;
    if (long_mode && ((value & CR4_PAE) == 0 || (changed & CR4_LA57) != 0))
        return false;
    if ((changed & value & CR4_PCIDE) != 0 && (!long_mode || (vmcb->cr3 & CR3_PCID) != 0))
        return false;
    vmcb_set_cr4(vmcb, value | CR4_MCE);
    if ((changed & CR4_TRANSLATION) != 0)
        vcpu_flush_tlb(vcpu);
    return true;
}

static uint64_t *general_register(struct vmrun_gprs *gprs, unsigned number)
{
    uint64_t *const by_number[] = {
        NULL,      &gprs->rcx, &gprs->rdx, &gprs->rbx, NULL,       &gprs->rbp, &gprs->rsi, &gprs->rdi,
        &gprs->r8, &gprs->r9,  &gprs->r10, &gprs->r11, &gprs->r12, &gprs->r13, &gprs->r14, &gprs->r15,
    };
    return by_number[number];
}

static uint64_t get_register(struct vcpu *vcpu, unsigned number)
{
    if (number == GPR_RAX)
        return vcpu->vmcb->rax;
    return number == GPR_RSP ? vcpu->vmcb->rsp : *general_register(&vcpu->run.gprs, number);
}

static void set_register(struct vcpu *vcpu, unsigned number, uint64_t value)
{
    if (number == GPR_RAX)
        vmcb_set_rax(vcpu->vmcb, value);
    else if (number == GPR_RSP)
        vmcb_set_rsp(vcpu->vmcb, value);
    else
        *general_register(&vcpu->run.gprs, number) = value;
}

void exit_cr(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    bool code64 = (vmcb->efer & EFER_LMA) != 0 && (vmcb->cs.attributes & SEGMENT_L) != 0, done = true;
    unsigned number = (unsigned)(vmcb->exitinfo1 & CR_GPR);

    if (!vcpu_cr_intercepts()) {
        exit_crash(vcpu, "unhandled exit 0x%lx at RIP 0x%lx", vmcb->exitcode, vmcb->rip);
        return;
    }
    if ((vmcb->exitinfo1 & CR_MOV) == 0) {
        vcpu_cr_step(vcpu, true);
        return;
    }
    uint64_t written = code64 ? get_register(vcpu, number) : (uint32_t)get_register(vcpu, number);
    if (vmcb->cpl != 0)         /* the processor has checked that already */
        done = false;
    else if (vmcb->exitcode == VMEXIT_READ_CR0)
        set_register(vcpu, number, vcpu_cr0(vcpu));
    else if (vmcb->exitcode == VMEXIT_READ_CR4)
        set_register(vcpu, number, vcpu_cr4(vcpu));
    else if (vmcb->exitcode == VMEXIT_WRITE_CR4)
        done = guest_writes_cr4(vcpu, written);
    else
        done = guest_writes_cr0(vcpu, written);
    if (done)
        exit_skip(vcpu, 3);
    else
        event_inject_exception(vcpu, VECTOR_GP, true, 0);
}
