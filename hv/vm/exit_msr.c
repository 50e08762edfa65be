/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * RDMSR and WRMSR: what is on no list is #GP(0), and a line in the log. Most accesses are to the vlapic's MSRs: each kind
 * of access is a function out of line, so that none saves registers for another.
 *
 * The whitelist of the other MSRs, but for those that never exit (vmcb.c); and XCR0. What a guest
 * reads here is true for it on this host, or else the MSR is absent (#GP): a guest that sees a workaround's MSR believes
 * that the workaround is applied. So none of LS_CFG (SSBD before Zen 2), FP_CFG, BP_CFG; none of MCG_*, PMU, OSVW, which
 * CPUID does not offer either; none of MISC_ENABLE, which is Intel's. Where Linux asks for these, it is by rdmsr_safe().
 */
#include "hv/vm/exit_msr.h"

#include "hv/cpu/clock.h"
#include "hv/lib/apic.h"
#include "hv/lib/x86.h"
#include "hv/svm/switch.h"
#include "hv/vm/event.h"
#include "hv/vm/exit.h"
#include "hv/vm/guest.h"
#include "hv/vm/ipi.h"
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

static uint32_t msr_number(const struct vcpu *vcpu)
{
    return (uint32_t)vcpu->run.gprs.rcx;
}

static bool msr_is_write(const struct vcpu *vcpu)
{
    return vcpu->vmcb->exitinfo1 != 0;      /* APM2 15.11 */
}

static uint64_t msr_written(const struct vcpu *vcpu)
{
    return vcpu->run.gprs.rdx << 32 | (uint32_t)vcpu->vmcb->rax;
}

static void finish_read(struct vcpu *vcpu, uint64_t value)
{
    vmcb_set_rax(vcpu->vmcb, (uint32_t)value);
    vcpu->run.gprs.rdx = value >> 32;
    exit_skip(vcpu, 2);
}

/* #GP(0), and a line in the log. */
OUT_OF_LINE void refuse(struct vcpu *vcpu)
{
    uint32_t msr = msr_number(vcpu);
    if (msr_is_write(vcpu))
        exit_log(vcpu, "writes 0x%lx to MSR 0x%x: #GP (RIP 0x%lx)", msr_written(vcpu), msr, vcpu->vmcb->rip);
    else
        exit_log(vcpu, "reads MSR 0x%x: #GP (RIP 0x%lx)", msr, vcpu->vmcb->rip);
    event_inject_exception(vcpu, VECTOR_GP, true, 0);
}

OUT_OF_LINE void read_vlapic(struct vcpu *vcpu)
{
    uint64_t value;
    event_sync_tpr(vcpu);
    if (vlapic_read(&vcpu->lapic, msr_number(vcpu), vcpu_guest_tsc(vcpu, clock_tsc()), &value))
        finish_read(vcpu, value);
    else
        refuse(vcpu);
    event_notice(vcpu);         /* the timer may have expired, as the guest sees now */
}

/* The host's timer is armed already, mostly for an earlier time: the end of the slice. */
static void notice_deadline(struct vcpu *vcpu, uint64_t now)
{
    uint64_t deadline = vcpu->lapic.deadline_tsc, guest_now = vcpu_guest_tsc(vcpu, now), armed = this_cpu()->timer_tsc;
    if (deadline == UINT64_MAX)
        return;
    if (deadline <= guest_now || armed <= now || deadline - guest_now < armed - now)
        vcpu->timer_changed = vcpu->request = true;
}

OUT_OF_LINE void write_timer(struct vcpu *vcpu)
{
    uint64_t now = clock_tsc();
    if (!vlapic_write(&vcpu->lapic, msr_number(vcpu), vcpu_guest_tsc(vcpu, now), msr_written(vcpu), &vcpu->ipi)) {
        refuse(vcpu);
        return;
    }
    notice_deadline(vcpu, now);
    exit_skip(vcpu, 2);
}

OUT_OF_LINE void write_tpr_through(struct vcpu *vcpu)
{
    event_write_tpr(vcpu);
}

/* Registers that do not depend on the time. */
OUT_OF_LINE void write_vlapic(struct vcpu *vcpu)
{
    if (!vlapic_write(&vcpu->lapic, msr_number(vcpu), 0, msr_written(vcpu), &vcpu->ipi)) {
        refuse(vcpu);
        return;
    }
    if (msr_number(vcpu) == APIC_TPR)
        write_tpr_through(vcpu);
    if (vcpu->ipi)
        ipi_send(vcpu, vcpu->lapic.icr);
    event_notice(vcpu);
    exit_skip(vcpu, 2);
}

/* ---- all but the vlapic's ---- */

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

/* *known false: #GP. */
OUT_OF_LINE uint64_t read_listed(struct vcpu *vcpu, uint32_t msr, bool *known)
{
    const struct vmcb *vmcb = vcpu->vmcb;
    *known = true;
    switch (msr) {
    case MSR_TSC:
        return vcpu_guest_tsc(vcpu, clock_tsc());
    case MSR_EFER:
        return vmcb->efer & ~EFER_SVME;
    case MSR_PAT:
        return vmcb->g_pat;
    case MSR_TSC_AUX:
        *known = switch_has_tsc_aux();
        return vcpu->switched.tsc_aux;
    case MSR_MTRR_CAP: /* no variable, no fixed ranges: the default type is all there is */
    case MSR_DEBUG_CTL: /* no last-branch records, no single-stepping by branch */
    case MSR_NB_CFG: /* reads 0, drops writes, as from family 17h on. Linux expects no #GP */
    case MSR_MMIO_CFG_BASE: /* no PCI configuration space in memory. Linux expects no #GP */
        return 0;
    case MSR_MTRR_DEF_TYPE:
        return vcpu->mtrr_def_type;
    case MSR_PATCH_LEVEL:
        return rdmsr(MSR_PATCH_LEVEL); /* so that errata are judged by the microcode that runs */
    case MSR_KVM_SYSTEM_TIME_NEW:
        return vcpu->pvclock.system_time_msr;
    case MSR_KVM_MIGRATION_CONTROL:
        *known = vcpu->guest->sev;
        return vcpu->guest->migration_control;
    case MSR_SYSCFG: /* one bit concerns a guest, and only one that has a C-bit. Linux expects no #GP */
        return vcpu->guest->sev ? rdmsr(MSR_SYSCFG) & SYSCFG_MEM_ENCRYPTION_MOD_EN : 0;
    case MSR_HWCR: /* else Linux warns about the TSC's frequency */
        return rdmsr(MSR_HWCR) & HWCR_TSC_FREQ_SEL;
    case MSR_VM_CR:
        return VM_CR_SVMDIS | VM_CR_LOCK;
    case MSR_SEV_STATUS: /* comes here only where the processor does not answer it itself */
        *known = vcpu->guest->sev;
        return SEV_STATUS_SEV;
    case MSR_DE_CFG: /* as hv has set it, if the processor has it */
        *known = this_cpu()->features.lfence_by_msr;
        return DE_CFG_LFENCE_SERIALIZE;
    default:
        *known = false;
        return 0;
    }
}

/* False: #GP. */
OUT_OF_LINE bool write_listed(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    struct vmcb *vmcb = vcpu->vmcb;
    bool known;
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
        return value == read_listed(vcpu, msr, &known) && known;
    default:
        return false;
    }
}

OUT_OF_LINE void read_or_write_listed(struct vcpu *vcpu)
{
    uint32_t msr = msr_number(vcpu);
    bool known;
    if (msr_is_write(vcpu)) {
        known = write_listed(vcpu, msr, msr_written(vcpu));
        if (known)
            exit_skip(vcpu, 2);
    } else {
        uint64_t value = read_listed(vcpu, msr, &known);
        if (known)
            finish_read(vcpu, value);
    }
    if (!known)
        refuse(vcpu);
}

void exit_msr(struct vcpu *vcpu)
{
    uint32_t msr = msr_number(vcpu);
    bool timer = (msr >= APIC_LVT_TIMER && msr <= APIC_TIMER_DIVIDE) || msr == MSR_TSC_DEADLINE;

    if (!timer && (msr < MSR_X2APIC_BASE || msr > APIC_LAST) && msr != MSR_APIC_BASE)
        read_or_write_listed(vcpu);
    else if (!msr_is_write(vcpu))
        read_vlapic(vcpu);
    else if (timer)
        write_timer(vcpu);
    else
        write_vlapic(vcpu);
}

/* APM2 11.5.2. The processor checks less before it intercepts than after. */
void exit_xsetbv(struct vcpu *vcpu)
{
    const struct vmcb *vmcb = vcpu->vmcb;
    uint64_t value = msr_written(vcpu); /* EDX:EAX, as of WRMSR */
    if (switch_guest_xcr0() == 0 || (vmcb->cr4 & CR4_OSXSAVE) == 0) {
        event_inject_exception(vcpu, VECTOR_UD, false, 0);
        return;
    }
    if (vmcb->cpl != 0 || msr_number(vcpu) != 0 || !switch_xcr0_valid(value)) {
        event_inject_exception(vcpu, VECTOR_GP, true, 0);
        return;
    }
    xsetbv(value);
    exit_skip(vcpu, 3);
}
