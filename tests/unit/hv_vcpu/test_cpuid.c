/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The CPUID whitelist, mostly on a processor that says yes to everything. */
#include "with_cmocka.h"

#include <string.h>

#include "hv/svm/switch.h"
#include "../boards/boards.h"
#include "hv/vm/exit_cpuid.h"
#include "rig.h"

static struct cpuid ask(struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf)
{
    vcpu->vmcb->rax = UINT64_C(0xffffffff00000000) | leaf;
    vcpu->run.gprs.rcx = UINT64_C(0xffffffff00000000) | subleaf;
    assert_true(rig_exit(vcpu, VMEXIT_CPUID, 0, 0));
    assert_true(vcpu->vmcb->rax <= UINT32_MAX && vcpu->run.gprs.rbx <= UINT32_MAX);     /* upper halves are cleared */
    assert_true(vcpu->run.gprs.rcx <= UINT32_MAX && vcpu->run.gprs.rdx <= UINT32_MAX);
    return (struct cpuid){(uint32_t)vcpu->vmcb->rax, (uint32_t)vcpu->run.gprs.rbx, (uint32_t)vcpu->run.gprs.rcx,
                          (uint32_t)vcpu->run.gprs.rdx};
}

static void assert_zero(struct cpuid c)
{
    assert_int_equal(c.eax | c.ebx | c.ecx | c.edx, 0);
}

static void what_hv_does_not_virtualise_is_not_offered(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    struct cpuid c = ask(vcpu, 1, 0);
    assert_int_equal(c.ecx & (1u << 3 | 1u << 2 | 1u << 5 | 1u << 15), 0);      /* MONITOR, DTES64, VMX, PDCM */
    assert_int_equal(c.edx & (1u << 7 | 1u << 14 | 1u << 28), 0);               /* MCE, MCA, HTT */
    assert_int_equal(c.ecx & (1u << 31 | 1u << 24 | 1u << 21), 1u << 31 | 1u << 24 | 1u << 21);
    assert_int_equal(c.edx & (1u << 9 | 1u << 12), 1u << 9 | 1u << 12);
    c = ask(vcpu, 7, 0);
    assert_int_equal(c.eax, 0);
    assert_int_equal(c.ebx & (1u << 1 | 1u << 2 | 1u << 4 | 1u << 11 | 1u << 16 | 1u << 30),
                     0);    /* TSC_ADJUST, TSX, AVX-512 */
    assert_int_equal(c.ecx & (1u << 3 | 1u << 4 | 1u << 7 | 1u << 16), 0);      /* PKU, CET, LA57 */
    assert_int_equal(c.edx & (1u << 26 | 1u << 27 | 1u << 29), 0);              /* SPEC_CTRL and friends */
    assert_zero(ask(vcpu, 7, 1));
    assert_zero(ask(vcpu, 5, 0));
    assert_zero(ask(vcpu, 0xa, 0));
    c = ask(vcpu, 0x80000001, 0);
    assert_int_equal(c.ecx & (1u << 2 | 1u << 3 | 1u << 9 | 1u << 10 | 1u << 12 | 1u << 19),
                     0);    /* SVM, ExtApic, OSVW, IBS, SKINIT, NodeId */
    assert_int_equal(c.ecx & (1u << 23 | 1u << 24 | 1u << 28 | 1u << 29), 0);   /* performance counters, MONITORX */
    assert_zero(ask(vcpu, 0x8000000a, 0));
    assert_zero(ask(vcpu, 0x8000001b, 0));
    c = ask(vcpu, 0x80000008, 0);
    assert_int_equal(c.ebx & (1u << 3 | 1u << 4 | 1u << 9 | 1u << 25), 0); /* INVLPGB, RDPRU, WBNOINVD, VIRT_SSBD */
    assert_int_equal(c.edx, 0);
    assert_int_equal(ask(vcpu, 0x80000007, 0).edx, 1u << 8);
}

static void all_other_leaves_are_zero(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    static const uint32_t leaves[] = {
        0xe,        0x15,       0x16,       0x1f,       0x20000000, 0x3fffffff, 0x40000002, 0x4000000f, 0x40000011,
        0x40000100, 0x7fffffff, 0x80000009, 0x80000020, 0x80000022, 0x80000023, 0x8fffffff, 0xc0000000, 0xffffffff,
    };
    for (size_t i = 0; i < sizeof(leaves) / sizeof(leaves[0]); i++)
        assert_zero(ask(vcpu, leaves[i], 0));
    assert_int_equal(ask(vcpu, 0, 0).eax, 0xd);
    assert_int_equal(ask(vcpu, 0x80000000, 0).eax, 0x80000021);
    for (uint32_t leaf = 0; leaf < 0x40; leaf++) { /* none, with any subleaf, does harm */
        ask(vcpu, leaf, UINT32_MAX);
        ask(vcpu, 0x80000000 + leaf, UINT32_MAX);
        ask(vcpu, 0x40000000 + leaf, UINT32_MAX);
    }
}

static void the_hypervisor_is_kvm_with_its_clock_and_for_sev_its_shared_pages(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    struct cpuid c = ask(vcpu, 0x40000000, 0);
    char signature[13] = {0};
    memcpy(signature, &c.ebx, 4);
    memcpy(signature + 4, &c.ecx, 4);
    memcpy(signature + 8, &c.edx, 4);
    assert_string_equal(signature, "KVMKVMKVM");
    assert_true(c.eax >= 0x40000001);
    c = ask(vcpu, 0x40000001, 0);
    assert_int_equal(c.eax, 1u << 3 | 1u << 24);
    assert_int_equal(ask(rig_guest(1, true), 0x40000001, 0).eax, 1u << 3 | 1u << 16 | 1u << 17 | 1u << 24);
    assert_int_equal(ask(vcpu, 0x40000010, 0).eax, RIG_HZ / 1000);
}

static void only_an_encrypted_guest_learns_of_its_c_bit(void **state)
{
    (void)state;
    struct vcpu *plain = rig_guest(0, false), *sev = rig_guest(1, true);
    assert_zero(ask(plain, 0x8000001f, 0));
    struct cpuid c = ask(sev, 0x8000001f, 0);
    assert_int_equal(c.eax, 2); /* SEV, and no more */
    assert_int_equal(c.ebx, 51 | 5 << 6);
    assert_int_equal(c.ecx | c.edx, 0);
    assert_int_equal(ask(plain, 0x80000008, 0).eax & 0xff, 43); /* reduced already */
    assert_int_equal(ask(sev, 0x80000008, 0).eax & 0xff, 43 + 5); /* it will subtract */
}

static void osxsave_follows_the_guests_cr4(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    assert_int_equal(ask(vcpu, 1, 0).ecx & 1u << 27, 0);
    vcpu->vmcb->cr4 |= CR4_OSXSAVE;
    assert_int_equal(ask(vcpu, 1, 0).ecx & 1u << 27, 1u << 27);
}

static void one_vcpu_is_one_package_of_one_core_of_one_thread(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    vcpu->id = 0;
    assert_int_equal(ask(vcpu, 1, 0).ebx >> 16, 1);
    struct cpuid c = ask(vcpu, 0xb, 0);
    assert_int_equal(c.eax, 0);
    assert_int_equal(c.ebx, 1);
    assert_int_equal(c.ecx, 0x100);
    c = ask(vcpu, 0xb, 1);
    assert_int_equal(c.eax, 0);
    assert_int_equal(c.ebx, 1);
    assert_int_equal(c.ecx, 0x201);
    assert_int_equal(ask(vcpu, 0xb, 2).ebx, 0);
    assert_int_equal(ask(vcpu, 0x80000008, 0).ecx, 0);
    c = ask(vcpu, 0x8000001e, 0);
    assert_int_equal(c.eax | c.ebx | c.ecx | c.edx, 0);
    assert_int_equal(ask(vcpu, 0x8000001d, 0).eax >> 14 & 0xfff, 0);

    rig_config[0].vcpus = 3; /* for later: ids of two bits */
    vcpu->id = 2;
    assert_int_equal(ask(vcpu, 1, 0).ebx >> 16, 2 << 8 | 3);
    assert_int_equal(ask(vcpu, 0xb, 1).eax, 2);
    assert_int_equal(ask(vcpu, 0xb, 1).edx, 2);
    assert_int_equal(ask(vcpu, 0x80000008, 0).ecx, 2 << 12 | 2);
}

static uint32_t milan_components = 7; /* of XCR0; 0: no XSAVE */

static struct cpuid milan(uint32_t leaf, uint32_t subleaf)
{
    if (leaf == 1)
        return (struct cpuid){.ecx = milan_components != 0 ? 1u << 26 : 0};
    if (leaf == 0 || leaf == 0x80000000)
        return (struct cpuid){leaf == 0 ? 0x10 : 0x80000023, 0x68747541, 0x444d4163, 0x69746e65};
    if (leaf == 0xd && subleaf == 0)
        return (struct cpuid){milan_components, 832, 832, 0};
    if (leaf == 0xd && subleaf == 1)
        return (struct cpuid){0xf, 832, 0, 0};
    if (leaf == 0xd && subleaf == 2)
        return (struct cpuid){256, 576, 0, 0};
    return (struct cpuid){0};
}

static void xsave_sizes_follow_xcr0(void **state)
{
    (void)state;
    rig_use_cpuid(milan);
    struct vcpu *vcpu = rig_guest(0, false);
    struct cpuid c = ask(vcpu, 0xd, 0);
    assert_int_equal(c.eax, 7);
    assert_int_equal(c.ebx, 576);
    assert_int_equal(c.ecx, 832);
    rig_xcr0 = 7;
    assert_int_equal(ask(vcpu, 0xd, 0).ebx, 832);
    assert_int_equal(ask(vcpu, 0xd, 1).eax, 7); /* no XSAVES */
    assert_int_equal(ask(vcpu, 0xd, 1).ebx, 832);
    assert_int_equal(ask(vcpu, 0xd, 2).eax, 256);
    assert_zero(ask(vcpu, 0xd, 9));
    assert_zero(ask(vcpu, 0x8000001e, 0)); /* this one has no topology extensions */
    assert_zero(ask(vcpu, 0x8000001d, 0));
    milan_components = 3; /* no AVX */
    rig_use_cpuid(milan);
    assert_int_equal(ask(vcpu, 0xd, 0).eax, 3);
    assert_int_equal(ask(vcpu, 0xd, 0).ecx, 576);
    assert_zero(ask(vcpu, 0xd, 2));
    milan_components = 0; /* no XSAVE at all */
    rig_use_cpuid(milan);
    for (uint32_t i = 0; i < 4; i++)
        assert_zero(ask(vcpu, 0xd, i));
    milan_components = 7;
}

static struct cpuid old(uint32_t leaf, uint32_t subleaf)
{
    (void)subleaf;
    assert_true(leaf <= 1 || (leaf >= 0x80000000 && leaf <= 0x80000001) || leaf == 0xd); /* never beyond its last */
    if (leaf == 0 || leaf == 0x80000000)
        return (struct cpuid){leaf == 0 ? 1 : 0x80000001, 0, 0, 0};
    return (struct cpuid){0};
}

static void leaves_beyond_the_processors_last_are_not_asked_for(void **state)
{
    (void)state;
    rig_use_cpuid(old);
    assert_int_equal(ask(rig_guest(0, false), 0x80000000, 0).eax, 0x80000001);
}

/* ---- what real processors say (tests/unit/boards) ---- */

static const struct board *dump;

static struct cpuid from_dump(uint32_t leaf, uint32_t subleaf)
{
    const struct board_leaf *l = board_leaf(dump, leaf, subleaf);
    return l != NULL ? (struct cpuid){l->eax, l->ebx, l->ecx, l->edx} : (struct cpuid){0};
}

static void use_dump(const struct board *board)
{
    assert_non_null(board);
    dump = board;
    uint32_t ebx = from_dump(0x80000008, 0).ebx, svm = from_dump(0x8000000a, 0).edx;
    rig_cpu.features.ibpb = (ebx >> 12 & 1) != 0;
    rig_cpu.features.virtual_spec_ctrl = (ebx & (1u << 14 | 1u << 15 | 1u << 24)) != 0 && (svm >> 20 & 1) != 0;
    rig_cpu.features.phys_bits = (from_dump(0x80000008, 0).eax & 0xff) - (from_dump(0x8000001f, 0).ebx >> 6 & 0x3f);
    rig_use_cpuid(from_dump);
}

/* Bits of feature leaves that are shown although the processor does not say so, and what makes them true. */
static const struct {
    uint32_t leaf;
    struct cpuid bits;
    const char *reason;
} virtual_bits[] = {
    {0x1, {0, 0, 1u << 21, 0}, "x2APIC: the vlapic"},
    {0x1, {0, 0, 1u << 24, 0}, "TSC deadline: the vlapic"},
    {0x1, {0, 0, 1u << 31, 0}, "a hypervisor"},
    {0x1, {0, 0, 0, 1u << 9}, "APIC: the vlapic"},
    {0x1, {0, 0, 0, 1u << 12}, "MTRR: a default type without ranges"},
    {0x80000001, {0, 0, 0, 1u << 9}, "the same"},
    {0x80000001, {0, 0, 0, 1u << 12}, "the same"},
    {0x6, {1u << 2, 0, 0, 0}, "ARAT: the vlapic's timer never stops"},
    {0x80000008, {0, 1u << 20, 0, 0}, "EferLmsleUnsupported: WRMSR refuses it"},
};

static void assert_feature_bits_are_the_hosts(struct vcpu *vcpu, uint32_t leaf, struct cpuid relevant)
{
    struct cpuid host = from_dump(leaf, 0), allowed = host, shown = ask(vcpu, leaf, 0);
    for (size_t i = 0; i < sizeof(virtual_bits) / sizeof(virtual_bits[0]); i++) {
        if (virtual_bits[i].leaf != leaf)
            continue;
        allowed.eax |= virtual_bits[i].bits.eax;
        allowed.ebx |= virtual_bits[i].bits.ebx;
        allowed.ecx |= virtual_bits[i].bits.ecx;
        allowed.edx |= virtual_bits[i].bits.edx;
    }
    assert_int_equal(shown.eax & relevant.eax & ~allowed.eax, 0);
    assert_int_equal(shown.ebx & relevant.ebx & ~allowed.ebx, 0);
    assert_int_equal(shown.ecx & relevant.ecx & ~allowed.ecx, 0);
    assert_int_equal(shown.edx & relevant.edx & ~allowed.edx, 0);
}

static void a_feature_bit_is_the_hosts_or_has_a_reason(void **state)
{
    (void)state;
    static const struct {
        uint32_t leaf;
        struct cpuid relevant;
    } leaves[] = {
        {0x1, {~0u, 0, ~0u, ~(1u << 28)}},  {0x6, {~0u, ~0u, ~0u, ~0u}},        {0x7, {~0u, ~0u, ~0u, ~0u}},
        {0x80000001, {~0u, ~0u, ~0u, ~0u}}, {0x80000007, {~0u, ~0u, ~0u, ~0u}}, {0x80000008, {0, ~0u, 0, ~0u}},
        {0x8000001a, {~0u, ~0u, ~0u, ~0u}}, {0x80000021, {~0u, ~0u, ~0u, ~0u}},
    };
    uint32_t dumps = 0;
    for (uint32_t i = 0; i < board_count; i++) {
        if (boards[i].leaf_count == 0)
            continue;
        print_message("%s\n", boards[i].name);
        use_dump(&boards[i]);
        dumps++;
        struct vcpu *vcpu = rig_guest(i % 2, i % 2 != 0);
        vcpu->vmcb->cr4 |= CR4_OSXSAVE;
        for (size_t l = 0; l < sizeof(leaves) / sizeof(leaves[0]); l++)
            assert_feature_bits_are_the_hosts(vcpu, leaves[l].leaf, leaves[l].relevant);
    }
    assert_true(dumps >= 9);
}

/* Nested tables have 4 levels here, whatever the processor's own addresses have; and what SME took is nobody's. */
static void a_guests_addresses_are_those_that_it_can_have(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < board_count; i++) {
        if (boards[i].leaf_count == 0)
            continue;
        use_dump(&boards[i]);
        if (boards[i].width != BOARD_UNKNOWN)
            assert_int_equal(rig_cpu.features.phys_bits, boards[i].width);
        uint32_t host = rig_cpu.features.phys_bits;
        assert_in_range(host, 36, 48);
        struct vcpu *plain = rig_guest(0, false), *sev = rig_guest(1, true);
        assert_int_equal(ask(plain, 0x80000008, 0).eax, 48 << 8 | host);
        for (uint8_t reduced = 0; reduced < 12; reduced++) {
            rig_config[1].reduced_phys_bits = reduced;
            uint32_t shown = ask(sev, 0x80000008, 0).eax & 0xff;
            assert_in_range(shown, 36, 48);
            assert_true(shown - reduced <= host);
            assert_int_equal(shown, host + reduced < 48 ? host + reduced : 48); /* and not less than can be */
        }
        /* SME off: the processor's own width, 52 bits since Genoa, but for the tables. */
        rig_cpu.features.phys_bits = from_dump(0x80000008, 0).eax & 0xff;
        exit_cpuid_init(&rig_cpu.features);
        assert_int_equal(ask(plain, 0x80000008, 0).eax & 0xff, 48);
    }
}

static void speculation_control_is_offered_where_the_processor_keeps_it_apart(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    use_dump(board_named("cpuid-epyc-7551p"));
    assert_int_equal(ask(vcpu, 0x80000008, 0).ebx, 1u << 0 | 1u << 2 | 1u << 20);
    use_dump(board_named("cpuid-epyc-7742")); /* IBPB, IBRS, STIBP, its preferences, SSBD */
    assert_int_equal(ask(vcpu, 0x80000008, 0).ebx & 0xfffff000,
                     1u << 12 | 1u << 14 | 1u << 15 | 0xeu << 16 | 1u << 20 | 1u << 24);
    rig_cpu.features.virtual_spec_ctrl = false;
    exit_cpuid_init(&rig_cpu.features);
    assert_int_equal(ask(vcpu, 0x80000008, 0).ebx & 0xfffff000, 1u << 12 | 1u << 20);
    use_dump(board_named("cpuid-epyc-9654")); /* and PSFD, BTC_NO, IBPB_RET */
    assert_int_equal(ask(vcpu, 0x80000008, 0).ebx & 0xff000000, 0x71000000);
    assert_int_equal(ask(vcpu, 0x80000021, 0).eax, 1u << 0 | 1u << 2 | 1u << 6);
    rig_cpu.features.ibpb = false;
    rig_use_cpuid(NULL); /* a processor that has it all */
    assert_int_equal(ask(vcpu, 0x80000021, 0).eax & 3u << 27, 0); /* SBPB, IBPB_BRTYPE */
    assert_int_equal(ask(vcpu, 0x80000008, 0).ebx & 1u << 12, 0);
}

static struct cpuid no_rdtscp(uint32_t leaf, uint32_t subleaf)
{
    if (leaf == 0xd)
        return (struct cpuid){subleaf == 0 ? 7 : 0, 832, 832, 0};
    return (struct cpuid){~0u, ~0u, ~0u, leaf == 0x80000001 ? ~(1u << 27) : ~0u};
}

static void rdpid_is_offered_where_tsc_aux_is(void **state)
{
    (void)state;
    for (unsigned without = 0; without < 2; without++) {
        rig_use_cpuid(without ? no_rdtscp : NULL);
        assert_int_equal(ask(rig_guest(0, false), 7, 0).ecx >> 22 & 1, !without);
    }
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_hv_does_not_virtualise_is_not_offered),
        TEST(all_other_leaves_are_zero),
        TEST(the_hypervisor_is_kvm_with_its_clock_and_for_sev_its_shared_pages),
        TEST(only_an_encrypted_guest_learns_of_its_c_bit),
        TEST(osxsave_follows_the_guests_cr4),
        TEST(rdpid_is_offered_where_tsc_aux_is),
        TEST(one_vcpu_is_one_package_of_one_core_of_one_thread),
        TEST(xsave_sizes_follow_xcr0),
        TEST(a_feature_bit_is_the_hosts_or_has_a_reason),
        TEST(a_guests_addresses_are_those_that_it_can_have),
        TEST(speculation_control_is_offered_where_the_processor_keeps_it_apart),
        TEST(leaves_beyond_the_processors_last_are_not_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
