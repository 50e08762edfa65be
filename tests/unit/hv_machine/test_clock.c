/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fake_cpu.h"

#include "hv/cpu/clock.h"
#include "hv/cpu/rtc.h"

typedef unsigned __int128 wide;

static void conversions_are_exact_for_all_that_a_machine_can_count(void **state)
{
    static const uint64_t hz[] = {1000000, 1996250123, 2400000000, 5999999999};
    static const uint64_t values[] = {0, 1, 999, 1000000, 123456789012, UINT64_C(1) << 54, UINT64_C(10) << 54};
    (void)state;
    for (unsigned i = 0; i < sizeof hz / sizeof *hz; i++) {
        clock_init(hz[i]);
        assert_int_equal(clock_hz(), hz[i]);
        for (unsigned j = 0; j < sizeof values / sizeof *values; j++) {
            uint64_t v = values[j];
            /* Hundreds of years do not fit. */
            if ((wide)v * 1000000000 / hz[i] <= UINT64_MAX)
                assert_int_equal(clock_tsc_to_ns(v), (uint64_t)((wide)v * 1000000000 / hz[i]));
            if ((wide)v * hz[i] / 1000000 <= UINT64_MAX)
                assert_int_equal(clock_us_to_tsc(v), (uint64_t)((wide)v * hz[i] / 1000000));
        }
    }
}

static void time_begins_when_hv_begins(void **state)
{
    (void)state;
    fake_tsc = UINT64_C(2000000000) * 7;
    clock_init(2000000000);
    assert_int_equal(clock_now_us(), 0);
    fake_tsc += UINT64_C(2000000000) * 3 + 2001;
    assert_int_equal(clock_now_us(), 3000001);
    assert_int_equal(clock_tsc(), fake_tsc);
}

static void before_that_there_is_no_time(void **state)
{
    (void)state;
    clock_init(0);
    fake_tsc = 12345;
    assert_int_equal(clock_now_us(), 0);
    assert_int_equal(clock_tsc_to_ns(1000), 0);
}

/* ---- the battery clock ---- */

static const char *fault;

static const struct sample {
    uint8_t second, minute, hour, day, month, year, format;
    uint64_t seconds;
} samples[] = {
    {0x56, 0x34, 0x12, 0x29, 0x11, 0x26, 2, 1795955696},
    {56, 34, 12, 29, 11, 26, 6, 1795955696},    /* BCD, binary */
    {0x00, 0x00, 0x00, 0x01, 0x01, 0x00, 2, 946684800},
    {59, 59, 23, 31, 12, 99, 6, 946684799},
    {0x56, 0x34, 0x92, 0x29, 0x11, 0x26, 0, 1795955696},
    {0x56, 0x34, 0x12, 0x29, 0x11, 0x26, 0, 1795912496},    /* 12 PM, 12 AM */
    {56, 34, 0x81, 29, 11, 26, 4, 1795959296},
    {56, 34, 11, 29, 11, 26, 4, 1795952096},
    {56, 34, 0x8b, 29, 11, 26, 4, 1795995296},
    {0x00, 0x00, 0x00, 0x29, 0x02, 0x24, 2, 1709164800},
    {0x00, 0x00, 0x00, 0x01, 0x03, 0x24, 2, 1709251200},
    /* What no clock says. */
    {60, 0, 0, 1, 1, 26, 6, 0},
    {0, 60, 0, 1, 1, 26, 6, 0},
    {0, 0, 24, 1, 1, 26, 6, 0},
    {0, 0, 0, 0, 1, 26, 6, 0},
    {0, 0, 0, 32, 1, 26, 6, 0},
    {0, 0, 0, 1, 0, 26, 6, 0},
    {0, 0, 0, 1, 13, 26, 6, 0},
    {0, 0, 0, 1, 1, 100, 6, 0},
};

static void set(const struct sample *s)
{
    fake_rtc[0] = s->second;
    fake_rtc[2] = s->minute;
    fake_rtc[4] = s->hour;
    fake_rtc[7] = s->day;
    fake_rtc[8] = s->month;
    fake_rtc[9] = s->year;
    fake_rtc[11] = s->format;
}

static void every_format_is_understood_and_nonsense_is_no_time(void **state)
{
    (void)state;
    for (unsigned i = 0; i < sizeof samples / sizeof *samples; i++) {
        set(&samples[i]);
        assert_int_equal(rtc_read(&fault), samples[i].seconds);
    }
}

static unsigned reads, change_at;
static const struct sample *next_sample;

/* The clock ticks before one of the reads: what is read is a mixture. */
static void tick(uint8_t index)
{
    (void)index;
    if (++reads == change_at)
        set(next_sample);
}

static void a_tick_between_two_reads_is_noticed(void **state)
{
    static const struct sample ticks[][2] = {
        {{59, 34, 12, 29, 11, 26, 6, 0}, {0, 35, 12, 29, 11, 26, 6, 0}},
        {{59, 59, 12, 29, 11, 26, 6, 0}, {0, 0, 13, 29, 11, 26, 6, 0}},
        {{59, 59, 23, 29, 11, 26, 6, 0}, {0, 0, 0, 30, 11, 26, 6, 0}},
        {{59, 59, 23, 31, 12, 26, 6, 0}, {0, 0, 0, 1, 1, 27, 6, 0}},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof ticks / sizeof *ticks; i++) {
        fake_rtc_read = NULL;
        set(&ticks[i][0]);
        uint64_t before = rtc_read(&fault);
        fake_rtc_read = tick;
        next_sample = &ticks[i][1];
        for (change_at = 1; change_at < 16; change_at++) {
            set(&ticks[i][0]);
            reads = 0;
            uint64_t found = rtc_read(&fault);
            assert_true(found == before || found == before + 1);
        }
    }
}

static unsigned busy;

static void update(uint8_t index)
{
    if (index == 10)
        fake_rtc[10] = busy > 0 && busy-- ? 0x80 : 0x26;
    else
        assert_int_equal(busy, 0);      /* nothing is read meanwhile */
}

static void an_update_is_waited_for_but_not_for_ever(void **state)
{
    (void)state;
    set(&samples[0]);
    fake_rtc_read = update;
    busy = 1000;
    assert_int_equal(rtc_read(&fault), samples[0].seconds);
    busy = 100000000;
    assert_int_equal(rtc_read(&fault), 0);
    busy = 0;
}

static void wall_time_is_that_of_tsc_0(void **state)
{
    (void)state;
    set(&samples[0]);
    fake_tsc = UINT64_C(2400000000) * 100 + 1200000000;
    clock_init(2400000000);
    assert_int_equal(clock_boot_wall_ns(), (samples[0].seconds - 101) * UINT64_C(1000000000) + 500000000);
    fake_rtc[8] = 0;            /* no sensible answer */
    clock_init(2400000000);
    assert_int_equal(clock_boot_wall_ns(), 0);
    assert_string_equal(clock_wall_fault(), "it holds no date");
}

#define T(name) cmocka_unit_test_setup(name, fake_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(conversions_are_exact_for_all_that_a_machine_can_count),
        T(time_begins_when_hv_begins),
        T(before_that_there_is_no_time),
        T(every_format_is_understood_and_nonsense_is_no_time),
        T(a_tick_between_two_reads_is_noticed),
        T(an_update_is_waited_for_but_not_for_ever),
        T(wall_time_is_that_of_tsc_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
