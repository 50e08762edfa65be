/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include <string.h>

#include "hv/dev/vlapic.h"

enum {
    BASE = 0x1b,
    DEADLINE = 0x6e0,
    ID = 0x802,
    VERSION = 0x803,
    TPR = 0x808,
    PPR = 0x80a,
    EOI = 0x80b,
    LDR = 0x80d,
    SVR = 0x80f,
    ISR = 0x810,
    TMR = 0x818,
    IRR = 0x820,
    ESR = 0x828,
    ICR = 0x830,
    LVT_TIMER = 0x832,
    LVT_THERMAL = 0x833,
    LVT_PERF = 0x834,
    LVT_LINT0 = 0x835,
    LVT_LINT1 = 0x836,
    LVT_ERROR = 0x837,
    INITIAL = 0x838,
    CURRENT = 0x839,
    DIVIDE = 0x83e,
    SELF_IPI = 0x83f,
};
#define MASKED 0x10000u
#define PERIODIC 0x20000u
#define TSC_DEADLINE 0x40000u
#define DIVIDE_BY_1 0xbu
#define NEVER UINT64_MAX

static struct vlapic lapic;
static bool send;

static int setup(void **state)
{
    (void)state;
    memset(&lapic, 0xa5, sizeof(lapic));
    vlapic_reset(&lapic, 0, true);
    return 0;
}

static bool put(uint32_t msr, uint64_t value)
{
    return vlapic_write(&lapic, msr, 1000, value, &send);
}
static bool put_at(uint32_t msr, uint64_t now, uint64_t value)
{
    return vlapic_write(&lapic, msr, now, value, &send);
}

static uint64_t get_at(uint32_t msr, uint64_t now)
{
    uint64_t value = 0xdeadbeef;
    assert_true(vlapic_read(&lapic, msr, now, &value));
    return value;
}
static uint64_t get(uint32_t msr)
{
    return get_at(msr, 1000);
}

static bool readable(uint32_t msr)
{
    uint64_t value;
    return vlapic_read(&lapic, msr, 0, &value);
}

static void a_boot_cpu_enters_in_x2apic_mode_enabled(void **state)
{
    (void)state;
    assert_int_equal(get(BASE), 0xfee00d00);
    assert_int_equal(get(SVR), 0x1ff);
    assert_int_equal(get(LVT_TIMER), MASKED);
    vlapic_reset(&lapic, 3, false);
    assert_int_equal(get(BASE), 0xfee00c00);
    assert_int_equal(get(SVR), 0xff);
    assert_int_equal(get(ID), 3);
}

static void version_names_six_lvt_entries(void **state)
{
    (void)state;
    assert_int_equal(get(VERSION), 0x50014);
}

static void there_is_no_way_out_of_x2apic_mode(void **state)
{
    (void)state;
    assert_true(put(BASE, 0xfee00d00));
    const uint64_t others[] = {0,          0xfee00000, 0xfee00900, 0xfee00100,
                               0xfee00c00, 0xfed00d00, UINT64_MAX, 0x100000fee00d00};
    for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
        assert_false(put(BASE, others[i]));
    assert_int_equal(get(BASE), 0xfee00d00);
}

static void ldr_is_cluster_and_bit_of_the_id(void **state)
{
    (void)state;
    assert_int_equal(get(LDR), 1);
    vlapic_reset(&lapic, 0x25, false);
    assert_int_equal(get(LDR), 0x2 << 16 | 1 << 5);
}

static void reserved_bits_fault(void **state)
{
    (void)state;
    static const struct {
        uint32_t msr;
        uint64_t legal;
    } rows[] = {
        {TPR, 0xff},           {EOI, 0},
        {SVR, 0x3ff},          {ESR, 0},
        {DIVIDE, 0xb},         {SELF_IPI, 0xff},
        {LVT_TIMER, 0x750ff},  {LVT_THERMAL, 0x157ff},
        {LVT_PERF, 0x157ff},   {LVT_ERROR, 0x157ff},
        {LVT_LINT0, 0x1f7ff},  {LVT_LINT1, 0x1f7ff},
        {INITIAL, 0xffffffff}, {ICR, 0xffffffff000cdfff},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        for (unsigned bit = 0; bit < 64; bit++) {
            setup(NULL);
            bool legal = (rows[i].legal >> bit & 1) != 0;
            assert_int_equal(put(rows[i].msr, UINT64_C(1) << bit), legal);
        }
    }
    assert_false(put(LVT_TIMER, TSC_DEADLINE | PERIODIC));
}

static void unknown_registers_fault(void **state)
{
    (void)state;
    static const uint32_t read_only[] = {ID, VERSION, PPR, LDR, CURRENT, ISR, ISR + 7, TMR, IRR, IRR + 7};
    static const uint32_t write_only[] = {EOI, SELF_IPI};
    static const uint32_t read_write[] = {BASE,        DEADLINE, TPR,       SVR,       ESR,       ICR,     LVT_TIMER,
                                          LVT_THERMAL, LVT_PERF, LVT_LINT0, LVT_LINT1, LVT_ERROR, INITIAL, DIVIDE};
    unsigned readables = 0, writables = 0;
    for (size_t i = 0; i < sizeof(read_only) / sizeof(*read_only); i++)
        assert_true(readable(read_only[i]) && !put(read_only[i], 0));
    for (size_t i = 0; i < sizeof(write_only) / sizeof(*write_only); i++)
        assert_true(!readable(write_only[i]) && put(write_only[i], 0));
    for (size_t i = 0; i < sizeof(read_write) / sizeof(*read_write); i++)
        assert_true(readable(read_write[i]) && put(read_write[i], read_write[i] == BASE ? 0xfee00d00 : 0));
    for (uint32_t msr = 0x800; msr < 0x900; msr++) {
        readables += readable(msr);
        writables += put(msr, 0);
    }
    assert_int_equal(readables, 8 * 3 + 5 + 12);
    assert_int_equal(writables, 2 + 12);
    assert_false(readable(0x10) || put(0x10, 0));
}

static void the_highest_class_above_ppr_is_delivered(void **state)
{
    (void)state;
    assert_int_equal(vlapic_pending(&lapic), -1);
    vlapic_post(&lapic, 0x31);
    vlapic_post(&lapic, 0x52);
    vlapic_post(&lapic, 0x58);
    assert_int_equal(vlapic_pending(&lapic), 0x58);
    assert_int_equal(get(IRR + 2), 1u << 0x12 | 1u << 0x18);
    vlapic_accept(&lapic, 0x58);
    assert_int_equal(get(ISR + 2), 1u << 0x18);
    assert_int_equal(get(PPR), 0x50);
    assert_int_equal(vlapic_pending(&lapic), -1);       /* 0x52: same class */
    vlapic_post(&lapic, 0x61);
    assert_int_equal(vlapic_pending(&lapic), 0x61);
    assert_true(put(EOI, 0));
    vlapic_accept(&lapic, 0x61);
    assert_true(put(EOI, 0));
    assert_int_equal(vlapic_pending(&lapic), 0x52);
    assert_true(put(TPR, 0x5f));
    assert_int_equal(vlapic_pending(&lapic), -1);
    assert_int_equal(get(PPR), 0x5f);
    assert_true(put(TPR, 0x4f));
    assert_int_equal(vlapic_pending(&lapic), 0x52);
}

static void eoi_ends_the_highest_in_service_and_is_harmless_without(void **state)
{
    (void)state;
    assert_true(put(EOI, 0));
    vlapic_accept(&lapic, 0x30);
    vlapic_accept(&lapic, 0xff);
    assert_true(put(EOI, 0));
    assert_int_equal(get(ISR + 7), 0);
    assert_int_equal(get(ISR + 1), 1u << 16);
    assert_true(put(EOI, 0));
    assert_int_equal(get(ISR + 1), 0);
}

static void cr8_is_the_upper_half_of_tpr(void **state)
{
    (void)state;
    assert_true(put(TPR, 0x47));
    assert_int_equal(vlapic_cr8(&lapic), 4);
    vlapic_set_tpr(&lapic, 4);
    assert_int_equal(get(TPR), 0x47);
    vlapic_set_tpr(&lapic, 9);
    assert_int_equal(get(TPR), 0x90);
    vlapic_set_tpr(&lapic, 0xff);
    assert_int_equal(get(TPR), 0xf0);
}

static void bad_vectors_show_in_esr_after_it_is_written(void **state)
{
    (void)state;
    assert_true(put(SELF_IPI, 15));
    assert_int_equal(get(ESR), 0);
    assert_true(put(ESR, 0));
    assert_int_equal(get(ESR), 1 << 5);
    vlapic_post(&lapic, 3);
    assert_true(put(ESR, 0));
    assert_int_equal(get(ESR), 1 << 6);
    assert_true(put(ESR, 0));
    assert_int_equal(get(ESR), 0);
    assert_int_equal(vlapic_pending(&lapic), -1);
    assert_true(put(LVT_ERROR, 0xee));
    assert_true(put(ICR, 0x40000 | 5));     /* self, bad vector */
    assert_false(send);
    assert_int_equal(vlapic_pending(&lapic), 0xee);
    setup(NULL);
    assert_true(put(LVT_ERROR, 0x07));      /* the error entry's own vector is bad */
    assert_true(put(SELF_IPI, 0));
    assert_true(put(ESR, 0));
    assert_int_equal(get(ESR), 1 << 5 | 1 << 6);
}

static void software_disable_masks_and_refuses(void **state)
{
    (void)state;
    assert_true(put(LVT_TIMER, 0x40));
    vlapic_post(&lapic, 0x77);
    assert_true(put(SVR, 0xff));
    assert_int_equal(get(LVT_TIMER), MASKED | 0x40);
    assert_true(put(LVT_TIMER, 0x41));
    assert_int_equal(get(LVT_TIMER), MASKED | 0x41);
    vlapic_post(&lapic, 0x88);
    assert_int_equal(vlapic_pending(&lapic), 0x77);     /* held from before */
    assert_true(put(SVR, 0x1ff));
    assert_int_equal(get(LVT_TIMER), MASKED | 0x41);    /* stays until rewritten */
}

static void one_shot_counts_down_and_fires_once(void **state)
{
    (void)state;
    assert_true(put(DIVIDE, 0));            /* by 2 */
    assert_true(put(LVT_TIMER, 0x40));
    assert_true(put_at(INITIAL, 5000, 100));
    assert_int_equal(get_at(CURRENT, 5000), 100);
    assert_int_equal(get_at(CURRENT, 5100), 50);
    assert_int_equal(vlapic_timer(&lapic, 5199), 5200);
    assert_int_equal(vlapic_pending(&lapic), -1);
    assert_int_equal(vlapic_timer(&lapic, 5200), NEVER);
    assert_int_equal(vlapic_pending(&lapic), 0x40);
    assert_int_equal(get_at(CURRENT, 5200), 0);
    assert_int_equal(get_at(CURRENT, 99999), 0);
    vlapic_accept(&lapic, 0x40);
    assert_true(put(EOI, 0));
    assert_int_equal(vlapic_timer(&lapic, 100000), NEVER);
    assert_int_equal(vlapic_pending(&lapic), -1);
}

/* Of one shot with a count of 0 there is none: not now, not later. */
static void a_count_of_zero_stops_a_timer(void **state)
{
    (void)state;
    static const uint32_t modes[] = {0, PERIODIC};
    assert_true(put(DIVIDE, DIVIDE_BY_1));
    for (size_t i = 0; i < 2; i++) {
        assert_true(put(LVT_TIMER, modes[i] | 0x40));
        assert_true(put_at(INITIAL, 6000, 100));
        assert_int_equal(vlapic_timer(&lapic, 6001), 6100);
        assert_true(put_at(INITIAL, 6002, 0));
        for (uint64_t now = 6002; now < 100000; now += 90000) {
            assert_int_equal(get_at(CURRENT, now), 0);
            assert_int_equal(vlapic_timer(&lapic, now), NEVER);
            assert_int_equal(vlapic_pending(&lapic), -1);
        }
        assert_true(put_at(DIVIDE, 6003, DIVIDE_BY_1));
        assert_true(put_at(LVT_TIMER, 6003, modes[1 - i] | 0x41));
        assert_int_equal(get_at(CURRENT, 6004), 0);
        assert_int_equal(vlapic_timer(&lapic, 100000), NEVER);
        assert_int_equal(vlapic_pending(&lapic), -1);
    }
    assert_true(put(LVT_TIMER, 0x40));
    assert_true(put_at(INITIAL, 7000, 1));      /* the least that is one */
    assert_int_equal(get_at(CURRENT, 7000), 1);
    assert_int_equal(vlapic_timer(&lapic, 7000), 7001);
    assert_int_equal(vlapic_timer(&lapic, 7001), NEVER);
    assert_int_equal(get_at(CURRENT, 7001), 0);
    assert_int_equal(vlapic_pending(&lapic), 0x40);
}

/* Another CPU's TSC may be a little behind that on which the timer was started. */
static void before_its_start_a_timer_has_its_whole_count(void **state)
{
    (void)state;
    assert_true(put(DIVIDE, DIVIDE_BY_1));
    assert_true(put(LVT_TIMER, 0x40));
    assert_true(put_at(INITIAL, 5000, 100));
    assert_int_equal(get_at(CURRENT, 4990), 100);
    assert_true(put_at(LVT_TIMER, 4990, PERIODIC | 0x40));
    assert_int_equal(get_at(CURRENT, 4990), 100);
    assert_int_equal(vlapic_timer(&lapic, 4991), 5100);
}

/* The manual is silent: it starts over. A deadline is no count. */
static void a_new_divider_starts_a_running_count_over(void **state)
{
    (void)state;
    assert_true(put(DIVIDE, DIVIDE_BY_1));
    assert_true(put(LVT_TIMER, 0x40));
    assert_true(put_at(INITIAL, 5000, 100));
    assert_true(put_at(DIVIDE, 5050, 0));       /* by 2 */
    assert_int_equal(get_at(CURRENT, 5050), 100);
    assert_int_equal(vlapic_timer(&lapic, 5249), 5250);
    assert_int_equal(vlapic_timer(&lapic, 5250), NEVER);
    assert_true(put_at(DIVIDE, 5300, DIVIDE_BY_1));     /* it has run out, and stays so */
    assert_int_equal(vlapic_timer(&lapic, 5300), NEVER);
    assert_true(put(LVT_TIMER, TSC_DEADLINE | 0x40));
    assert_true(put(DEADLINE, 9000));
    assert_true(put_at(DIVIDE, 5400, 0));
    assert_int_equal(get_at(DEADLINE, 5400), 9000);
    assert_int_equal(vlapic_timer(&lapic, 5400), 9000);
}

/* Linux masks its timer, or gives it another vector, by writing the same mode again. */
static void the_same_mode_again_leaves_a_timer_running(void **state)
{
    (void)state;
    static const uint32_t modes[] = {0, PERIODIC, TSC_DEADLINE};
    for (size_t i = 0; i < 3; i++) {
        setup(NULL);
        assert_true(put(DIVIDE, DIVIDE_BY_1));
        assert_true(put(LVT_TIMER, modes[i] | 0x40));
        assert_true(put_at(i == 2 ? DEADLINE : INITIAL, 1000, i == 2 ? 501000 : 500000));
        assert_true(put_at(LVT_TIMER, 2000, modes[i] | MASKED | 0x40));
        assert_true(put_at(LVT_TIMER, 3000, modes[i] | 0x42));
        assert_int_equal(vlapic_timer(&lapic, 4000), 501000);
        assert_int_equal(vlapic_timer(&lapic, 501000), i == 1 ? 1001000 : NEVER);
        assert_int_equal(vlapic_pending(&lapic), 0x42);
    }
}

static void every_divide_code_divides(void **state)
{
    (void)state;
    static const struct {
        uint32_t code, by;
    } rows[] = {{0, 2}, {1, 4}, {2, 8}, {3, 16}, {8, 32}, {9, 64}, {10, 128}, {11, 1}};
    for (size_t i = 0; i < 8; i++) {
        setup(NULL);
        assert_true(put(DIVIDE, rows[i].code));
        assert_true(put(LVT_TIMER, 0x40));
        assert_true(put_at(INITIAL, 0, 0xffffffff));
        assert_int_equal(vlapic_timer(&lapic, 0), UINT64_C(0xffffffff) * rows[i].by);
    }
}

static void periodic_fires_each_period_without_drift(void **state)
{
    (void)state;
    assert_true(put(DIVIDE, DIVIDE_BY_1));
    assert_true(put(LVT_TIMER, PERIODIC | 0x40));
    assert_true(put_at(INITIAL, 0, 1000000));
    assert_int_equal(vlapic_timer(&lapic, 999999), 1000000);
    assert_int_equal(vlapic_timer(&lapic, 1000017), 2000000);
    assert_int_equal(vlapic_pending(&lapic), 0x40);
    assert_int_equal(get_at(CURRENT, 1000017), 1000000 - 17);
    assert_int_equal(vlapic_timer(&lapic, 7500000), 8000000);   /* missed ones are one */
    assert_int_equal(vlapic_timer(&lapic, 9999999), 10000000);  /* the next is but a moment away */
}

static void a_tiny_period_is_coalesced(void **state)
{
    (void)state;
    assert_true(put(DIVIDE, DIVIDE_BY_1));
    assert_true(put(LVT_TIMER, PERIODIC | 0x40));
    for (uint64_t period = 1; period < 3 * VLAPIC_MIN_PERIOD; period += period / 2 + 1) {
        assert_true(put_at(INITIAL, 50, period));
        uint64_t now = 1000000000, next = vlapic_timer(&lapic, now);
        assert_true(next > now && (period >= VLAPIC_MIN_PERIOD || next - now >= VLAPIC_MIN_PERIOD));
        assert_true(next - now <= period + VLAPIC_MIN_PERIOD);
        assert_int_equal((next - 50) % period, 0);
    }
    assert_true(put_at(INITIAL, 0, VLAPIC_MIN_PERIOD));             /* the least that is not */
    assert_int_equal(vlapic_timer(&lapic, VLAPIC_MIN_PERIOD + 1), 2 * VLAPIC_MIN_PERIOD);
    assert_true(put_at(INITIAL, 0, VLAPIC_MIN_PERIOD - 1));
    assert_int_equal(vlapic_timer(&lapic, VLAPIC_MIN_PERIOD), 3 * (VLAPIC_MIN_PERIOD - 1));
}

static void a_masked_timer_runs_in_silence(void **state)
{
    (void)state;
    assert_true(put_at(INITIAL, 0, 10));
    assert_int_equal(vlapic_timer(&lapic, 1000), NEVER);
    assert_int_equal(vlapic_pending(&lapic), -1);
}

static void a_masked_timer_asks_for_nobody_but_goes_on(void **state)
{
    (void)state;
    assert_true(put(DIVIDE, DIVIDE_BY_1));
    assert_true(put(LVT_TIMER, PERIODIC | MASKED | 0x40));
    assert_true(put_at(INITIAL, 0, 1000000));
    assert_int_equal(vlapic_timer(&lapic, 100), NEVER);             /* also before it expires */
    assert_int_equal(vlapic_timer(&lapic, 3500000), NEVER);
    assert_int_equal(get_at(CURRENT, 3500000), 500000);
    assert_true(put_at(LVT_TIMER, 3500000, PERIODIC | 0x40));
    assert_int_equal(vlapic_timer(&lapic, 3500001), 4000000);       /* its next period, not those unheard */
    assert_int_equal(vlapic_pending(&lapic), -1);

    assert_true(put(LVT_TIMER, MASKED | 0x40));
    assert_true(put_at(INITIAL, 5000000, 100));
    assert_true(put_at(LVT_TIMER, 5000100, 0x40));                  /* it expired unheard: no late interrupt */
    assert_int_equal(vlapic_timer(&lapic, 5000200), NEVER);
    assert_true(put(LVT_TIMER, MASKED | 0x40));
    assert_true(put_at(INITIAL, 6000000, 100));
    assert_true(put_at(DIVIDE, 6000100, DIVIDE_BY_1));              /* nor does it start over */
    assert_true(put_at(LVT_TIMER, 6000101, 0x40));
    assert_int_equal(vlapic_timer(&lapic, 6000300), NEVER);
    assert_true(put(LVT_TIMER, TSC_DEADLINE | MASKED | 0x40));
    assert_true(put_at(DEADLINE, 7000000, 7000100));
    assert_int_equal(get_at(DEADLINE, 7000099), 7000100);
    assert_int_equal(get_at(DEADLINE, 7000100), 0);
    assert_true(put_at(LVT_TIMER, 7000200, TSC_DEADLINE | 0x40));
    assert_int_equal(vlapic_timer(&lapic, 7000300), NEVER);
    assert_int_equal(vlapic_pending(&lapic), -1);
}

/* Nobody was there at the time: the guest slept, and would not have heard it. */
static void who_looks_late_sees_what_has_expired(void **state)
{
    (void)state;
    assert_true(put(DIVIDE, DIVIDE_BY_1));
    assert_true(put(TPR, 0xff));
    assert_true(put(LVT_TIMER, PERIODIC | 0x40));
    assert_true(put_at(INITIAL, 0, 1000000));
    assert_int_equal(get_at(IRR + 2, 999999), 0);
    assert_int_equal(get_at(IRR + 2, 7300000), 1);
    assert_int_equal(get_at(CURRENT, 7300000), 700000);
    assert_int_equal(vlapic_pending(&lapic), -1);
    assert_true(put(TPR, 0));
    assert_int_equal(vlapic_pending(&lapic), 0x40);
    vlapic_accept(&lapic, 0x40);
    assert_int_equal(get_at(IRR + 2, 7300001), 0);                  /* seven periods, one interrupt */
    assert_int_equal(vlapic_timer(&lapic, 7300001), 8000000);
}

static void a_timer_is_heard_above_ppr_alone(void **state)
{
    (void)state;
    assert_false(vlapic_timer_deliverable(&lapic));                       /* masked */
    assert_true(put(LVT_TIMER, 0x47));
    assert_true(vlapic_timer_deliverable(&lapic));
    assert_true(put(TPR, 0x40));
    assert_false(vlapic_timer_deliverable(&lapic));
    assert_true(put(TPR, 0x3f));
    assert_true(vlapic_timer_deliverable(&lapic));
    vlapic_accept(&lapic, 0x41);
    assert_false(vlapic_timer_deliverable(&lapic));
    assert_true(put(EOI, 0));
    assert_true(put(LVT_TIMER, 0x0f));                              /* each expiry is an error */
    assert_false(vlapic_timer_deliverable(&lapic));
    assert_true(put(LVT_ERROR, 0x45));
    assert_true(vlapic_timer_deliverable(&lapic));
    assert_true(put(LVT_ERROR, 0x35));
    assert_false(vlapic_timer_deliverable(&lapic));
    assert_true(put(LVT_ERROR, 0x05));
    assert_false(vlapic_timer_deliverable(&lapic));
    assert_true(put(TPR, 0));
    assert_true(put(LVT_ERROR, MASKED | 0x45));
    assert_false(vlapic_timer_deliverable(&lapic));
    assert_true(put(LVT_ERROR, 0x10));                              /* the first that is legal */
    assert_true(vlapic_timer_deliverable(&lapic));
    assert_true(put(LVT_ERROR, MASKED));
    assert_true(put(LVT_TIMER, 0x10));
    assert_true(vlapic_timer_deliverable(&lapic));
    for (uint32_t class = 1; class < 16; class ++) {
        assert_true(put(LVT_TIMER, class << 4));
        for (uint32_t priority = 0; priority < 16; priority++) {
            assert_true(put(TPR, priority << 4));
            assert_int_equal(vlapic_timer_deliverable(&lapic), class > priority);
        }
    }
    assert_true(put(TPR, 0));
    assert_true(put(LVT_TIMER, 0x47));
    assert_true(put(SVR, 0xff));
    assert_false(vlapic_timer_deliverable(&lapic));
}

static void an_interrupt_that_was_not_delivered_can_be_taken_back(void **state)
{
    (void)state;
    vlapic_post(&lapic, 0x41);
    vlapic_accept(&lapic, 0x41);
    vlapic_take_back(&lapic, 0x41);
    assert_int_equal(get(ISR + 2), 0);
    assert_int_equal(vlapic_pending(&lapic), 0x41);
}

static void deadline_fires_once_at_its_tsc(void **state)
{
    (void)state;
    assert_true(put(DEADLINE, 77));             /* ignored in the other modes */
    assert_int_equal(get(DEADLINE), 0);
    assert_true(put(LVT_TIMER, TSC_DEADLINE | 0xec));
    assert_true(put(DEADLINE, 123456));
    assert_int_equal(get(DEADLINE), 123456);
    assert_true(put(INITIAL, 55));              /* ignored in deadline mode */
    assert_int_equal(get(INITIAL), 0);
    assert_int_equal(get(CURRENT), 0);
    assert_int_equal(vlapic_timer(&lapic, 123455), 123456);
    assert_int_equal(vlapic_timer(&lapic, 123456), NEVER);
    assert_int_equal(vlapic_pending(&lapic), 0xec);
    assert_int_equal(get(DEADLINE), 0);
    assert_true(put(DEADLINE, 5));              /* in the past: at once */
    vlapic_accept(&lapic, 0xec);
    assert_true(put(EOI, 0));
    assert_int_equal(vlapic_timer(&lapic, 123457), NEVER);
    assert_int_equal(vlapic_pending(&lapic), 0xec);
    assert_true(put(DEADLINE, 500000));
    assert_true(put(DEADLINE, 0));              /* disarms */
    assert_int_equal(vlapic_timer(&lapic, 900000), NEVER);
    vlapic_accept(&lapic, 0xec);
    assert_true(put(EOI, 0));
    assert_true(put(DEADLINE, 1));              /* the least that is one: at once */
    assert_int_equal(vlapic_timer(&lapic, 900001), NEVER);
    assert_int_equal(vlapic_pending(&lapic), 0xec);
    assert_true(put(LVT_TIMER, 0x40));
    assert_true(put_at(INITIAL, 1000000, 100000));
    assert_true(put(DEADLINE, 5));              /* ignored: the count goes on */
    assert_int_equal(vlapic_timer(&lapic, 1000001), 1200000);
}

static void changing_between_count_and_deadline_disarms(void **state)
{
    (void)state;
    assert_true(put(LVT_TIMER, TSC_DEADLINE | 0xec));
    assert_true(put(DEADLINE, 123456));
    assert_true(put(LVT_TIMER, 0xec));
    assert_int_equal(vlapic_timer(&lapic, 999999), NEVER);
    assert_true(put_at(INITIAL, 0, 100));
    assert_true(put(LVT_TIMER, TSC_DEADLINE | 0xec));
    assert_int_equal(vlapic_timer(&lapic, 999999), NEVER);
    assert_int_equal(vlapic_pending(&lapic), -1);
    assert_true(put(LVT_TIMER, 0xec));
    assert_int_equal(get_at(INITIAL, 10), 0);   /* nothing is left of the count */
    assert_int_equal(get_at(CURRENT, 10), 0);
}

/* At any time of its count, even the first. */
static void one_shot_to_periodic_goes_on_by_whole_periods(void **state)
{
    (void)state;
    for (uint64_t at = 0; at <= 3500000; at += 700000) {
        setup(NULL);
        assert_true(put(DIVIDE, DIVIDE_BY_1));
        assert_true(put(LVT_TIMER, 0x40));
        assert_true(put_at(INITIAL, 0, 1000000));
        (void)vlapic_timer(&lapic, at);             /* may have run out */
        if (vlapic_pending(&lapic) == 0x40)
            vlapic_accept(&lapic, 0x40);
        assert_true(put(EOI, 0));
        assert_true(put_at(LVT_TIMER, at, PERIODIC | 0x40));
        uint64_t next = (at / 1000000 + 1) * 1000000;
        assert_int_equal(vlapic_timer(&lapic, at), next);
        assert_int_equal(get_at(CURRENT, at), next - at);
        assert_int_equal(vlapic_pending(&lapic), -1);
        assert_int_equal(vlapic_timer(&lapic, next), next + 1000000);
        assert_int_equal(vlapic_pending(&lapic), 0x40);
    }
}

static void periodic_to_one_shot_runs_out_once(void **state)
{
    (void)state;
    assert_true(put(DIVIDE, DIVIDE_BY_1));
    assert_true(put(LVT_TIMER, PERIODIC | 0x40));
    assert_true(put_at(INITIAL, 0, 1000000));
    assert_int_equal(vlapic_timer(&lapic, 1000000), 2000000);
    vlapic_accept(&lapic, 0x40);
    assert_true(put(EOI, 0));
    assert_true(put_at(LVT_TIMER, 1500000, 0x40));
    assert_int_equal(get_at(CURRENT, 1500000), 500000);
    assert_int_equal(vlapic_timer(&lapic, 2000000), NEVER);
    assert_int_equal(vlapic_pending(&lapic), 0x40);
}

static void a_timer_beyond_the_end_of_time_never_fires(void **state)
{
    (void)state;
    assert_true(put(LVT_TIMER, PERIODIC | 0x40));
    assert_true(put_at(INITIAL, UINT64_MAX - 10, 0xffffffff));
    assert_int_equal(vlapic_timer(&lapic, UINT64_MAX - 1), NEVER);
    assert_true(put_at(INITIAL, UINT64_MAX - 100, 10));
    assert_int_equal(vlapic_timer(&lapic, UINT64_MAX - 50), NEVER);
}

static void icr_posts_to_self_by_every_address(void **state)
{
    (void)state;
    static const struct {
        uint64_t icr;
        bool self, send;
    } rows[] = {
        {0x40041, true, false},                         /* self */
        {0x80041, true, true},                          /* all */
        {0xc0041, false, true},                         /* all but self */
        {UINT64_C(5) << 32 | 0x41, true, true},         /* physical 5 */
        {UINT64_C(6) << 32 | 0x41, false, true},
        {UINT64_C(0xffffffff) << 32 | 0x41, true, true},
        {UINT64_C(0x20) << 32 | 0x841, true, true},     /* logical, cluster 0, bit 5 */
        {UINT64_C(0xdf) << 32 | 0x841, false, true},
        {UINT64_C(0x10020) << 32 | 0x841, false, true}, /* another cluster */
        {UINT64_C(0xffffffff) << 32 | 0x841, true, true},
        {0x40141, true, false},                         /* lowest priority */
        {0x40441, false, true},                         /* NMI to self: the hypervisor's work */
        {UINT64_C(6) << 32 | 0x500, false, true},       /* INIT */
        {UINT64_C(6) << 32 | 0x610, false, true},       /* SIPI */
        {UINT64_C(6) << 32 | 0x241, false, false},      /* SMI: not here */
        {UINT64_C(6) << 32 | 0x741, false, false},      /* ExtINT */
        {UINT64_C(6) << 32 | 0x00f, false, false},      /* bad vector */
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        vlapic_reset(&lapic, 5, true);
        assert_true(put(ICR, rows[i].icr));
        assert_int_equal(vlapic_pending(&lapic), rows[i].self ? 0x41 : -1);
        assert_int_equal(send, rows[i].send);
        assert_int_equal(get(ICR), rows[i].icr);
    }
    assert_true(put(ICR, UINT64_C(6) << 32 | 0x1041));
    assert_int_equal(get(ICR), UINT64_C(6) << 32 | 0x41);   /* delivery status reads idle */
}

static void addressed_tells_other_vcpus(void **state)
{
    (void)state;
    struct vlapic a, b;
    vlapic_reset(&a, 1, true);
    vlapic_reset(&b, 0x12, false);
    assert_false(vlapic_addressed(b.id, a.id, 0x40041));
    assert_true(vlapic_addressed(b.id, a.id, 0x80041));
    assert_true(vlapic_addressed(b.id, a.id, 0xc0041));
    assert_false(vlapic_addressed(a.id, a.id, 0xc0041));
    assert_true(vlapic_addressed(b.id, a.id, UINT64_C(0x12) << 32));
    assert_true(vlapic_addressed(b.id, a.id, UINT64_C(0x10004) << 32 | 0x800));
    assert_false(vlapic_addressed(b.id, a.id, UINT64_C(0x00004) << 32 | 0x800));
}

static uint64_t random_state = 88172645463325252u;
static uint64_t rnd(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state;
}

/* Whatever a guest does: no UB (the sanitizers watch), no vector below 16, time goes forward. */
static void hostile_writes_break_nothing(void **state)
{
    (void)state;
    uint64_t now = 0;
    for (unsigned round = 0; round < 2000000; round++) {
        uint64_t r = rnd();
        uint32_t msr = r % 61 == 0 ? DEADLINE : r % 67 == 0 ? BASE : 0x800 + (uint32_t)(r >> 8) % 0x42;
        uint64_t value = rnd() >> (rnd() % 64);
        uint64_t out;
        if (r % 1009 == 0)
            now = UINT64_MAX - (rnd() & 0xffffffff);
        else if (r % 1013 == 0)
            now = 0;
        else
            now += rnd() & 0xfffff;
        switch (r >> 61) {
        case 0:
        case 1:
        case 2:
        case 3:
            vlapic_write(&lapic, msr, now, value, &send);
            break;
        case 4:
            vlapic_read(&lapic, msr, now, &out);
            break;
        case 5:
            vlapic_post(&lapic, (uint8_t)value);
            break;
        case 6:
            vlapic_set_tpr(&lapic, (uint8_t)value);
            break;
        default: {
            int vector = vlapic_pending(&lapic);
            if (vector >= 0)
                vlapic_accept(&lapic, (uint8_t)vector);
            break;
        }
        }
        uint64_t next = vlapic_timer(&lapic, now);
        assert_true(next > now);
        int vector = vlapic_pending(&lapic);
        assert_true(vector == -1 || (vector >= 16 && vector <= 255));
        assert_true(lapic.tpr <= 0xff && get_at(CURRENT, now) <= 0xffffffff && get_at(PPR, now) <= 0xff);
        assert_int_equal(lapic.apic_base, 0xfee00d00);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, setup)
        T(a_boot_cpu_enters_in_x2apic_mode_enabled),
        T(version_names_six_lvt_entries),
        T(there_is_no_way_out_of_x2apic_mode),
        T(ldr_is_cluster_and_bit_of_the_id),
        T(reserved_bits_fault),
        T(unknown_registers_fault),
        T(the_highest_class_above_ppr_is_delivered),
        T(eoi_ends_the_highest_in_service_and_is_harmless_without),
        T(cr8_is_the_upper_half_of_tpr),
        T(bad_vectors_show_in_esr_after_it_is_written),
        T(software_disable_masks_and_refuses),
        T(one_shot_counts_down_and_fires_once),
        T(a_count_of_zero_stops_a_timer),
        T(before_its_start_a_timer_has_its_whole_count),
        T(a_new_divider_starts_a_running_count_over),
        T(the_same_mode_again_leaves_a_timer_running),
        T(every_divide_code_divides),
        T(periodic_fires_each_period_without_drift),
        T(a_tiny_period_is_coalesced),
        T(a_masked_timer_runs_in_silence),
        T(a_masked_timer_asks_for_nobody_but_goes_on),
        T(deadline_fires_once_at_its_tsc),
        T(who_looks_late_sees_what_has_expired),
        T(a_timer_is_heard_above_ppr_alone),
        T(an_interrupt_that_was_not_delivered_can_be_taken_back),
        T(changing_between_count_and_deadline_disarms),
        T(one_shot_to_periodic_goes_on_by_whole_periods),
        T(periodic_to_one_shot_runs_out_once),
        T(a_timer_beyond_the_end_of_time_never_fires),
        T(icr_posts_to_self_by_every_address),
        T(addressed_tells_other_vcpus),
        T(hostile_writes_break_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
