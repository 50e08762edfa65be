/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The CPUID whitelist, mostly on a processor that says yes to everything. */
#include "with_cmocka.h"

#include <string.h>

#include "../../../hv/switch.h"
#include "rig.h"

static struct cpuid ask(struct vcpu *vcpu, uint32_t leaf, uint32_t subleaf)
{
    vcpu->vmcb->rax = UINT64_C(0xffffffff00000000) | leaf;
    vcpu->gprs.rcx = UINT64_C(0xffffffff00000000) | subleaf;
    assert_true(rig_exit(vcpu, VMEXIT_CPUID, 0, 0));
    assert_true(vcpu->vmcb->rax <= UINT32_MAX && vcpu->gprs.rbx <= UINT32_MAX);     /* upper halves are cleared */
    assert_true(vcpu->gprs.rcx <= UINT32_MAX && vcpu->gprs.rdx <= UINT32_MAX);
    return (struct cpuid){(uint32_t)vcpu->vmcb->rax, (uint32_t)vcpu->gprs.rbx, (uint32_t)vcpu->gprs.rcx,
                          (uint32_t)vcpu->gprs.rdx};
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
    assert_int_equal(c.ebx & (1u << 1 | 1u << 2 | 1u << 4 | 1u << 11 | 1u << 16 | 1u << 30), 0);    /* TSC_ADJUST, TSX, AVX-512 */
    assert_int_equal(c.ecx & (1u << 3 | 1u << 4 | 1u << 7 | 1u << 16), 0);      /* PKU, CET, LA57 */
    assert_int_equal(c.edx & (1u << 26 | 1u << 27 | 1u << 29), 0);              /* SPEC_CTRL and friends */
    assert_zero(ask(vcpu, 7, 1));
    assert_zero(ask(vcpu, 5, 0));
    assert_zero(ask(vcpu, 0xa, 0));
    c = ask(vcpu, 0x80000001, 0);
    assert_int_equal(c.ecx & (1u << 2 | 1u << 3 | 1u << 9 | 1u << 10 | 1u << 12 | 1u << 19), 0);    /* SVM, ExtApic, OSVW, IBS, SKINIT, NodeId */
    assert_int_equal(c.ecx & (1u << 23 | 1u << 24 | 1u << 28 | 1u << 29), 0);   /* performance counters, MONITORX */
    assert_zero(ask(vcpu, 0x8000000a, 0));
    assert_zero(ask(vcpu, 0x8000001b, 0));
    c = ask(vcpu, 0x80000008, 0);
    assert_int_equal(c.ebx & (1u << 3 | 1u << 4 | 1u << 12 | 1u << 14 | 1u << 15), 0);  /* INVLPGB, RDPRU, IBPB ... */
    assert_int_equal(c.edx, 0);
    assert_int_equal(ask(vcpu, 0x80000007, 0).edx, 1u << 8);
}

static void all_other_leaves_are_zero(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    static const uint32_t leaves[] = {
        0xe, 0x15, 0x16, 0x1f, 0x20000000, 0x3fffffff, 0x40000002, 0x4000000f, 0x40000011, 0x40000100, 0x7fffffff,
        0x80000009, 0x80000020, 0x80000022, 0x80000023, 0x8fffffff, 0xc0000000, 0xffffffff,
    };
    for (size_t i = 0; i < sizeof leaves / sizeof leaves[0]; i++)
        assert_zero(ask(vcpu, leaves[i], 0));
    assert_int_equal(ask(vcpu, 0, 0).eax, 0xd);
    assert_int_equal(ask(vcpu, 0x80000000, 0).eax, 0x80000021);
    for (uint32_t leaf = 0; leaf < 0x40; leaf++) {      /* none, with any subleaf, does harm */
        ask(vcpu, leaf, UINT32_MAX);
        ask(vcpu, 0x80000000 + leaf, UINT32_MAX);
        ask(vcpu, 0x40000000 + leaf, UINT32_MAX);
    }
}

static void the_hypervisor_is_kvm_with_nothing_but_its_clock(void **state)
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
    assert_int_equal(ask(vcpu, 0x40000010, 0).eax, RIG_HZ / 1000);
}

static void only_an_encrypted_guest_learns_of_its_c_bit(void **state)
{
    (void)state;
    struct vcpu *plain = rig_guest(0, false), *sev = rig_guest(1, true);
    assert_zero(ask(plain, 0x8000001f, 0));
    struct cpuid c = ask(sev, 0x8000001f, 0);
    assert_int_equal(c.eax, 2);                 /* SEV, and no more */
    assert_int_equal(c.ebx, 51 | 5 << 6);
    assert_int_equal(c.ecx | c.edx, 0);
    assert_int_equal(ask(plain, 0x80000008, 0).eax & 0xff, 43);     /* reduced already */
    assert_int_equal(ask(sev, 0x80000008, 0).eax & 0xff, 0xff);     /* it will subtract */
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

    rig_config[0].vcpus = 3;            /* for later: ids of two bits */
    vcpu->id = 2;
    assert_int_equal(ask(vcpu, 1, 0).ebx >> 16, 2 << 8 | 3);
    assert_int_equal(ask(vcpu, 0xb, 1).eax, 2);
    assert_int_equal(ask(vcpu, 0xb, 1).edx, 2);
    assert_int_equal(ask(vcpu, 0x80000008, 0).ecx, 2 << 12 | 2);
}

static struct cpuid milan(uint32_t leaf, uint32_t subleaf)
{
    if (leaf == 0 || leaf == 0x80000000)
        return (struct cpuid){leaf == 0 ? 0x10 : 0x80000023, 0x68747541, 0x444d4163, 0x69746e65};
    if (leaf == 0xd && subleaf == 0)
        return (struct cpuid){7, 832, 832, 0};
    if (leaf == 0xd && subleaf == 1)
        return (struct cpuid){0xf, 832, 0, 0};
    if (leaf == 0xd && subleaf == 2)
        return (struct cpuid){256, 576, 0, 0};
    return (struct cpuid){0};
}

static void xsave_sizes_follow_xcr0(void **state)
{
    (void)state;
    rig_cpuid = milan;
    exit_cpuid_init(&rig_cpu.features);
    struct vcpu *vcpu = rig_guest(0, false);
    struct cpuid c = ask(vcpu, 0xd, 0);
    assert_int_equal(c.eax, 7);
    assert_int_equal(c.ebx, 576);
    assert_int_equal(c.ecx, 832);
    rig_xcr0 = 7;
    assert_int_equal(ask(vcpu, 0xd, 0).ebx, 832);
    assert_int_equal(ask(vcpu, 0xd, 1).eax, 7);         /* no XSAVES */
    assert_int_equal(ask(vcpu, 0xd, 1).ebx, 832);
    assert_int_equal(ask(vcpu, 0xd, 2).eax, 256);
    assert_zero(ask(vcpu, 0xd, 9));
    assert_zero(ask(vcpu, 0x8000001e, 0));              /* this one has no topology extensions */
    assert_zero(ask(vcpu, 0x8000001d, 0));
}

static struct cpuid old(uint32_t leaf, uint32_t subleaf)
{
    (void)subleaf;
    assert_true(leaf <= 1 || (leaf >= 0x80000000 && leaf <= 0x80000001) || leaf == 0xd);   /* never beyond its last */
    if (leaf == 0 || leaf == 0x80000000)
        return (struct cpuid){leaf == 0 ? 1 : 0x80000001, 0, 0, 0};
    return (struct cpuid){0};
}

static void leaves_beyond_the_processors_last_are_not_asked_for(void **state)
{
    (void)state;
    rig_cpuid = old;
    exit_cpuid_init(&rig_cpu.features);
    assert_int_equal(ask(rig_guest(0, false), 0x80000000, 0).eax, 0x80000001);
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_hv_does_not_virtualise_is_not_offered), TEST(all_other_leaves_are_zero),
        TEST(the_hypervisor_is_kvm_with_nothing_but_its_clock), TEST(only_an_encrypted_guest_learns_of_its_c_bit),
        TEST(osxsave_follows_the_guests_cr4), TEST(one_vcpu_is_one_package_of_one_core_of_one_thread),
        TEST(xsave_sizes_follow_xcr0), TEST(leaves_beyond_the_processors_last_are_not_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
