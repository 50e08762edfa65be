/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The permission maps that all VMCBs share, and a VMCB's state before its first VMRUN. */
#include "hv/svm/vmcb.h"

#include "hv/cpu/cpu.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/lib/uart.h"
#include "hv/lib/x86.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"

/* APM2 15.10.1, 15.11: a bit per port, two (read, write) per MSR; 1 intercepts. */
#define IOPM_PAGES 3u
#define MAP_PAGES (2 * IOPM_PAGES + 2)   /* two of ports, and that of MSRs */

static uint64_t iopm_base_pa, iopm_com2_base_pa, msrpm_base_pa;

/* MSRs that VMLOAD and VMSAVE switch: not intercepted. */
static const uint32_t guest_msrs[] = {
    MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_STAR,         MSR_LSTAR,
    MSR_CSTAR,   MSR_SFMASK,  MSR_SYSENTER_CS,    MSR_SYSENTER_ESP, MSR_SYSENTER_EIP,
};

/* What exits from all guests, exceptions aside. APM2 15.5.1: VMRUN wants its own among them. */
/* clang-format off */
static const uint8_t intercepted[] = {
    VMEXIT_INTR, VMEXIT_NMI, VMEXIT_SMI, VMEXIT_INIT, VMEXIT_RDPMC, VMEXIT_CPUID, VMEXIT_RSM, VMEXIT_INVD, VMEXIT_HLT, VMEXIT_INVLPGA,
    VMEXIT_IOIO, VMEXIT_MSR, VMEXIT_TASK_SWITCH, VMEXIT_FERR_FREEZE, VMEXIT_SHUTDOWN,
    VMEXIT_VMRUN, VMEXIT_VMMCALL, VMEXIT_VMLOAD, VMEXIT_VMSAVE, VMEXIT_STGI, VMEXIT_CLGI, VMEXIT_SKINIT, VMEXIT_WBINVD, VMEXIT_MONITOR,
    VMEXIT_MWAIT, VMEXIT_MWAIT_CONDITIONAL, VMEXIT_XSETBV, VMEXIT_RDPRU,
};
/* clang-format on */

/* Three ranges of 0x2000 MSRs, 2 KiB each. */
static void msrpm_pass(uint8_t *msrpm, uint32_t msr)
{
    static const uint32_t ranges[] = {0x00000000, 0xc0000000, 0xc0010000};
    for (uint32_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
        uint32_t index = msr - ranges[i];
        if (index < 0x2000)
            msrpm[i * 0x800 + index / 4] &= (uint8_t)~(3u << index % 4 * 2);
    }
}

void vmcb_maps_init(bool com2_free)
{
    paddr_t iopm;
    ASSERT(page_alloc(MAP_PAGES, &iopm));
    paddr_t msrpm = paddr_add(iopm, 2 * IOPM_PAGES * PAGE_SIZE);
    memset(page_va(iopm), 0xff, MAP_PAGES * PAGE_SIZE);
    if (com2_free)
        ((uint8_t *)page_va(iopm))[IOPM_PAGES * PAGE_SIZE + UART_COM2 / 8] = 0; /* eight ports */
    for (size_t i = 0; i < sizeof(guest_msrs) / sizeof(guest_msrs[0]); i++)
        msrpm_pass(page_va(msrpm), guest_msrs[i]);
    /* Speculation control is not intercepted where the processor switches it per guest; nor is IBPB, which only flushes. */
    if (this_cpu()->features.ibpb)
        msrpm_pass(page_va(msrpm), MSR_PRED_CMD);
    if (this_cpu()->features.virtual_spec_ctrl)
        msrpm_pass(page_va(msrpm), MSR_SPEC_CTRL);
    /* hv's own pages: the processor must read them under hv's key. */
    iopm_base_pa = view_entry_address(iopm, VIEW_ENCRYPTED);
    iopm_com2_base_pa = view_entry_address(paddr_add(iopm, IOPM_PAGES * PAGE_SIZE), VIEW_ENCRYPTED);
    msrpm_base_pa = view_entry_address(msrpm, VIEW_ENCRYPTED);
}

/* Each byte of PAT: UC WC WT WP WB UC- (APM2 7.8.1). */
bool vmcb_pat_valid(uint64_t pat)
{
    for (int i = 0; i < 8; i++, pat >>= 8) {
        uint8_t type = (uint8_t)pat;
        if (type > 7 || type == 2 || type == 3)
            return false;
    }
    return true;
}

void vmcb_init(struct vmcb *vmcb, bool sev, bool com2)
{
    uint32_t misc[2] = {0};

    vmcb_set_intercept_exceptions(vmcb, VMCB_EXCEPTIONS);
    for (size_t i = 0; i < sizeof(intercepted) / sizeof(intercepted[0]); i++)
        misc[(intercepted[i] - VMEXIT_INTR) / 32] |= INTERCEPT(intercepted[i]);
    vmcb_set_intercept_misc1(vmcb, misc[0]);
    vmcb_set_intercept_misc2(vmcb, misc[1]);
    vmcb_set_iopm_base_pa(vmcb, com2 ? iopm_com2_base_pa : iopm_base_pa);
    vmcb_set_msrpm_base_pa(vmcb, msrpm_base_pa);
    vmcb_set_v_intr(vmcb, V_INTR_MASKING);
    vmcb_set_nested_ctl(vmcb, NESTED_CTL_NP_ENABLE | (sev ? NESTED_CTL_SEV_ENABLE : 0));
    vmcb_set_g_pat(vmcb, PAT_RESET);
    vmcb_set_efer(vmcb, EFER_SVME); /* APM2 15.5.1: VMRUN requires it */
    vmcb_set_rflags(vmcb, RFLAGS_ONE);
    vmcb_set_dr6(vmcb, DR6_RESET);
    vmcb_set_dr7(vmcb, DR7_RESET);
}
