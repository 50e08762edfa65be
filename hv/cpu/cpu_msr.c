/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The host's MSRs, written whole on each CPU, since firmware may leave any value in them. EFER.FFXSR would leave the XMM
 * registers out of FXSAVE, XSS make an XSAVES area of another form, a TSC ratio make guests' time another than hv's.
 * Not here: SYSCFG, HWCR, VM_CR, MTRRs are the firmware's; the APIC's, lapic.c; GS_BASE, cpu_init(); TSC_AUX, switch.c.
 */
#include "hv/cpu/cpu_msr.h"

#include "hv/lib/x86.h"

#define FAMILY_ZEN 0x17u /* the first with SEV; its DE_CFG has the bit, Hygon's family 18h too */

static uint32_t cpu_family(void)
{
    uint32_t eax = cpuid(1, 0).eax, family = eax >> 8 & 0xfu;
    return family == 0xf ? family + (eax >> 20 & 0xffu) : family;
}

/* True: an LFENCE waits for all instructions before it, as clock.c and guests rely on. */
static bool make_lfence_serializing(void)
{
    if (cpu_family() < FAMILY_ZEN)
        return false;
    uint64_t de_cfg = rdmsr(MSR_DE_CFG);
    if ((de_cfg & DE_CFG_LFENCE_SERIALIZE) == 0)
        wrmsr(MSR_DE_CFG, de_cfg | DE_CFG_LFENCE_SERIALIZE);
    return (rdmsr(MSR_DE_CFG) & DE_CFG_LFENCE_SERIALIZE) != 0;
}

void cpu_msr_init(struct cpu_features *features)
{
    static const uint32_t unused[] = {
        MSR_DEBUG_CTL,   MSR_STAR,         MSR_LSTAR,        MSR_CSTAR,   MSR_SFMASK,
        MSR_SYSENTER_CS, MSR_SYSENTER_ESP, MSR_SYSENTER_EIP, MSR_FS_BASE, MSR_KERNEL_GS_BASE,
    };
    uint32_t last = cpuid(0x80000000, 0).eax;
    uint32_t speculation = last >= 0x80000008 ? cpuid(0x80000008, 0).ebx : 0;
    uint32_t svm = last >= 0x8000000a ? cpuid(0x8000000a, 0).edx : 0;
    bool has_spec_ctrl = (speculation & CPUID_SPEC_CTRL) != 0;

    wrmsr(MSR_EFER, EFER_HOST);
    wrmsr(MSR_PAT, PAT_RESET);
    for (uint32_t i = 0; i < sizeof(unused) / sizeof(*unused); i++)
        wrmsr(unused[i], 0);
    if (cpuid(0, 0).eax >= 0xd && (cpuid(0xd, 1).eax >> 3 & 1) != 0)
        wrmsr(MSR_XSS, 0);
    if ((svm >> 4 & 1) != 0)
        wrmsr(MSR_TSC_RATIO, TSC_RATIO_ONE);
    if (has_spec_ctrl)
        wrmsr(MSR_SPEC_CTRL, 0); /* while a guest runs, it is OR'ed to the guest's */
    features->ibpb = (speculation & CPUID_IBPB) != 0;
    features->virtual_spec_ctrl = has_spec_ctrl && (svm >> 20 & 1) != 0;
    features->lfence_by_msr = make_lfence_serializing();
}
