/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * CPUID: a whitelist (APM3 appendix E). What a guest sees is what the processor says, through the masks
 * below, which leave out all that hv does not virtualise. Resolved once; an exit is a look-up.
 *
 * Shown although the processor may not say so, since hv makes it true: x2APIC, the APIC's TSC deadline, ARAT (the
 * virtual APIC's timer never stops), APIC, the hypervisor bit and its leaves; MTRR (a default type and no ranges: exit_msr.c; Linux
 * before 6.2 needs it for PAT); EferLmsleUnsupported (WRMSR refuses EFER.LMSLE); the topology, which is the guest's.
 */
#include "hv/vm/exit_cpuid.h"

#include "hv/cpu/clock.h"
#include "hv/lib/width.h"
#include "hv/lib/x86.h"
#include "hv/svm/switch.h"
#include "hv/vm/exit.h"
#include "hv/vm/guest.h"

#define BIT(n) (1u << (n))
#define BITS(high, low) (0xffffffffu >> (31 - (high)) & ~(BIT(low) - 1u))
#define ALL 0xffffffffu

#define BASIC_LAST 0xdu
#define EXTENDED 0x80000000u
#define EXTENDED_LAST 0x80000021u
#define HYPERVISOR 0x40000000u
#define HYPERVISOR_LAST 0x40000010u
#define CACHE_SUBLEAVES 8u

/* 1 ECX: SSE3 PCLMULQDQ SSSE3 FMA CX16 PCID SSE4.1 SSE4.2 MOVBE POPCNT AES XSAVE AVX F16C RDRAND */
#define FEATURES_1_ECX                                                                                          \
    (BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(17) | BIT(19) | BIT(20) | BIT(22) | BIT(23) | BIT(25) | \
     BIT(26) | BIT(28) | BIT(29) | BIT(30))
#define X2APIC BIT(21)
#define TSC_DEADLINE BIT(24)
#define OSXSAVE BIT(27)
#define HYPERVISOR_PRESENT BIT(31)
/* 1 EDX: FPU VME DE PSE TSC MSR PAE CX8 SEP PGE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2; no MCE, MCA */
#define FEATURES_1_EDX (BITS(6, 0) | BIT(8) | BIT(11) | BIT(13) | BIT(15) | BIT(16) | BIT(17) | BIT(19) | BITS(26, 23))
#define APIC BIT(9)
#define MTRR BIT(12)
#define HTT BIT(28)
/* 7 EBX: FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID RDSEED ADX SMAP CLFLUSHOPT CLWB SHA; ECX: UMIP VAES VPCLMULQDQ
 * RDPID; EDX: FSRM */
#define FEATURES_7_EBX (BIT(0) | BIT(3) | BIT(5) | BITS(10, 7) | BITS(20, 18) | BIT(23) | BIT(24) | BIT(29))
#define RDPID BIT(22)
#define FEATURES_7_ECX (BIT(2) | BIT(9) | BIT(10) | RDPID)
#define FEATURES_7_EDX BIT(4)
/* 8000_0001 ECX: LahfSahf AltMovCr8 ABM SSE4A MisAlignSse 3DNowPrefetch XOP FMA4 TBM TopologyExtensions; EDX: as
 * 1 EDX, SYSCALL NX MmxExt Page1GB RDTSCP LM */
#define FEATURES_EXT_ECX (BIT(0) | BITS(8, 4) | BIT(11) | BIT(16) | BIT(21) | BIT(22))
#define FEATURES_EXT_EDX                                                                                              \
    ((FEATURES_1_EDX & (BITS(6, 0) | BIT(8) | BIT(13) | BITS(17, 15) | BITS(24, 23))) | BIT(11) | BIT(20) | BIT(22) | \
     BITS(27, 26) | BIT(29))
#define TOPOLOGY_EXTENSIONS BIT(22)
/* 8000_0008 EBX. Facts: CLZERO RstrFpErrPtrs EferLmsleUnsupported SSB_NO BTC_NO IBPB_RET. MSRs that vmcb.c lets through: IBPB
 * (PRED_CMD); and, where VMRUN switches SPEC_CTRL, IBRS STIBP and how they behave, SSBD, PSFD. No VIRT_SSBD. */
#define EFER_LMSLE_UNSUPPORTED BIT(20)
#define FEATURES_SPEC_CTRL (CPUID_SPEC_CTRL | BITS(19, 16) | BIT(28))
#define FEATURES_8_EBX \
    (BIT(0) | BIT(2) | EFER_LMSLE_UNSUPPORTED | BIT(26) | BITS(30, 29) | CPUID_IBPB | FEATURES_SPEC_CTRL)
/* 8000_0021 EAX. Facts: NoNestedDataBp LFenceAlwaysSerializing VERW_CLEAR NullSelectClearsBase SRSO_NO SRSO_USER_KERNEL_NO; of
 * PRED_CMD: SBPB IBPB_BRTYPE. ECX: TSA_SQ_NO TSA_L1_NO. No AutomaticIBRS, whose EFER bit guests do not have. */
#define FEATURES_PRED_CMD BITS(28, 27)
#define FEATURES_21_EAX (BIT(0) | BIT(2) | BIT(5) | BIT(6) | BITS(30, 29) | FEATURES_PRED_CMD)
#define FEATURES_21_ECX BITS(2, 1)

/* KVM_FEATURE_CLOCKSOURCE2, KVM_FEATURE_CLOCKSOURCE_STABLE_BIT (Linux Documentation/virt/kvm/x86/cpuid.rst) */
#define KVM_FEATURES (BIT(3) | BIT(24))
/* KVM_FEATURE_HC_MAP_GPA_RANGE, KVM_FEATURE_MIGRATION_CONTROL: of guests with SEV */
#define KVM_FEATURES_SEV BITS(17, 16)

struct rule {
    uint32_t leaf;
    bool by_vcpu; /* adjust() completes it */
    struct cpuid mask, set;
};

static const struct rule rules[] = {
    {.leaf = 0x0, .mask = {0, ALL, ALL, ALL}},
    {.leaf = 0x1,
     .by_vcpu = true,
     .mask = {ALL, BITS(15, 8), FEATURES_1_ECX, FEATURES_1_EDX},
     .set = {0, 0, X2APIC | TSC_DEADLINE | HYPERVISOR_PRESENT, APIC | MTRR}},
    {.leaf = 0x6, .set = {BIT(2), 0, 0, 0}}, /* ARAT: the APIC timer never stops */
    {.leaf = 0x7, .by_vcpu = true, .mask = {0, FEATURES_7_EBX, FEATURES_7_ECX, FEATURES_7_EDX}},
    {.leaf = 0xb, .by_vcpu = true},
    {.leaf = 0xd, .by_vcpu = true},
    {.leaf = 0x80000000, .mask = {0, ALL, ALL, ALL}},
    {.leaf = 0x80000001, .mask = {ALL, ALL, FEATURES_EXT_ECX, FEATURES_EXT_EDX}, .set = {0, 0, 0, APIC | MTRR}},
    {.leaf = 0x80000002, .mask = {ALL, ALL, ALL, ALL}},
    {.leaf = 0x80000003, .mask = {ALL, ALL, ALL, ALL}},
    {.leaf = 0x80000004, .mask = {ALL, ALL, ALL, ALL}},
    {.leaf = 0x80000005, .mask = {ALL, ALL, ALL, ALL}},
    {.leaf = 0x80000006, .mask = {ALL, ALL, ALL, ALL}},
    {.leaf = 0x80000007, .mask = {0, 0, 0, BIT(8)}}, /* TscInvariant */
    {.leaf = 0x80000008, .by_vcpu = true, .mask = {0, FEATURES_8_EBX, 0, 0}, .set = {0, EFER_LMSLE_UNSUPPORTED, 0, 0}},
    {.leaf = 0x80000019, .mask = {ALL, ALL, 0, 0}},
    {.leaf = 0x8000001a, .mask = {BITS(2, 0), 0, 0, 0}},
    {.leaf = 0x8000001d, .by_vcpu = true},
    {.leaf = 0x8000001e, .by_vcpu = true},
    {.leaf = 0x8000001f, .by_vcpu = true},
    {.leaf = 0x80000021, .mask = {FEATURES_21_EAX, 0, FEATURES_21_ECX, 0}},
};

struct row {
    struct cpuid value;
    bool by_vcpu;
};

/* Read-only after exit_cpuid_init(). */
static struct row basic[BASIC_LAST + 1], extended[EXTENDED_LAST - EXTENDED + 1];
static struct cpuid cache[CACHE_SUBLEAVES]; /* 8000_001D */
static struct cpuid xstate_1, xstate_avx; /* D, subleaves 1 and 2 */
static uint32_t phys_bits; /* with the reduction that SME brings */

static bool topology_extensions(void)
{
    return (extended[1].value.ecx & TOPOLOGY_EXTENSIONS) != 0;
}

void exit_cpuid_init(const struct cpu_features *features)
{
    uint32_t last_basic = cpuid(0, 0).eax, last_extended = cpuid(EXTENDED, 0).eax;
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
        const struct rule *rule = &rules[i];
        bool is_extended = rule->leaf >= EXTENDED;
        struct cpuid host = {0};
        if (rule->leaf <= (is_extended ? last_extended : last_basic))
            host = cpuid(rule->leaf, 0);
        struct row *row = is_extended ? &extended[rule->leaf - EXTENDED] : &basic[rule->leaf];
        row->by_vcpu = rule->by_vcpu;
        row->value = (struct cpuid){
            (host.eax & rule->mask.eax) | rule->set.eax,
            (host.ebx & rule->mask.ebx) | rule->set.ebx,
            (host.ecx & rule->mask.ecx) | rule->set.ecx,
            (host.edx & rule->mask.edx) | rule->set.edx,
        };
    }
    basic[0].value.eax = BASIC_LAST;
    extended[0].value.eax = last_extended < EXTENDED_LAST ? last_extended : EXTENDED_LAST;
    phys_bits = features->phys_bits;

    if (!features->virtual_spec_ctrl)
        extended[8].value.ebx &= ~FEATURES_SPEC_CTRL;
    if (!features->ibpb) {
        extended[8].value.ebx &= ~CPUID_IBPB;
        extended[0x21].value.eax &= ~FEATURES_PRED_CMD;
    }
    if (!switch_has_tsc_aux())
        basic[7].value.ecx &= ~RDPID;
    if (topology_extensions()) {
        for (uint32_t i = 0; i < CACHE_SUBLEAVES; i++) {
            cache[i] = cpuid(0x8000001d, i);
            cache[i].eax &= ~BITS(25, 14); /* no two vCPUs are promised to share it */
        }
    }
    if (switch_guest_xcr0() != 0) {
        xstate_1.eax = cpuid(0xd, 1).eax & BITS(2, 0); /* XSAVEOPT XSAVEC XGETBV1; no XSAVES */
        xstate_avx = cpuid(0xd, 2);
    }
}

/* Bytes of an XSAVE area for the components of `xcr0`, of which guests get x87, SSE and AVX. */
static uint32_t xsave_size(uint64_t xcr0)
{
    return (xcr0 & 4) != 0 ? xstate_avx.ebx + xstate_avx.eax : 576;
}

OUT_OF_LINE struct cpuid xstate(uint32_t subleaf)
{
    uint64_t allowed = switch_guest_xcr0();
    if (allowed == 0)
        return (struct cpuid){0};
    switch (subleaf) {
    case 0:
        return (struct cpuid){(uint32_t)allowed, xsave_size(xgetbv()), xsave_size(allowed), 0};
    case 1:
        return (struct cpuid){xstate_1.eax, (xstate_1.eax & BIT(1)) != 0 ? xsave_size(xgetbv()) : 0, 0, 0};
    case 2:
        return (allowed & 4) != 0 ? (struct cpuid){xstate_avx.eax, xstate_avx.ebx, 0, 0} : (struct cpuid){0};
    default:
        return (struct cpuid){0};
    }
}

/* One package, a core per vCPU, a thread per core. APIC ids are the vCPUs' numbers. */
static uint32_t id_bits(uint32_t vcpus)
{
    return vcpus > 1 ? 32u - (uint32_t)__builtin_clz(vcpus - 1) : 0;
}

static struct cpuid topology(const struct vcpu *vcpu, uint32_t subleaf, uint32_t vcpus)
{
    enum { LEVEL_THREAD = 1, LEVEL_CORE = 2 };
    switch (subleaf) {
    case 0:
        return (struct cpuid){0, 1, LEVEL_THREAD << 8 | subleaf, vcpu->id};
    case 1:
        return (struct cpuid){id_bits(vcpus), vcpus, LEVEL_CORE << 8 | subleaf, vcpu->id};
    default:
        return (struct cpuid){0, 0, subleaf & 0xffu, vcpu->id};
    }
}

/* What depends on the guest, the vCPU, or the subleaf. */
static struct cpuid adjust(const struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf, struct cpuid value)
{
    const struct guest *guest = vcpu->guest;
    uint32_t vcpus = guest->config->vcpus;
    switch (leaf) {
    case 0x1:
        value.ebx |= (vcpu->id & 0xffu) << 24 | (vcpus & 0xffu) << 16;
        value.ecx |= (vcpu->vmcb->cr4 & CR4_OSXSAVE) != 0 ? OSXSAVE : 0;
        value.edx |= vcpus > 1 ? HTT : 0;
        return value;
    case 0x7:
        return subleaf == 0 ? value : (struct cpuid){0};
    case 0xb:
        return topology(vcpu, subleaf, vcpus);
    case 0xd:
        return xstate(subleaf);
    case 0x80000008:
        /* Linear: 48 bits. */
        value.eax = width_of_guest(phys_bits, guest->sev ? guest->config->reduced_phys_bits : 0) | 48u << 8;
        value.ecx = id_bits(vcpus) << 12 | (vcpus - 1);
        return value;
    case 0x8000001d:
        return topology_extensions() && subleaf < CACHE_SUBLEAVES ? cache[subleaf] : (struct cpuid){0};
    case 0x8000001e:
        return topology_extensions() ? (struct cpuid){vcpu->id, vcpu->id & 0xffu, 0, 0} : (struct cpuid){0};
    case 0x8000001f:
        if (!guest->sev)
            return (struct cpuid){0};
        return (struct cpuid){BIT(1), guest->config->cbitpos | (uint32_t)guest->config->reduced_phys_bits << 6, 0, 0};
    default:
        return value;
    }
}

/* KVM's, with the clock, and what SEV needs. The signature also makes Linux take x2APIC without
 * interrupt remapping. */
static struct cpuid hypervisor_leaf(const struct vcpu *vcpu, uint32_t leaf)
{
    uint32_t khz = (uint32_t)(clock_hz() / 1000);
    switch (leaf) {
    case HYPERVISOR:
        return (struct cpuid){HYPERVISOR_LAST, 0x4b4d564b, 0x564b4d56, 0x4d}; /* "KVMKVMKVM\0\0\0" */
    case HYPERVISOR + 1:
        return (struct cpuid){KVM_FEATURES | (vcpu->guest->sev ? KVM_FEATURES_SEV : 0), 0, 0, 0};
    case HYPERVISOR_LAST:
        return (struct cpuid){khz, khz / VLAPIC_BUS_DIVISOR, 0, 0}; /* VMware's timing leaf */
    default:
        return (struct cpuid){0};
    }
}

struct cpuid exit_cpuid_offered(uint32_t leaf)
{
    return leaf >= EXTENDED ? extended[leaf - EXTENDED].value : basic[leaf].value;
}

static void finish(struct vcpu *vcpu, struct cpuid value)
{
    vmcb_set_rax(vcpu->vmcb, value.eax);
    vcpu->run.gprs.rbx = value.ebx;
    vcpu->run.gprs.rcx = value.ecx;
    vcpu->run.gprs.rdx = value.edx;
    exit_skip(vcpu, 2);
}

OUT_OF_LINE void finish_adjusted(struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf, const struct row *row)
{
    finish(vcpu, adjust(vcpu, leaf, subleaf, row->value));
}

OUT_OF_LINE void finish_hypervisor(struct vcpu *vcpu, uint32_t leaf)
{
    finish(vcpu, hypervisor_leaf(vcpu, leaf));
}

void exit_cpuid(struct vcpu *vcpu)
{
    uint32_t leaf = (uint32_t)vcpu->vmcb->rax, subleaf = (uint32_t)vcpu->run.gprs.rcx;
    const struct row *row = NULL;

    if (leaf <= BASIC_LAST)
        row = &basic[leaf];
    else if (leaf >= EXTENDED && leaf <= EXTENDED_LAST)
        row = &extended[leaf - EXTENDED];
    if (row == NULL)
        finish_hypervisor(vcpu, leaf);
    else if (row->by_vcpu)
        finish_adjusted(vcpu, leaf, subleaf, row);
    else
        finish(vcpu, row->value);
}
