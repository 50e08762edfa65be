/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What switch.c moves when another vCPU gets the CPU, and what it leaves alone. */
#include "with_cmocka.h"

#include <string.h>

#include "hv/svm/switch.h"
#include "fake_cpu.h"

#define VCPUS 3u

static _Alignas(4096) uint8_t areas[VCPUS][PAGE_SIZE];
static struct switch_state vcpus[VCPUS], *current;
static struct cpu *const cpu = &fake_this_cpu;

/* As vcpu_run() does it. */
static void give_cpu_to(struct switch_state *vcpu)
{
    switch_to(current, vcpu);
    current = vcpu;
}

static int set_up(void **state)
{
    fake_reset(state);
    memset(areas, 0, sizeof(areas));
    memset(vcpus, 0, sizeof(vcpus));
    current = NULL;
    for (unsigned i = 0; i < VCPUS; i++) {
        vcpus[i].fpu = areas[i];
        switch_reset(&vcpus[i]);
    }
    return 0;
}

/* What a guest can do to its registers with this XCR0. */
static void use(uint64_t seed, uint64_t xcr0)
{
    if (fake.xsave)
        xsetbv(xcr0);
    for (unsigned i = 0; i < COMPONENTS; i++)
        if (((fake.xsave ? xcr0 | LEGACY : LEGACY) >> i & 1) != 0)
            fake.state[i] = seed * 100 + i;
    for (unsigned i = 0; i < 4; i++)
        fake.dr[i] = seed * 1000 + i;
    fake.x87_pointers = seed * 10000;
    switch_set_tsc_aux(current, seed);
}

static void assert_used(uint64_t seed, uint64_t xcr0)
{
    if (fake.xsave)
        assert_int_equal(fake.xcr0, xcr0);
    for (unsigned i = 0; i < COMPONENTS; i++)
        if (((fake.xsave ? xcr0 | LEGACY : LEGACY) >> i & 1) != 0)
            assert_int_equal(fake.state[i], seed * 100 + i);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fake.dr[i], seed * 1000 + i);
    if (fake.rdtscp)
        assert_int_equal(*fake_msr(MSR_TSC_AUX), seed);
    assert_int_equal(fake.x87_pointers, fake.clears_pointers ? seed * 10000 : 0);
}

/* Nothing in any register that another vCPU put there: of those that it cannot see now, but can open, neither. */
static void assert_fresh(void)
{
    for (unsigned i = 0; i < COMPONENTS; i++)
        if ((fake.components >> i & 1) != 0)
            assert_int_equal(fake.state[i], 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fake.dr[i], 0);
    assert_int_equal(fake.x87_pointers, 0);
    if (fake.xsave)
        assert_int_equal(fake.xcr0, 1);
    if (fake.rdtscp)
        assert_int_equal(*fake_msr(MSR_TSC_AUX), 0);
}

/* Each has another. PKRU is there whatever it says: CR4.PKE is the guest's. */
static uint64_t xcr0_of(unsigned i)
{
    static const uint64_t xcr0s[VCPUS] = {7, 1, 3};
    return xcr0s[i] & fake.components;
}

static void take_turns(void)
{
    switch_init();
    for (unsigned i = 0; i < VCPUS; i++) {
        give_cpu_to(&vcpus[i]);
        assert_fresh();
        use(i + 1, xcr0_of(i));
        fake.state[PKRU] = fake.xsave && (fake.components >> PKRU & 1) != 0 ? 77 + i : 0;
    }
    for (unsigned turn = 0; turn < 20; turn++) {
        unsigned i = turn * 2 % VCPUS;
        give_cpu_to(&vcpus[i]);
        assert_used(i + 1, xcr0_of(i));
        if (fake.xsave && (fake.components >> PKRU & 1) != 0)
            assert_int_equal(fake.state[PKRU], 77 + i);
    }
}

static void each_vcpu_finds_its_registers_again_and_nobody_elses(void **state)
{
    (void)state;
    take_turns();
}

static void on_a_cpu_without_xsave_too(void **state)
{
    (void)state;
    fake.xsave = false;
    take_turns();
    assert_int_equal(switch_guest_xcr0(), 0);
}

static void on_a_cpu_without_avx_rdtscp_ibpb_too(void **state)
{
    (void)state;
    fake.components = LEGACY;
    fake.rdtscp = fake.ibpb = cpu->features.ibpb = false;
    take_turns();
    assert_false(switch_has_tsc_aux());
    assert_false(switch_set_tsc_aux(&vcpus[0], 1));
    assert_int_equal(fake.ibpbs, 0);
    assert_int_equal(switch_guest_xcr0(), 3);
}

static void old_parts_keep_nobodys_x87_pointers(void **state)
{
    (void)state;
    fake.clears_pointers = false;
    take_turns();
    assert_true(fake.pointers_overwritten > 0);
}

static void new_parts_need_no_fild(void **state)
{
    (void)state;
    take_turns();
    assert_int_equal(fake.pointers_overwritten, 0);
}

static void the_vcpu_that_has_the_cpu_costs_nothing(void **state)
{
    (void)state;
    take_turns();
    unsigned before = fake.accesses, ibpbs = fake.ibpbs;
    give_cpu_to(current);
    assert_int_equal(fake.accesses, before);
    assert_int_equal(fake.ibpbs, ibpbs);
}

static void a_barrier_for_each_change_and_no_other(void **state)
{
    (void)state;
    switch_init();
    assert_int_equal(fake.ibpbs, 0);
    for (unsigned turn = 0; turn < 12; turn++) {
        give_cpu_to(&vcpus[turn / 2 % VCPUS]);       /* each twice */
        assert_int_equal(fake.ibpbs, turn / 2 + 1);
    }
}

/* Its memory may be another's by now. */
static void a_vcpu_that_is_gone_is_not_saved(void **state)
{
    (void)state;
    take_turns();
    struct switch_state *gone = current;
    uint8_t before[PAGE_SIZE];
    current = NULL;
    memcpy(before, gone->fpu, sizeof(before));
    give_cpu_to(gone == &vcpus[0] ? &vcpus[1] : &vcpus[0]);
    assert_memory_equal(before, gone->fpu, sizeof(before));
}

static void guests_get_x87_sse_and_avx(void **state)
{
    (void)state;
    switch_init();
    assert_int_equal(switch_guest_xcr0(), 7);
    assert_int_equal(fake.xcr0, fake.components);
    give_cpu_to(&vcpus[0]);
    xsetbv(3);
    assert_int_equal(xgetbv(), 3);
    assert_false(switch_set_tsc_aux(&vcpus[0], UINT64_C(1) << 32));
    assert_true(switch_set_tsc_aux(&vcpus[0], UINT32_MAX));
    assert_int_equal(*fake_msr(MSR_TSC_AUX), UINT32_MAX);
}

/* APM2 14.1.3: FCW 37F is FNINIT's, which is what all software wants; MXCSR 1F80. */
static void a_new_vcpu_has_the_control_words_of_a_reset(void **state)
{
    (void)state;
    uint16_t fcw;
    uint32_t mxcsr;
    memcpy(&fcw, areas[0], sizeof(fcw));
    memcpy(&mxcsr, areas[0] + 24, sizeof(mxcsr));
    assert_int_equal(fcw, 0x37f);
    assert_int_equal(mxcsr, 0x1f80);
    assert_int_equal(vcpus[0].xcr0, 1);
}

static void init_clears_the_debug_registers_wherever_they_are(void **state)
{
    (void)state;
    take_turns();
    struct switch_state *other = current == &vcpus[0] ? &vcpus[1] : &vcpus[0];
    unsigned seed = (unsigned)(current - vcpus) + 1;
    switch_at_init(other, false);
    assert_used(seed, xcr0_of(seed - 1));                 /* not those of the one that has the CPU */
    switch_at_init(current, true);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fake.dr[i], 0);
    give_cpu_to(other);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(fake.dr[i], 0);
    assert_int_equal(fake.state[SSE], (uint64_t)(other - vcpus + 1) * 100 + SSE);       /* INIT keeps these */
}

static bool area_with(unsigned at, uint8_t value, uint64_t xcr0)
{
    static uint8_t area[SWITCH_XSAVE_SIZE];
    memset(area, 0, sizeof(area));
    area[512] = 7; /* XSTATE_BV */
    area[at] = value;
    return switch_xsave_valid(area, xcr0);
}

static void an_area_from_elsewhere_is_one_that_xrstor_takes(void **state)
{
    (void)state;
    switch_init();
    assert_true(area_with(512, 7, 7) && area_with(512, 0, 1) && area_with(512, 4, 7));
    for (unsigned value = 8; value < 256; value++) /* AVX-512, PKRU: not for guests */
        assert_false(area_with(512, (uint8_t)value, 7));
    for (unsigned at = 513; at < 576; at++) /* the rest of XSTATE_BV, XCOMP_BV, reserved */
        for (unsigned bit = 0; bit < 8; bit++)
            assert_false(area_with(at, (uint8_t)(1u << bit), 7));
    assert_true(area_with(511, 0xff, 7) && area_with(576, 0xff, 7) && area_with(1023, 0xff, 7));
    assert_true(area_with(24, 0xff, 7) && area_with(25, 0xff, 7));
    for (unsigned bit = 0; bit < 16; bit++)
        assert_false(area_with(26 + bit / 8, (uint8_t)(1u << bit % 8), 7)); /* MXCSR */
    for (uint64_t xcr0 = 0; xcr0 < 1024; xcr0++)
        assert_int_equal(area_with(512, 7, xcr0), xcr0 == 1 || xcr0 == 3 || xcr0 == 7);

    /* What hv's own mask saved besides is not the guest's. */
    uint8_t area[SWITCH_XSAVE_SIZE], other[SWITCH_XSAVE_SIZE];
    areas[0][513] = 2;
    areas[0][512] = 0xe7;
    areas[0][700] = 0x5a;
    switch_read_xsave(&vcpus[0], area);
    assert_true(area[512] == 7 && area[513] == 0 && area[700] == 0x5a && switch_xsave_valid(area, 7));
    switch_write_xsave(&vcpus[1], area);
    switch_read_xsave(&vcpus[1], other);
    assert_memory_equal(area, other, sizeof(area));

    fake.xsave = false;
    switch_init();
    assert_true(area_with(512, 0, 1));
    assert_false(area_with(512, 1, 1));
    assert_false(area_with(512, 0, 3));
}

#define TEST(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_vcpu_finds_its_registers_again_and_nobody_elses),
        TEST(on_a_cpu_without_xsave_too),
        TEST(on_a_cpu_without_avx_rdtscp_ibpb_too),
        TEST(old_parts_keep_nobodys_x87_pointers),
        TEST(new_parts_need_no_fild),
        TEST(the_vcpu_that_has_the_cpu_costs_nothing),
        TEST(a_barrier_for_each_change_and_no_other),
        TEST(a_vcpu_that_is_gone_is_not_saved),
        TEST(guests_get_x87_sse_and_avx),
        TEST(a_new_vcpu_has_the_control_words_of_a_reset),
        TEST(an_area_from_elsewhere_is_one_that_xrstor_takes),
        TEST(init_clears_the_debug_registers_wherever_they_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
