/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The whitelist of MSRs but for the vlapic's (exit_msr.c) and those that never exit (vmcb.c); and XCR0. What a guest
 * reads here is true for it on this host, or else the MSR is absent (#GP): a guest that sees a workaround's MSR believes
 * that the workaround is applied. So none of LS_CFG (SSBD before Zen 2), FP_CFG, BP_CFG; none of MCG_*, PMU, OSVW, which
 * CPUID does not offer either; none of MISC_ENABLE, which is Intel's. Where Linux asks for these, it is by rdmsr_safe().
 */
#include "hv/vm/exit_msr_list.h"

#include "hv/cpu/clock.h"
#include "hv/lib/x86.h"
#include "hv/svm/switch.h"
#include "hv/vm/event.h"
#include "hv/vm/exit.h"
#include "hv/vm/guest.h"
#include "hv/vm/vcpu_clock.h"

#define MSR_TSC 0x10u
#define MSR_PATCH_LEVEL 0x8bu
#define MSR_MTRR_CAP 0xfeu
#define MSR_MTRR_DEF_TYPE 0x2ffu
#define MSR_NB_CFG 0xc001001fu
#define MSR_MMIO_CFG_BASE 0xc0010058u
#define MSR_KVM_MIGRATION_CONTROL 0x4b564d08u   /* Linux Documentation/virt/kvm/x86/msr.rst */

#define HWCR_TSC_FREQ_SEL (UINT64_C(1) << 24)   /* the TSC counts at P0's frequency */
#define SEV_STATUS_SEV UINT64_C(1)
#define KVM_MIGRATION_READY UINT64_C(1)

static bool write_efer(struct vcpu *vcpu, uint64_t value)
{
    struct vmcb *vmcb = vcpu->vmcb;
    if ((value & ~EFER_WRITABLE) != 0)
        return false;
    if (((value ^ vmcb->efer) & EFER_LME) != 0 && (vmcb->cr0 & CR0_PG) != 0)
        return false;                   /* APM2 14.6.1: not while paging is on */
    /* A WRMSR that changes how page tables are read flushes the TLB (APM2 5.5); VMRUN with a changed EFER does not. */
    if (((value ^ vmcb->efer) & (EFER_LME | EFER_NXE)) != 0)
        vcpu_flush_tlb(vcpu);
    /* LMA is the processor's; VMRUN requires SVME. */
    vmcb_set_efer(vmcb, (value & ~EFER_LMA) | (vmcb->efer & EFER_LMA) | EFER_SVME);
    return true;
}

bool exit_msr_list_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    const struct vmcb *vmcb = vcpu->vmcb;
    switch (msr) {
    case MSR_TSC:
        *value = vcpu_guest_tsc(vcpu, clock_tsc());
        return true;
    case MSR_EFER:
        *value = vmcb->efer & ~EFER_SVME;
        return true;
    case MSR_PAT:
        *value = vmcb->g_pat;
        return true;
    case MSR_TSC_AUX:
        *value = vcpu->switched.tsc_aux;
        return switch_has_tsc_aux();
    case MSR_MTRR_CAP: /* no variable, no fixed ranges: the default type is all there is */
    case MSR_DEBUG_CTL: /* no last-branch records, no single-stepping by branch */
    case MSR_NB_CFG: /* reads 0, drops writes, as from family 17h on. Linux expects no #GP */
    case MSR_MMIO_CFG_BASE: /* no PCI configuration space in memory. Linux expects no #GP */
        *value = 0;
        return true;
    case MSR_MTRR_DEF_TYPE:
        *value = vcpu->mtrr_def_type;
        return true;
    case MSR_PATCH_LEVEL:
        *value = rdmsr(MSR_PATCH_LEVEL); /* so that errata are judged by the microcode that runs */
        return true;
    case MSR_KVM_SYSTEM_TIME_NEW:
        *value = vcpu->pvclock.system_time_msr;
        return true;
    case MSR_KVM_MIGRATION_CONTROL:
        *value = vcpu->guest->migration_control;
        return vcpu->guest->sev;
    case MSR_SYSCFG: /* one bit concerns a guest, and only one that has a C-bit. Linux expects no #GP */
        *value = vcpu->guest->sev ? rdmsr(MSR_SYSCFG) & SYSCFG_MEM_ENCRYPTION_MOD_EN : 0;
        return true;
    case MSR_HWCR: /* else Linux warns about the TSC's frequency */
        *value = rdmsr(MSR_HWCR) & HWCR_TSC_FREQ_SEL;
        return true;
    case MSR_VM_CR:
        *value = VM_CR_SVMDIS | VM_CR_LOCK;
        return true;
    case MSR_SEV_STATUS: /* comes here only where the processor does not answer it itself */
        *value = SEV_STATUS_SEV;
        return vcpu->guest->sev;
    case MSR_DE_CFG: /* as hv has set it, if the processor has it */
        *value = DE_CFG_LFENCE_SERIALIZE;
        return this_cpu()->features.lfence_by_msr;
    default:
        return false;
    }
}

bool exit_msr_list_write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    struct vmcb *vmcb = vcpu->vmcb;
    uint64_t now;
    switch (msr) {
    case MSR_TSC:
        vmcb_set_tsc_offset(vmcb, value - clock_tsc());
        vcpu->timer_changed = vcpu->request = true;
        return true;
    case MSR_EFER:
        return write_efer(vcpu, value);
    case MSR_PAT:
        if (!vmcb_pat_valid(value))
            return false;
        vmcb_set_g_pat(vmcb, value);
        return true;
    case MSR_TSC_AUX:
        return switch_set_tsc_aux(&vcpu->switched, value);
    case MSR_MTRR_DEF_TYPE: /* kept; memory is write-back whatever it says (APM2 15.25.8: no MTRRs under nested paging) */
        if ((value & ~MTRR_DEF_TYPE_WRITABLE) != 0)
            return false;
        vcpu->mtrr_def_type = value;
        return true;
    case MSR_KVM_WALL_CLOCK_NEW:
        return vcpu_clock_write_wall(vcpu, value);
    case MSR_KVM_SYSTEM_TIME_NEW:
        return vcpu_clock_write_system_time(vcpu, value);
    case MSR_KVM_MIGRATION_CONTROL: /* all vCPUs' */
        if (!vcpu->guest->sev || (value & ~KVM_MIGRATION_READY) != 0)
            return false;
        vcpu->guest->migration_control = (uint32_t)value;
        return true;
    case MSR_NB_CFG:
        return true;
    case MSR_DEBUG_CTL:
    case MSR_SYSCFG:
    case MSR_HWCR:
    case MSR_DE_CFG: /* the host's: a guest may write what it reads */
        return exit_msr_list_read(vcpu, msr, &now) && value == now;
    default:
        return false;
    }
}

/* APM2 11.5.2. The processor checks less before it intercepts than after. */
void exit_xsetbv(struct vcpu *vcpu)
{
    const struct vmcb *vmcb = vcpu->vmcb;
    uint64_t value = vcpu->run.gprs.rdx << 32 | (uint32_t)vmcb->rax;
    if (switch_guest_xcr0() == 0 || (vmcb->cr4 & CR4_OSXSAVE) == 0) {
        event_inject_exception(vcpu, VECTOR_UD, false, 0);
        return;
    }
    if (vmcb->cpl != 0 || (uint32_t)vcpu->run.gprs.rcx != 0 || !switch_xcr0_valid(value)) {
        event_inject_exception(vcpu, VECTOR_GP, true, 0);
        return;
    }
    switch_set_xcr0(value);
    exit_skip(vcpu, 3);
}
