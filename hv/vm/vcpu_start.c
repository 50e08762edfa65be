/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A vCPU with the registers that its guest's launch program gives it, or those of INIT (APM2 14.1.3); its start at a page below
 * 1 MiB (14.1.4). */
#include "hv/vm/vcpu_start.h"

#include "hv/cpu/clock.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"
#include "hv/mm/page.h"
#include "hv/vm/event.h"
#include "hv/vm/fair.h"
#include "hv/vm/guest.h"
#include "hv/vm/vcpu_cr.h"

#define MTRR_DEF_TYPE_RESET UINT64_C(0x806) /* enabled, write-back; exit_msr.c */
#define CR0_INIT UINT64_C(0x60000010) /* CD, NW, ET */
#define REAL_MODE_LIMIT 0xffffu
#define ATTRIBUTES_CODE 0x9bu /* present, read, execute, accessed */
#define ATTRIBUTES_DATA 0x93u
#define ATTRIBUTES_LDT 0x82u
#define ATTRIBUTES_TSS 0x8bu /* busy: VMRUN requires it */

_Static_assert(sizeof(struct vcpu) <= PAGE_SIZE, "a vCPU is one pool page");

#define REAL_MODE(from, kind) \
    {.selector = (from), .attributes = (kind), .limit = REAL_MODE_LIMIT, .base = (uint64_t)(from) << 4}

/* clang-format off */
static const struct manifest_registers after_init = {
    .rip = 0xfff0, .rflags = RFLAGS_ONE, .cr0 = CR0_INIT,
    .es = REAL_MODE(0, ATTRIBUTES_DATA), .cs = REAL_MODE(0xf000, ATTRIBUTES_CODE), .ss = REAL_MODE(0, ATTRIBUTES_DATA),
    .ds = REAL_MODE(0, ATTRIBUTES_DATA), .fs = REAL_MODE(0, ATTRIBUTES_DATA), .gs = REAL_MODE(0, ATTRIBUTES_DATA),
    .gdtr = REAL_MODE(0, 0), .ldtr = REAL_MODE(0, ATTRIBUTES_LDT), .idtr = REAL_MODE(0, 0), .tr = REAL_MODE(0, ATTRIBUTES_TSS),
};
/* clang-format on */

_Static_assert(sizeof(struct manifest_segment) == sizeof(struct vmcb_segment) &&
                   offsetof(struct manifest_registers, tr) - offsetof(struct manifest_registers, es) ==
                       (VMCB_SEGMENTS - 1) * sizeof(struct vmcb_segment),
               "the manifest has segments as the VMCB has them");

void vcpu_load(struct vcpu *vcpu, const struct manifest_registers *r)
{
    struct vmcb *vmcb = vcpu->vmcb;
    struct vmcb_segment segments[VMCB_SEGMENTS];
    memcpy(segments, &r->es, sizeof(segments));
#define REGISTER(name) vcpu->run.gprs.name = r->name;
    VMRUN_GPRS(REGISTER)
#undef REGISTER
    vmcb_set_rax(vmcb, r->rax);
    vmcb_set_rsp(vmcb, r->rsp);
    vmcb_set_rip(vmcb, r->rip);
    vmcb_set_rflags(vmcb, r->rflags | RFLAGS_ONE);
    vcpu_cr_reset(vcpu, r->cr0, r->cr4);
    vmcb_set_cr3(vmcb, r->cr3);
    vmcb_set_efer(vmcb, r->efer | EFER_SVME);
    vmcb_set_segments(vmcb, segments);
    vmcb_set_cpl(vmcb, r->ss.attributes >> 5 & 3u); /* SS.DPL */
}

void vcpu_start_init(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    vcpu_load(vcpu, &after_init);
    vcpu->run.gprs.rdx = cpuid(1, 0).eax;
    vmcb_set_cr2(vmcb, 0);
    vmcb_set_dr6(vmcb, DR6_RESET);
    vmcb_set_dr7(vmcb, DR7_RESET);
    switch_at_init(&vcpu->switched, this_cpu()->current == vcpu);
    vmcb_set_interrupt_shadow(vmcb, 0);
    vmcb_set_eventinj(vmcb, 0);
    vcpu_flush_tlb(vcpu);
    vlapic_reset(&vcpu->lapic, vcpu->id, false);
    event_write_tpr(vcpu);
    vcpu->exception = 0;
    vcpu->nmi_pending = false;
    event_block_nmi(vcpu, false, NMI_NO_IRET);
    vcpu->request = true;
    vcpu->state = VCPU_WAIT_SIPI;
}

void vcpu_start_at(struct vcpu *vcpu, uint8_t page)
{
    uint16_t selector = (uint16_t)(page << 8);
    vmcb_set_cs(vcpu->vmcb, (struct vmcb_segment)REAL_MODE(selector, ATTRIBUTES_CODE));
    vmcb_set_rip(vcpu->vmcb, 0);
    fair_wake(vcpu);
}

bool vcpu_create(struct guest *guest, uint32_t id, const struct manifest_registers *registers, struct vcpu **out)
{
    paddr_t self, vmcb, fpu;
    if (!page_alloc(1, &self))
        return false;
    if (!page_alloc(1, &vmcb))
        goto free_self;
    if (!page_alloc(1, &fpu))
        goto free_vmcb;

    struct vcpu *vcpu = page_va(self);
    vcpu->vmcb = page_va(vmcb);
    vcpu->run.vmcb_address = view_entry_address(vmcb, VIEW_ENCRYPTED);
    vcpu->switched.fpu = page_va(fpu);
    vcpu->guest = guest;
    vcpu->id = id;
    vcpu->state = VCPU_RUNNABLE;
    vcpu->request = true;
    vcpu->mtrr_def_type = MTRR_DEF_TYPE_RESET;
    vcpu->nmi_iret_rip = NMI_NO_IRET;
    vlapic_reset(&vcpu->lapic, id, id == 0);
    switch_reset(&vcpu->switched);
    vmcb_init(vcpu->vmcb, guest->sev, (guest->config->flags & MANIFEST_GUEST_SERIAL_COM2) != 0);
    vmcb_set_guest_asid(vcpu->vmcb, guest->asid);
    vmcb_set_n_cr3(vcpu->vmcb, view_entry_address(guest->npt.root, VIEW_ENCRYPTED));
    /* A guest's TSC starts at 0, and is one for all its vCPUs. */
    vmcb_set_tsc_offset(vcpu->vmcb, id == 0 ? 0 - clock_tsc() : guest->vcpus[0]->vmcb->tsc_offset);
    if (id == 0)
        vcpu_load(vcpu, registers); /* boot/ has checked that VMRUN will take them */
    else
        vcpu_start_init(vcpu);
    *out = vcpu;
    return true;

free_vmcb:
    page_free(vmcb, 1);
free_self:
    page_free(self, 1);
    return false;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    ASSERT(vcpu->next == NULL);
    if (vcpu->cpu != NULL)
        __atomic_fetch_sub(&vcpu->cpu->assigned, 1, __ATOMIC_RELAXED);
    page_free(page_pa(vcpu->switched.fpu), 1);
    page_free(page_pa(vcpu->vmcb), 1);
    page_free(page_pa(vcpu), 1);
}
