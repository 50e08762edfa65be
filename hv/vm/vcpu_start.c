/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A vCPU's INIT state, and its start at a page below 1 MiB (APM2 14.1.3, 14.1.4). */
#include "hv/vm/vcpu_start.h"

#include "hv/lib/x86.h"
#include "hv/svm/switch.h"
#include "hv/vm/event.h"
#include "hv/vm/exit_cr.h"
#include "hv/vm/guest.h"
#include "hv/vm/sched.h"

#define CR0_INIT UINT64_C(0x60000010)       /* CD, NW, ET */
#define RFLAGS_INIT UINT64_C(2)
#define DR6_INIT UINT64_C(0xffff0ff0)
#define DR7_INIT UINT64_C(0x400)
#define REAL_MODE_LIMIT 0xffffu
#define ATTRIBUTES_CODE 0x9bu               /* present, read, execute, accessed */
#define ATTRIBUTES_DATA 0x93u
#define ATTRIBUTES_LDT 0x82u
#define ATTRIBUTES_TSS 0x8bu                /* busy: VMRUN wants no other */

static struct vmcb_segment real_mode(uint16_t selector, uint16_t attributes)
{
    return (struct vmcb_segment){
        .selector = selector, .attributes = attributes, .limit = REAL_MODE_LIMIT, .base = (uint64_t)selector << 4,
    };
}

void vcpu_start_init(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    vcpu->run.gprs = (struct vmrun_gprs){.rdx = cpuid(1, 0).eax};
    vmcb_set_rax(vmcb, 0);
    vmcb_set_rsp(vmcb, 0);
    vmcb_set_rip(vmcb, 0xfff0);
    vmcb_set_rflags(vmcb, RFLAGS_INIT);
    exit_cr_reset(vcpu, CR0_INIT, 0);
    vmcb_set_cr2(vmcb, 0);
    vmcb_set_cr3(vmcb, 0);
    vmcb_set_efer(vmcb, EFER_SVME);
    vmcb_set_dr6(vmcb, DR6_INIT);
    vmcb_set_dr7(vmcb, DR7_INIT);
    switch_at_init(&vcpu->switched, this_cpu()->current == vcpu);
    vmcb_set_cs(vmcb, real_mode(0xf000, ATTRIBUTES_CODE));
    vmcb_set_ds(vmcb, real_mode(0, ATTRIBUTES_DATA));
    vmcb_set_es(vmcb, real_mode(0, ATTRIBUTES_DATA));
    vmcb_set_ss(vmcb, real_mode(0, ATTRIBUTES_DATA));
    vmcb_set_fs(vmcb, real_mode(0, ATTRIBUTES_DATA));
    vmcb_set_gs(vmcb, real_mode(0, ATTRIBUTES_DATA));
    vmcb_set_gdtr(vmcb, real_mode(0, 0));
    vmcb_set_idtr(vmcb, real_mode(0, 0));
    vmcb_set_ldtr(vmcb, real_mode(0, ATTRIBUTES_LDT));
    vmcb_set_tr(vmcb, real_mode(0, ATTRIBUTES_TSS));
    vmcb_set_cpl(vmcb, 0);
    vmcb_set_interrupt_shadow(vmcb, 0);
    vmcb_set_eventinj(vmcb, 0);
    vcpu_flush_tlb(vcpu);
    vlapic_reset(&vcpu->lapic, vcpu->id, false);
    event_write_tpr(vcpu);
    vcpu->pending_exception = false;
    vcpu->nmi_pending = vcpu->nmi_blocked = false;
    vcpu->nmi_iret_rip = NMI_NO_IRET;
    vmcb_set_intercept_misc1(vmcb, vmcb->intercept_misc1 & ~INTERCEPT_IRET);
    vcpu->attention = true;
    vcpu->state = VCPU_WAIT_SIPI;
}

void vcpu_start_at(struct vcpu *vcpu, uint8_t page)
{
    vmcb_set_cs(vcpu->vmcb, real_mode((uint16_t)(page << 8), ATTRIBUTES_CODE));
    vmcb_set_rip(vcpu->vmcb, 0);
    sched_wake(vcpu);
}
