/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* When the control guest ends itself: all others have ended, and nobody uses the line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guest/control/leave.h"
#include "tests/unit/guest_control/fake_hv.h"
#include "tests/unit/guest_control/line.h"

#define LONG_MS 60000u

static void set_others(uint32_t state)
{
    for (uint32_t guest = 0; guest < FAKE_GUESTS; guest++)
        if (guest != FAKE_CONTROL)
            fake_hv.guests[guest].info.state = state;
}

/* Whether it leaves within that time, asked as often as the guest does. */
static bool leaves_within(uint64_t ms)
{
    for (uint64_t end = line_ms + ms; line_ms < end; line_ms += 10)
        if (leave_now())
            return true;
    return false;
}

/* No look has found all ended yet; the line was silent for long, if it was ever used. */
static int start(void **unused)
{
    (void)unused;
    line_start();
    line_ms += LONG_MS;
    set_others(CONTROL_STATE_RUNNING);
    assert_false(leave_now());
    return 0;
}

/* The first of these tests: nothing has used the line, and the clock begins. */
static void a_line_that_was_never_used_keeps_nobody(void **unused)
{
    (void)unused;
    line_start();
    set_others(CONTROL_STATE_ENDED);
    assert_true(leaves_within(3000));
}

static void it_stays_as_long_as_one_guest_has_not_ended(void **unused)
{
    (void)unused;
    for (uint32_t guest = 0; guest < FAKE_GUESTS; guest++) {
        for (uint32_t state = CONTROL_STATE_NONE; guest != FAKE_CONTROL && state <= CONTROL_STATE_RECEIVING; state++) {
            bool over = state == CONTROL_STATE_ENDED || state == CONTROL_STATE_REFUSED;

            set_others(guest % 2 == 0 ? CONTROL_STATE_ENDED : CONTROL_STATE_REFUSED);
            fake_hv.guests[guest].info.state = state;
            assert_int_equal(leaves_within(5000), over);
            set_others(CONTROL_STATE_RUNNING);
            assert_false(leaves_within(2000));
        }
    }
}

/* hv tells `ended` for the moment between an end and the restart that the manifest asks for. */
static void one_look_is_not_enough(void **unused)
{
    (void)unused;
    for (unsigned second = 0; second < 10; second++) {
        set_others(CONTROL_STATE_ENDED);
        assert_false(leaves_within(1000));
        set_others(CONTROL_STATE_LAUNCHING);
        assert_false(leaves_within(1000));
    }
}

static void it_waits_until_the_line_is_silent(void **unused)
{
    (void)unused;
    set_others(CONTROL_STATE_ENDED);
    for (unsigned i = 0; i < 20; i++) {
        leave_line_used();
        assert_false(leaves_within(9000));
    }
    assert_true(leaves_within(5000));
}

static void a_control_guest_alone_stays(void **unused)
{
    (void)unused;
    fake_hv.platform.guests = 1;
    assert_false(leaves_within(LONG_MS));
}

static void looking_costs_hv_two_requests_a_second(void **unused)
{
    uint32_t before;

    (void)unused;
    set_others(CONTROL_STATE_ENDED);
    fake_hv.guests[FAKE_OPEN].info.state = CONTROL_STATE_RUNNING; /* the last one */
    assert_false(leaves_within(2000));
    before = fake_hv.requests;
    assert_false(leaves_within(20000));
    assert_in_range(fake_hv.requests - before, 30, 42);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_that_was_never_used_keeps_nobody),
        cmocka_unit_test_setup(it_stays_as_long_as_one_guest_has_not_ended, start),
        cmocka_unit_test_setup(one_look_is_not_enough, start),
        cmocka_unit_test_setup(it_waits_until_the_line_is_silent, start),
        cmocka_unit_test_setup(a_control_guest_alone_stays, start),
        cmocka_unit_test_setup(looking_costs_hv_two_requests_a_second, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
