/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A VMCB that has the CPU's own state, without nested paging: confine.asm enters and leaves it. */
#include "hv/svm/confine.h"

#include "hv/cpu/cpu.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"
#include "hv/svm/vmcb.h"

/* Of hv's own segments, as VMCBs have them: APM2 15.5.1 */
#define ATTRIBUTES_CODE64 0xa9bu
#define ATTRIBUTES_DATA 0xc93u

/* confine.asm */
extern struct vmcb *confine_vmcb;
extern uint64_t confine_vmcb_address;
extern bool confine_inside;
void confine_enter(void);
void confine_leave(void);
extern const uint8_t confine_interrupted[];

static const struct cpu *confined;

void confine_begin(void)
{
    struct cpu *cpu = this_cpu();
    struct descriptor_table gdt, idt;
    if ((rdmsr(MSR_EFER) & EFER_SVME) == 0)
        return;
    sgdt(&gdt);
    sidt(&idt);
    struct vmcb *vmcb = confine_vmcb = page_va(cpu->host_vmcb);
    confine_vmcb_address = view_entry_address(cpu->host_vmcb, VIEW_ENCRYPTED);
    memset(vmcb, 0, PAGE_SIZE);
    /* ES, CS, SS, DS, and GDTR and IDTR; the others are VMLOAD's. */
    vmcb_set_segments(
        vmcb, (const struct vmcb_segment[VMCB_SEGMENTS]){[1] = {SELECTOR_CODE, ATTRIBUTES_CODE64, UINT32_MAX, 0},
                                                         [2] = {SELECTOR_DATA, ATTRIBUTES_DATA, UINT32_MAX, 0},
                                                         [6] = {.limit = gdt.limit, .base = gdt.base},
                                                         [8] = {.limit = idt.limit, .base = idt.base}});
    vmcb_set_intercept_misc1(vmcb, INTERCEPT(VMEXIT_INTR));
    vmcb_set_intercept_misc2(vmcb, INTERCEPT(VMEXIT_VMRUN) | INTERCEPT(VMEXIT_VMMCALL));
    vmcb_set_guest_asid(vmcb, 1);
    vmcb_set_tlb_control(vmcb, TLB_CONTROL_FLUSH_ALL);
    vmcb_set_v_intr(vmcb, V_INTR_MASKING);
    vmcb_set_efer(vmcb, rdmsr(MSR_EFER));
    vmcb_set_cr0(vmcb, read_cr0());
    vmcb_set_cr3(vmcb, read_cr3());
    vmcb_set_cr4(vmcb, read_cr4());
    vmcb_set_rflags(vmcb, RFLAGS_ONE | RFLAGS_IF);
    confined = cpu;
    confine_enter();
}

void confine_end(void)
{
    if (confine_inside && confined == this_cpu())
        confine_leave();
}

uint64_t confine_rip(uint64_t rip)
{
    return rip == (uintptr_t)confine_interrupted ? confine_vmcb->rip : rip;
}
