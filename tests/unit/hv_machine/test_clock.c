/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fake_cpu.h"

#include "hv/cpu/clock.h"

typedef unsigned __int128 wide;

static void conversions_are_exact_for_all_that_a_machine_can_count(void **state)
{
    static const uint64_t hz[] = {1000000, 1996250123, 2400000000, 5999999999};
    static const uint64_t values[] = {0, 1, 999, 1000000, 123456789012, UINT64_C(1) << 54, UINT64_C(10) << 54};
    (void)state;
    for (unsigned i = 0; i < sizeof(hz) / sizeof(*hz); i++) {
        clock_init(hz[i], 0, 0);
        assert_int_equal(clock_hz(), hz[i]);
        for (unsigned j = 0; j < sizeof(values) / sizeof(*values); j++) {
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
    clock_init(2000000000, 0, 0);
    assert_int_equal(clock_now_us(), 0);
    fake_tsc += UINT64_C(2000000000) * 3 + 2001;
    assert_int_equal(clock_now_us(), 3000001);
    assert_int_equal(clock_tsc(), fake_tsc);
}

static void before_that_there_is_no_time(void **state)
{
    (void)state;
    clock_init(0, 0, 0);
    fake_tsc = 12345;
    assert_int_equal(clock_now_us(), 0);
    assert_int_equal(clock_tsc_to_ns(1000), 0);
}

static void wall_time_is_that_of_tsc_0(void **state)
{
    const uint64_t hz = UINT64_C(2400000000);
    (void)state;
    fake_tsc = hz * 1000; /* boot/ has read it at another time */
    clock_init(hz, 1795955696, hz * 100 + hz / 2);
    assert_int_equal(clock_boot_wall_ns(), (UINT64_C(1795955696) - 101) * 1000000000 + 500000000);
    clock_init(hz, 0, hz * 100); /* unknown */
    assert_int_equal(clock_boot_wall_ns(), 0);
}

#define T(name) cmocka_unit_test_setup(name, fake_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(conversions_are_exact_for_all_that_a_machine_can_count),
        T(time_begins_when_hv_begins),
        T(before_that_there_is_no_time),
        T(wall_time_is_that_of_tsc_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
