/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* From #VMEXIT to a handler. */
#include "hv/cpu/mca.h"
#include "hv/cpu/trap.h"
#include "hv/lib/x86.h"
#include "hv/vm/debug.h"
#include "hv/vm/event.h"
#include "hv/vm/exit.h"
#include "hv/vm/exit_cache.h"
#include "hv/vm/exit_cpuid.h"
#include "hv/vm/exit_cr.h"
#include "hv/vm/exit_io.h"
#include "hv/vm/exit_msr.h"
#include "hv/vm/exit_npf.h"
#include "hv/vm/fair.h"
#include "hv/vm/guest.h"
#include "hv/vm/pages.h"
#include "hv/vm/vcpu_cr.h"

#define EXCEPTIONS_WITH_ERROR 0x60227d00u   /* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX; APM2 8.2 */
#define KVM_ENOSYS 1000             /* Linux include/uapi/linux/kvm_para.h */
#define KVM_EINVAL 22
#define KVM_EPERM 1

/* INTR, NMI, SMI, INIT: the host's, which took them at STGI. */
static void exit_host(struct vcpu *vcpu)
{
    if (vcpu->step == STEP_DELIVERY)
        debug_delivered(vcpu);
}

static void exit_vintr(struct vcpu *vcpu)
{
    vcpu->request = true;
}

static void exit_hlt(struct vcpu *vcpu)
{
    exit_skip(vcpu, 1);
    vcpu->state = VCPU_HALTED;
    vcpu->asleep_tsc = 0;
    vcpu->request = true;
}

/* Out of line: other hypercalls do not pay for it. A TiB takes longer than a slice, all of which the vCPU is charged for. */
static __attribute__((noinline)) void exit_map_gpa_range(struct vcpu *vcpu)
{
    fair_charge_stay(this_cpu(), vcpu, clock_tsc());
    bool done = pages_map_gpa_range(vcpu->guest, vcpu->run.gprs.rbx, vcpu->run.gprs.rcx, vcpu->run.gprs.rdx);
    fair_charge_work(this_cpu(), vcpu, clock_tsc());
    vmcb_set_rax(vcpu->vmcb, (uint64_t)(done ? 0 : -KVM_EINVAL));
    exit_skip(vcpu, 3);
}

static void exit_vmmcall(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    if (vmcb->rax == PAGES_HC_MAP_GPA_RANGE && vmcb->cpl == 0 && vcpu->guest->sev) {
        exit_map_gpa_range(vcpu);
        return;
    }
    vmcb_set_rax(vmcb, (uint64_t)(vmcb->cpl == 0 ? -KVM_ENOSYS : -KVM_EPERM));
    exit_skip(vcpu, 3);
}

static void exit_undefined(struct vcpu *vcpu)
{
    event_inject_exception(vcpu, VECTOR_UD, false, 0);
}

static void exit_rdpmc(struct vcpu *vcpu)
{
    event_inject_exception(vcpu, VECTOR_GP, true, 0);
}

/* Reflected to the guest, if they are its own: #DB and #AC are intercepted since their delivery can loop inside the processor (VMCB_EXCEPTIONS).
 * DR6 is already written (APM2 15.12.2). */
static void exit_debug(struct vcpu *vcpu)
{
    if (!debug_exception(vcpu))
        event_inject_exception(vcpu, VECTOR_DB, false, 0);
}

static void exit_alignment(struct vcpu *vcpu)
{
    if (vcpu->stepping)
        vcpu_cr_step_end(vcpu);
    event_inject_exception(vcpu, VECTOR_AC, true, 0);
}

/* A fault of an instruction that is being stepped over: all others are the guest's own. APM2 8.2, 15.12. */
static void exit_fault(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    uint8_t vector = (uint8_t)(vmcb->exitcode - VMEXIT_EXCEPTION_DE);
    if (vector == VECTOR_PF)
        vmcb_set_cr2(vmcb, vmcb->exitinfo2);
    vcpu_cr_step_end(vcpu);
    event_inject_exception(vcpu, vector, (EXCEPTIONS_WITH_ERROR >> vector & 1) != 0, (uint32_t)vmcb->exitinfo1);
}

static void exit_mc(struct vcpu *vcpu)
{
    struct mca_errors errors;
    mca_collect(&errors);
    exit_machine_check(vcpu, &errors);
}

/* APM2 15.14.3: the save area is undefined after SHUTDOWN, so the report may be wrong. Kernels reset a machine, as a last
 * resort, by an exception after they loaded an IDT of base and limit 0. The CPUs that Linux starts have such an IDT, too, but
 * before paging. */
static void exit_shutdown(struct vcpu *vcpu)
{
    if (vcpu->vmcb->idtr.base == 0 && vcpu->vmcb->idtr.limit == 0 && (vcpu->vmcb->cr0 & CR0_PG) != 0) {
        if (guest_end(vcpu->guest, GUEST_END_RESET, "asked for a reset by a triple fault without an IDT"))
            exit_report(vcpu); /* in case it was a crash after all */
        vcpu->request = true;
        return;
    }
    exit_crash(vcpu, "triple fault at RIP 0x%lx", vcpu->vmcb->rip);
}

OUT_OF_LINE void exit_unknown(struct vcpu *vcpu)
{
    if (vcpu->vmcb->exitcode == VMEXIT_NPF) {
        exit_npf(vcpu);
        return;
    }
    uint64_t vector = vcpu->vmcb->exitcode - VMEXIT_EXCEPTION_DE;
    if (vcpu->stepping && vector < TRAP_EXCEPTIONS && vector != TRAP_NMI) {
        exit_fault(vcpu);
        return;
    }
    if ((uint32_t)vcpu->vmcb->exitcode == VMEXIT_INVALID) {
        exit_crash(vcpu, "the CPU refuses the guest's state (VMEXIT_INVALID) at RIP 0x%lx", vcpu->vmcb->rip);
        return;
    }
    exit_crash(vcpu, "unhandled exit 0x%lx at RIP 0x%lx", vcpu->vmcb->exitcode, vcpu->vmcb->rip);
}

/* ---- dispatch ---- */

struct exit_row {
    void (*handle)(struct vcpu *vcpu);
    uint32_t kind;
};

static const struct exit_row rows[] = {
    [VMEXIT_READ_CR0] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_READ_CR4] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_WRITE_CR0] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_WRITE_CR4] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_EXCEPTION_DB] = {exit_debug, VCPU_EXIT_EXCEPTION},
    [VMEXIT_EXCEPTION_AC] = {exit_alignment, VCPU_EXIT_EXCEPTION},
    [VMEXIT_EXCEPTION_MC] = {exit_mc, VCPU_EXIT_EXCEPTION},
    [VMEXIT_INTR... VMEXIT_INIT] = {exit_host, VCPU_EXIT_INTERRUPT}, /* NMI and SMI between them */
    [VMEXIT_VINTR] = {exit_vintr, VCPU_EXIT_WINDOW},
    [VMEXIT_CR0_SEL_WRITE] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_RDPMC] = {exit_rdpmc, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_CPUID] = {exit_cpuid, VCPU_EXIT_CPUID},
    [VMEXIT_RSM] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_IRET] = {event_iret, VCPU_EXIT_WINDOW},
    [VMEXIT_INVD] = {exit_cache, VCPU_EXIT_CACHE},
    [VMEXIT_HLT] = {exit_hlt, VCPU_EXIT_HLT},
    [VMEXIT_INVLPGA] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_IOIO] = {exit_ioio, VCPU_EXIT_IO},
    [VMEXIT_MSR] = {exit_msr, VCPU_EXIT_MSR},
    [VMEXIT_SHUTDOWN] = {exit_shutdown, VCPU_EXIT_OTHER},
    [VMEXIT_VMRUN] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_VMMCALL] = {exit_vmmcall, VCPU_EXIT_VMMCALL},
    [VMEXIT_VMLOAD... VMEXIT_SKINIT] = {exit_undefined, VCPU_EXIT_FORBIDDEN}, /* VMSAVE, STGI, CLGI */
    [VMEXIT_WBINVD] = {exit_cache, VCPU_EXIT_CACHE},
    [VMEXIT_MONITOR... VMEXIT_MWAIT_CONDITIONAL] = {exit_undefined, VCPU_EXIT_FORBIDDEN}, /* MWAIT */
    [VMEXIT_XSETBV] = {exit_xsetbv, VCPU_EXIT_CR},
    [VMEXIT_RDPRU] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
};

/* Nested page faults, and what has no row. */
static const struct exit_row unknown = {NULL, VCPU_EXIT_OTHER};

bool exit_dispatch(struct vmrun_state *state)
{
    struct vcpu *vcpu = vcpu_of_run(state);
    struct vmcb *vmcb = vcpu->vmcb;

    vmcb_mark_clean(vmcb);
    vmcb_set_tlb_control(vmcb, TLB_CONTROL_NONE);
    vmcb_set_eventinj(vmcb, 0); /* delivered, or in EXITINTINFO */
    if ((vmcb->exitintinfo & EVENT_VALID) != 0)
        event_interrupted(vcpu);

    uint64_t code = vcpu->vmcb->exitcode;
    const struct exit_row *row = code < sizeof(rows) / sizeof(rows[0]) ? &rows[code] : &unknown;
    vcpu->exits[row->kind]++;
    if (row->handle != NULL)
        row->handle(vcpu);
    else
        exit_unknown(vcpu);
    return !vcpu->request;
}
