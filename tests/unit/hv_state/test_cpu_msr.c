/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The host's MSRs after cpu_msr_init(), whatever firmware left in them. */
#include "with_cmocka.h"

#include "hv/cpu/cpu_msr.h"
#include "fake_cpu.h"

/* All that may stand there for a firmware that used it: FFXSR, TCE, AutoIBRS, SCE; and any values elsewhere. */
static void leave_behind(void)
{
    static const uint32_t msrs[] = {
        0x48,       0x174,      0x175,      0x176,      0x1d9,      0x277,      0xda0,
        0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000102, 0xc0000104,
    };
    fake_set_msr(0xc0000080, 0x20d00 | 1 << 14 | 1 << 15 | 1 << 21 | 1);
    for (unsigned i = 0; i < sizeof(msrs) / sizeof(msrs[0]); i++)
        fake_set_msr(msrs[i], 0x5a5a5a5a5a5a5a5a);
}

static void what_firmware_left_is_gone(void **state)
{
    (void)state;
    static const uint32_t zero[] = {
        0x48, 0x174, 0x175, 0x176, 0x1d9, 0xda0, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000102,
    };
    struct cpu_features features = {0};
    leave_behind();
    cpu_msr_init(&features);
    assert_int_equal(*fake_msr(0xc0000080), 0xd00);         /* LME, LMA, NXE: FXSAVE saves XMM (no FFXSR) */
    assert_int_equal(*fake_msr(0x277), 0x0007040600070406);
    assert_int_equal(*fake_msr(0xc0000104), 0x100000000);   /* guests' TSC runs as hv's */
    for (unsigned i = 0; i < sizeof(zero) / sizeof(zero[0]); i++)
        assert_int_equal(*fake_msr(zero[i]), 0);
    assert_true(features.ibpb && features.virtual_spec_ctrl && features.lfence_by_msr);
}

/* fake_cpu.c fails the test at an access to an MSR that is not there. */
static void what_is_not_there_is_not_touched(void **state)
{
    (void)state;
    struct cpu_features features = {.ibpb = true, .virtual_spec_ctrl = true, .lfence_by_msr = true};
    fake.ibpb = fake.xsaves = fake.tsc_ratio = fake.spec_ctrl = false;
    fake.family = 0x11;
    cpu_msr_init(&features);
    assert_false(features.ibpb || features.virtual_spec_ctrl || features.lfence_by_msr);
    fake.last_extended = 0x80000007;
    cpu_msr_init(&features);
}

static void lfence_serialises_or_is_not_said_to(void **state)
{
    (void)state;
    struct cpu_features features = {0};
    fake_set_msr(0xc0011029, 0x200);
    cpu_msr_init(&features);
    assert_int_equal(*fake_msr(0xc0011029), 0x202);         /* the other bits are errata's */
    assert_true(features.lfence_by_msr);
    fake.lfence_bit = false;
    fake_set_msr(0xc0011029, 0x200);
    cpu_msr_init(&features);
    assert_false(features.lfence_by_msr);
}

#define TEST(name) cmocka_unit_test_setup(name, fake_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_firmware_left_is_gone),
        TEST(what_is_not_there_is_not_touched),
        TEST(lfence_serialises_or_is_not_said_to),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
