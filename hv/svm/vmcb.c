/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "hv/svm/vmcb.h"

#include "hv/cpu/cpu.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"

/* APM2 15.10.1, 15.11: a bit per port, two (read, write) per MSR; 1 intercepts. */
#define IOPM_PAGES 3u
#define MSRPM_PAGES 2u

#define RFLAGS_RESERVED_1 (UINT64_C(1) << 1)
#define DR6_RESET UINT64_C(0xffff0ff0)
#define DR7_RESET UINT64_C(0x400)
#define PAT_RESET UINT64_C(0x0007040600070406)

static uint64_t iopm_base_pa, msrpm_base_pa;

/* MSRs that VMLOAD and VMSAVE switch: not intercepted. */
static const uint32_t guest_msrs[] = {
    MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE,
    MSR_STAR, MSR_LSTAR, MSR_CSTAR, MSR_SFMASK,
    MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

/* Three ranges of 0x2000 MSRs, 2 KiB each. */
static void msrpm_pass(uint8_t *msrpm, uint32_t msr)
{
    static const uint32_t ranges[] = {0x00000000, 0xc0000000, 0xc0010000};
    for (uint32_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++) {
        uint32_t index = msr - ranges[i];
        if (index < 0x2000)
            msrpm[i * 0x800 + index / 4] &= (uint8_t)~(3u << index % 4 * 2);
    }
}

bool vmcb_maps_init(void)
{
    paddr_t iopm, msrpm;
    if (!page_alloc(IOPM_PAGES, 1, &iopm))
        return false;
    if (!page_alloc(MSRPM_PAGES, 1, &msrpm)) {
        page_free(iopm, IOPM_PAGES);
        return false;
    }
    memset(page_va(iopm), 0xff, IOPM_PAGES * PAGE_SIZE);
    memset(page_va(msrpm), 0xff, MSRPM_PAGES * PAGE_SIZE);
    for (size_t i = 0; i < sizeof guest_msrs / sizeof guest_msrs[0]; i++)
        msrpm_pass(page_va(msrpm), guest_msrs[i]);
    /* Speculation control is not intercepted where the processor switches it per guest; nor is IBPB, which only flushes. */
    if (this_cpu()->features.ibpb)
        msrpm_pass(page_va(msrpm), MSR_PRED_CMD);
    if (this_cpu()->features.virtual_spec_ctrl)
        msrpm_pass(page_va(msrpm), MSR_SPEC_CTRL);
    /* hv's own pages: the processor must read them under hv's key. */
    iopm_base_pa = view_entry_address(iopm, VIEW_ENCRYPTED);
    msrpm_base_pa = view_entry_address(msrpm, VIEW_ENCRYPTED);
    return true;
}

void vmcb_init(struct vmcb *vmcb, const struct vmcb_setup *setup)
{
    vmcb_set_intercept_exceptions(vmcb, VMCB_EXCEPTIONS);
    vmcb_set_intercept_misc1(vmcb, INTERCEPT_INTR | INTERCEPT_NMI | INTERCEPT_SMI | INTERCEPT_INIT | INTERCEPT_RDPMC |
                                   INTERCEPT_CPUID | INTERCEPT_RSM | INTERCEPT_INVD | INTERCEPT_HLT |
                                   INTERCEPT_INVLPGA | INTERCEPT_IOIO | INTERCEPT_MSR | INTERCEPT_TASK_SWITCH |
                                   INTERCEPT_FERR_FREEZE | INTERCEPT_SHUTDOWN);
    vmcb_set_intercept_misc2(vmcb, INTERCEPT2_VMRUN | INTERCEPT2_VMMCALL | INTERCEPT2_VMLOAD | INTERCEPT2_VMSAVE |
                                   INTERCEPT2_STGI | INTERCEPT2_CLGI | INTERCEPT2_SKINIT | INTERCEPT2_WBINVD |
                                   INTERCEPT2_MONITOR | INTERCEPT2_MWAIT | INTERCEPT2_MWAIT_ARMED |
                                   INTERCEPT2_XSETBV | INTERCEPT2_RDPRU);
    vmcb_set_iopm_base_pa(vmcb, iopm_base_pa);
    vmcb_set_msrpm_base_pa(vmcb, msrpm_base_pa);
    vmcb_set_tsc_offset(vmcb, setup->tsc_offset);
    vmcb_set_guest_asid(vmcb, setup->asid);
    vmcb_set_v_intr(vmcb, V_INTR_MASKING);
    vmcb_set_nested_ctl(vmcb, NESTED_CTL_NP_ENABLE | (setup->sev ? NESTED_CTL_SEV_ENABLE : 0));
    vmcb_set_n_cr3(vmcb, setup->n_cr3);

    vmcb_set_g_pat(vmcb, PAT_RESET);
    vmcb_set_efer(vmcb, EFER_SVME);     /* APM2 15.5.1: VMRUN insists */
    vmcb_set_rflags(vmcb, RFLAGS_RESERVED_1);
    vmcb_set_dr6(vmcb, DR6_RESET);
    vmcb_set_dr7(vmcb, DR7_RESET);
    vmcb_mark_dirty(vmcb);
}
