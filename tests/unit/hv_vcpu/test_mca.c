/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Machine check banks: a CPU with the legacy registers, and one with ScalableMca. */
#include "with_cmocka.h"

#include <string.h>

#include "hv/console/mca_log.h"
#include "rig.h"

#define VAL (UINT64_C(1) << 63)
#define OVER (UINT64_C(1) << 62)
#define UC (UINT64_C(1) << 61)
#define EN (UINT64_C(1) << 60)
#define MISCV (UINT64_C(1) << 59)
#define ADDRV (UINT64_C(1) << 58)
#define PCC (UINT64_C(1) << 57)
#define TCC (UINT64_C(1) << 55)
#define SYNDV (UINT64_C(1) << 53)
#define DEFERRED (UINT64_C(1) << 44)
#define RIPV 1u
#define MCIP 4u
#define SECOND RIG_HZ

enum { CTL, STATUS, ADDR, MISC, CONFIG, IPID, SYND, DESTAT = 8, DEADDR };

static uint64_t regs[64][16], mcg_cap, mcg_status, mcg_ctl;
static uint32_t ebx_80000007;
static bool has_mca;

static uint64_t *place(uint32_t msr)
{
    if (msr == 0x179)
        return &mcg_cap;
    if (msr == 0x17a)
        return &mcg_status;
    if (msr == 0x17b) {
        assert_true((mcg_cap & 0x100) != 0);
        return &mcg_ctl;
    }
    uint32_t banks = mcg_cap & 0xff;
    if ((ebx_80000007 & 8) != 0 && msr >= 0xc0002000 && msr < 0xc0002000 + banks * 16)
        return &regs[(msr - 0xc0002000) / 16][msr & 15];
    /* Beyond 32 banks these are other MSRs. */
    assert_true((ebx_80000007 & 8) == 0);
    assert_in_range(msr, 0x400, 0x400 + (banks < 32 ? banks : 32) * 4 - 1);
    return &regs[(msr - 0x400) / 4][msr & 3];
}

static uint64_t read_msr(uint32_t msr)
{
    return *place(msr);
}

static void write_msr(uint32_t msr, uint64_t value)
{
    uint64_t *reg = place(msr);
    bool in_bank = reg >= &regs[0][0] && reg <= &regs[63][15];
    if (in_bank && ((reg - &regs[0][0]) % 16 == STATUS || (reg - &regs[0][0]) % 16 == DESTAT))
        assert_int_equal(value, 0);             /* else #GP: HWCR.McStatusWrEn is not set */
    assert_false(in_bank && (reg - &regs[0][0]) % 16 == IPID);
    *reg = value;
}

static struct cpuid answer(uint32_t leaf, uint32_t subleaf)
{
    (void)subleaf;
    switch (leaf) {
    case 1:
        return (struct cpuid){.edx = has_mca ? 1u << 7 | 1u << 14 : 0};
    case 0x80000000:
        return (struct cpuid){.eax = 0x80000021};
    case 0x80000007:
        return (struct cpuid){.ebx = ebx_80000007};
    default:
        return (struct cpuid){0};
    }
}

static void machine(uint32_t banks, uint32_t ebx)
{
    memset(regs, 0, sizeof(regs));
    mcg_cap = banks | 0x100;
    mcg_status = mcg_ctl = 0;
    ebx_80000007 = ebx;
    has_mca = true;
    for (uint32_t i = 0; i < 64; i++)
        regs[i][CONFIG] = 1;
}

static int set_up(void **state)
{
    rig_reset(state);
    machine(10, 3);
    rig_rdmsr = read_msr;
    rig_wrmsr = write_msr;
    rig_cpuid = answer;
    rig_tsc += 100 * SECOND;
    return 0;
}

static void said(const char *words)
{
    if (strstr(rig_log, words) == NULL)
        fail_msg("no \"%s\" in:\n%s", words, rig_log);
}

static void enabling(uint32_t banks, uint32_t ebx)
{
    machine(banks, ebx);
    mca_log_init(&rig_cpu);
    for (uint32_t i = 0; i < (banks < 32 || (ebx & 8) != 0 ? banks : 32); i++) {
        assert_int_equal(regs[i][CTL], UINT64_MAX);
        assert_int_equal(regs[i][CONFIG], (ebx & 8) != 0 ? UINT64_C(1) << 32 | 1 : 1);     /* MCAX_EN */
    }
    assert_int_equal(mcg_ctl, UINT64_MAX);
    assert_int_equal(rig_log_lines, 0);
    assert_in_range(rig_cpu.mca_due_tsc, rig_tsc, rig_tsc + 10 * SECOND);
}

static void all_banks_are_enabled(void **state)
{
    (void)state;
    enabling(10, 3);
    enabling(28, 3);
    enabling(40, 3);            /* more than the legacy MSRs have room for */
    enabling(64, 0xb);
    enabling(1, 0xb);
}

static void a_cpu_without_them_is_left_alone(void **state)
{
    (void)state;
    has_mca = false;
    regs[0][STATUS] = VAL;
    mca_log_init(&rig_cpu);
    assert_int_equal(regs[0][CTL], 0);
    assert_true(rig_cpu.mca_due_tsc == UINT64_MAX);
    mca_log_poll(&rig_cpu, rig_tsc + 1000 * SECOND);
    struct mca_errors found;
    mca_collect(&found);
    assert_int_equal(found.count, 0);
    mca_done();
    assert_int_equal(rig_log_lines, 0);
    mcg_cap = 10;               /* without MCG_CTL, and with no bank at all */
    has_mca = true;
    mca_log_init(&rig_cpu);
    assert_int_equal(regs[9][CTL], UINT64_MAX);
    mcg_cap = 0;
    mca_log_init(&rig_cpu);
    assert_true(rig_cpu.mca_due_tsc == UINT64_MAX);
}

static void what_a_reset_left_is_told_and_cleared(void **state)
{
    (void)state;
    regs[3][STATUS] = VAL | UC | EN | ADDRV | PCC | 0x0135;
    regs[3][ADDR] = 0x1234567890;
    regs[5][STATUS] = 0x55;     /* not valid */
    mcg_status = MCIP;
    mca_log_init(&rig_cpu);
    said(
        "CPU 0, hardware error from before boot: uncorrected error, processor context corrupt in bank 3 (memory hierarchy)");
    said("address 0x1234567890");
    assert_int_equal(rig_log_lines, 1);
    assert_true(regs[3][STATUS] == 0 && regs[5][STATUS] == 0 && mcg_status == 0);
}

static struct mca_errors collected(uint64_t status, uint64_t mcg)
{
    struct mca_errors found;
    mca_log_init(&rig_cpu);
    regs[4][STATUS] = status;
    mcg_status = mcg;
    mca_collect(&found);
    assert_int_equal(regs[4][STATUS] & VAL, 0);
    assert_int_equal(mcg_status, mcg);      /* until what was hit is dealt with */
    mca_done();
    assert_int_equal(mcg_status, 0);
    return found;
}

static void what_is_corrupt_follows_the_status_bits(void **state)
{
    (void)state;
    static const struct {
        uint64_t status;
        uint32_t mcg, ebx;
        bool context, task;
    } cases[] = {
        {VAL | UC | EN, RIPV | MCIP, 3, false, false},
        {VAL | UC | EN, MCIP, 3, false, true},              /* RIPV=0 */
        {VAL | UC | EN | TCC, RIPV | MCIP, 3, false, true},
        {VAL | UC | EN | PCC, RIPV | MCIP, 3, true, false},
        {VAL | UC | EN | OVER, RIPV | MCIP, 3, false, false},
        {VAL | UC | EN | OVER, RIPV | MCIP, 2, true, false},    /* no overflow recovery: one was lost */
        {VAL | EN | OVER, RIPV | MCIP, 2, false, false},
        {VAL | DEFERRED, RIPV | MCIP, 3, false, false},
        {UC | PCC, RIPV | MCIP, 3, false, false},           /* not valid */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        machine(10, cases[i].ebx);
        struct mca_errors found = collected(cases[i].status, cases[i].mcg);
        assert_int_equal(found.context_corrupt, cases[i].context);
        assert_int_equal(found.task_corrupt, cases[i].task);
        assert_int_equal(found.count, (cases[i].status & VAL) != 0);
    }
}

static void an_error_in_words(void **state)
{
    (void)state;
    char text[MCA_TEXT];
    struct mca_error error = {
        .bank = 17,
        .status = VAL | OVER | ADDRV | MISCV | SYNDV | DEFERRED | UINT64_C(1) << 43 | 0x011b,
        .address = 0xabc0,
        .misc = 0x77,
        .ipid = UINT64_C(0x0000009600650f00),
        .syndrome = 0x9,
    };
    mca_describe(&error, text, sizeof(text));
    assert_string_equal(
        text, "deferred error in bank 17, memory controller (memory hierarchy), status 0xcc2018000000011b: OVER "
              "deferred poison, address 0xabc0, misc 0x77, IPID 0x9600650f00, syndrome 0x9");
    error = (struct mca_error){.bank = 0, .status = VAL | UC | EN | TCC | 0x0015};
    mca_describe(&error, text, sizeof(text));
    assert_string_equal(
        text, "uncorrected error, task context corrupt in bank 0 (TLB), status 0xb080000000000015: UC EN TCC");
    static const struct {
        uint32_t code;
        const char *name;
    } codes[] = {
        {0x0c0f, "(bus or interconnect)"},
        {0x0400, "(internal)"},
        {0x0000, "(other)"},
        {0x0151, "(memory hierarchy)"},
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        error = (struct mca_error){.bank = 1, .status = VAL | codes[i].code};
        mca_describe(&error, text, sizeof(text));
        assert_non_null(strstr(text, codes[i].name));
        assert_ptr_equal(strstr(text, "corrected error"), text);
    }
    for (size_t size = 1; size < 60; size++) {
        memset(text, 0x7f, sizeof(text));
        mca_describe(&error, text, size);
        assert_true(strlen(text) < size && text[size] == 0x7f);
    }
}

static void smca_names_and_deferred_errors(void **state)
{
    (void)state;
    machine(10, 0xb);
    mca_log_init(&rig_cpu);
    regs[0][IPID] = UINT64_C(0x001000b0) << 32;
    regs[0][STATUS] = VAL | UC | EN | PCC;
    regs[0][DESTAT] = VAL | DEFERRED | ADDRV;       /* STATUS was taken by a worse one */
    regs[0][DEADDR] = 0x4444000;
    regs[2][IPID] = UINT64_C(0x00000096) << 32;
    regs[2][STATUS] = regs[2][DESTAT] = VAL | DEFERRED | ADDRV;     /* the same one twice */
    regs[2][ADDR] = regs[2][DEADDR] = 0x5555000;
    struct mca_errors found;
    mca_collect(&found);
    assert_int_equal(found.count, 3);
    char text[MCA_TEXT];
    mca_describe(&found.errors[0], text, sizeof(text));
    assert_non_null(strstr(text, "load-store unit"));
    mca_describe(&found.errors[1], text, sizeof(text));
    assert_non_null(strstr(text, "deferred error in bank 0, load-store unit"));
    assert_non_null(strstr(text, "address 0x4444000"));
    mca_describe(&found.errors[2], text, sizeof(text));
    assert_non_null(strstr(text, "memory controller"));
    assert_non_null(strstr(text, "address 0x5555000"));
    assert_true(regs[0][STATUS] == 0 && regs[0][DESTAT] == 0 && regs[2][STATUS] == 0 && regs[2][DESTAT] == 0);
}

static void corrected_errors_are_told_once_and_not_too_often(void **state)
{
    (void)state;
    mca_log_init(&rig_cpu);
    uint64_t now = rig_tsc;
    regs[1][STATUS] = VAL | EN | ADDRV | 0x0135;
    regs[1][ADDR] = 0xbeef000;
    mca_log_poll(&rig_cpu, now + SECOND);
    assert_int_equal(rig_log_lines, 0);             /* not yet */
    mca_log_poll(&rig_cpu, now += 6 * SECOND);
    said("CPU 0, hardware error: corrected error in bank 1 (memory hierarchy)");
    assert_int_equal(regs[1][STATUS], 0);
    mca_log_poll(&rig_cpu, now += 6 * SECOND);
    assert_int_equal(rig_log_lines, 1);
    now += 100 * SECOND;                            /* all CPUs together have so many lines */
    for (int cpu = 0; cpu < 20; cpu++) {
        for (int i = 0; i < 4; i++)
            regs[i][STATUS] = VAL | EN;
        rig_cpu.mca_due_tsc = 0;
        mca_log_poll(&rig_cpu, now + (unsigned)cpu);
        assert_int_equal(regs[3][STATUS], 0);
    }
    assert_int_equal(rig_log_lines, 21);
    regs[0][STATUS] = VAL | EN;
    mca_log_poll(&rig_cpu, now + 20 * SECOND);
    said("hardware errors: 60 more");
    mca_log_poll(&rig_cpu, now + 30 * SECOND);
    assert_int_equal(rig_log_lines, 23);
}

static void many_errors_at_once_are_counted(void **state)
{
    (void)state;
    mca_log_init(&rig_cpu);
    for (int i = 0; i < 10; i++)
        regs[i][STATUS] = VAL | EN | (i == 9 ? UC | PCC : 0);
    struct mca_errors found;
    mca_collect(&found);
    assert_int_equal(found.count, MCA_ERRORS);
    assert_int_equal(found.left_out, 10 - MCA_ERRORS);
    assert_true(found.context_corrupt);
    assert_int_equal(found.errors[0].bank, 9);      /* the worst is told first */
}

static void the_guest_that_was_hit_ends_and_nobody_else(void **state)
{
    (void)state;
    mca_log_init(&rig_cpu);
    struct vcpu *vcpu = rig_guest(0, true);
    rig_guest(1, false);
    regs[2][STATUS] = VAL | UC | EN | ADDRV | TCC | 0x0135;
    regs[2][ADDR] = 0x7b41e040;
    regs[1][STATUS] = regs[6][STATUS] = VAL | EN;
    mcg_status = MCIP;          /* its RIP is not valid: nor is it needed */
    assert_false(rig_exit(vcpu, VMEXIT_EXCEPTION_MC, 0, 0));
    assert_int_equal(guests[0].end, GUEST_END_CRASH);
    assert_int_equal(guests[1].end, GUEST_END_NONE);
    assert_ptr_equal(
        strstr(guests[0].end_reason, "machine check at RIP 0x1000: uncorrected error, task context corrupt in bank 2"),
        guests[0].end_reason);
    said("CPU 0, machine check while guest0 ran: uncorrected error");
    said("CPU 0, machine check while guest0 ran: corrected error in bank 6");
    assert_int_equal(mcg_status, 0);
}

static void the_place_of_an_error_in_the_guests_memory_is_noted(void **state)
{
    (void)state;
    static const struct {
        uint64_t status, address, ipid, offset;
        bool noted;
    } cases[] = {
        {UC | ADDRV, 0x7b41e040, 0, 0x41e040, true},
        {UC | ADDRV, 0x7b000000, 0x000000b000000000, 0, true},
        {UC | ADDRV, RIG_C_BIT | 0x7bffffff, 0, 0xffffff, true},
        {UC | ADDRV, 0x7affffff, 0, 0, false},
        {UC | ADDRV, 0x7c000000, 0, 0, false},
        {UC, 0x7b41e040, 0, 0, false},
        {ADDRV, 0x7b41e040, 0, 0, false},
        {UC | ADDRV, UINT64_C(0x38) << 56 | 0x7b41e040, 0, 0x41e040, true}, /* and what else stands there */
        {UC | ADDRV, 0x7b41e040, UINT64_C(0x0001009600000000), 0, false}, /* a memory controller's own */
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        set_up(state);
        machine(10, cases[i].ipid != 0 ? 3 | 8 : 3);
        mca_log_init(&rig_cpu);
        struct vcpu *vcpu = rig_guest(0, false);
        guests[0].memory = (struct extent){.base = paddr(0x7b000000), .size = UINT64_C(16) << 20};
        guests[0].memory_damaged = false;
        regs[2][STATUS] = VAL | EN | TCC | cases[i].status;
        regs[2][ADDR] = cases[i].address;
        regs[2][IPID] = cases[i].ipid;
        mcg_status = MCIP;
        rig_exit(vcpu, VMEXIT_EXCEPTION_MC, 0, 0);
        assert_int_equal(guests[0].end, GUEST_END_CRASH);
        assert_int_equal(guests[0].memory_damaged, cases[i].noted);
        if (cases[i].noted)
            assert_int_equal(guests[0].damaged_at, cases[i].offset);
        guests[0].memory = (struct extent){0};
    }
}

static void a_corrupt_context_is_hvs_end(void **state)
{
    (void)state;
    mca_log_init(&rig_cpu);
    struct vcpu *vcpu = rig_guest(0, false);
    regs[2][STATUS] = VAL | UC | EN | PCC;
    mcg_status = RIPV | MCIP;
    expect_assert_failure(rig_exit(vcpu, VMEXIT_EXCEPTION_MC, 0, 0));
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    assert_non_null(rig_cpu.mca_errors); /* for the panic to tell */
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, set_up)
    const struct CMUnitTest tests[] = {
        TEST(all_banks_are_enabled),
        TEST(a_cpu_without_them_is_left_alone),
        TEST(what_a_reset_left_is_told_and_cleared),
        TEST(what_is_corrupt_follows_the_status_bits),
        TEST(an_error_in_words),
        TEST(smca_names_and_deferred_errors),
        TEST(corrected_errors_are_told_once_and_not_too_often),
        TEST(many_errors_at_once_are_counted),
        TEST(the_guest_that_was_hit_ends_and_nobody_else),
        TEST(the_place_of_an_error_in_the_guests_memory_is_noted),
        TEST(a_corrupt_context_is_hvs_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
