/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What becomes of guests when the secure processor refuses, lies, or falls silent, at every command. */
#include "with_cmocka.h"

#include <string.h>

#include "hv/control/sev.h"
#include "../psp/status_name.h"
#include "three_guests.h"

static void fault(enum mailbox_fault_kind kind, uint8_t command, uint32_t count, uint16_t status)
{
    struct mailbox_fault f = {.kind = kind, .command = command, .count = count, .status = status};
    mailbox_set_fault(machine.mailbox, &f);
}

static const uint8_t launch_commands[] = {
    SEV_CMD_LAUNCH_START, SEV_CMD_ACTIVATE, SEV_CMD_LAUNCH_UPDATE_DATA, SEV_CMD_LAUNCH_MEASURE, SEV_CMD_LAUNCH_FINISH,
};
static const uint8_t end_commands[] = {SEV_CMD_DEACTIVATE, SEV_CMD_DF_FLUSH, SEV_CMD_DECOMMISSION};

/* Every status, before and after execution, on every launch command. */
static void every_status_on_every_launch_command_returns_all(void **state)
{
    (void)state;
    for (unsigned c = 0; c < sizeof(launch_commands); c++) {
        for (uint16_t status = 1; status <= 0x28; status++) {
            for (unsigned late = 0; late < 2; late++) {
                boot((struct machine_options){0});
                platform_pages();
                struct free_now before = free_now();
                fault(late ? MAILBOX_FAULT_STATUS_LATE : MAILBOX_FAULT_STATUS, launch_commands[c], 1, status);
                launch();
                assert_int_equal(guests[SEV].state, GUEST_REFUSED);
                assert_non_null(strstr(guests[SEV].end_reason, status_name(status)));
                assert_non_null(strstr(guests[SEV].end_reason, sev_command_name(launch_commands[c])));
                assert_int_equal(guests[NONE].state, GUEST_RUNNING);
                assert_int_equal(guests[HOST].state, GUEST_RUNNING);
                finish(GUEST_END_POWEROFF);
                all_is_back();
                assert_false(machine_said("quarantine"));
                struct free_now after = free_now();
                assert_true(after.asids == before.asids && after.extent == before.extent &&
                            after.pool == before.pool - POOL_KEPT);
                assert_true(machine_scrubbed());
                if (!late || launch_commands[c] != SEV_CMD_LAUNCH_START)    /* whose handle was never told */
                    assert_int_equal(machine.contexts, 0);
            }
        }
    }
}

static void a_refused_launch_does_not_hinder_the_next(void **state)
{
    (void)state;
    for (unsigned c = 0; c < sizeof(launch_commands); c++) {
        manifest_of_three();
        good.guests[HOST] = good.guests[SEV];       /* a second encrypted guest */
        strcpy(good.guests[HOST].name, "delta");
        good.guests[HOST].first_step = 6;
        good.guests[HOST].step_count = 3;
        good_seal(&good);
        boot((struct machine_options){.sev_asids = 1});
        fault(MAILBOX_FAULT_STATUS, launch_commands[c], 1, SEV_STATUS_RESOURCE_LIMIT);
        launch();
        assert_int_equal(guests[SEV].state, GUEST_REFUSED);
        assert_int_equal(guests[HOST].state, GUEST_RUNNING);
        finish(GUEST_END_POWEROFF);
        all_is_back();
    }
}

static void a_status_at_the_end_of_life_is_tried_again(void **state)
{
    (void)state;
    for (unsigned c = 0; c < sizeof(end_commands); c++) {
        for (uint16_t status = 1; status <= 0x28; status++) {
            boot((struct machine_options){0});
            launch();
            fault(MAILBOX_FAULT_STATUS, end_commands[c], 1, status);
            finish(GUEST_END_POWEROFF);
            all_is_back();
            assert_false(machine_said("quarantine"));
            assert_true(machine_scrubbed());
            /* Also where DEACTIVATE said that the guest is not active, and DECOMMISSION then that it is. */
            assert_int_equal(machine.contexts, 0);
        }
    }
}

/* ACTIVATE was executed, though it said something else: the firmware holds the guest until it is deactivated after all. */
static void an_activation_that_was_refused_in_words_only_is_undone(void **state)
{
    (void)state;
    boot((struct machine_options){0});
    fault(MAILBOX_FAULT_STATUS_LATE, SEV_CMD_ACTIVATE, 1, SEV_STATUS_RESOURCE_LIMIT);
    launch();
    assert_non_null(strstr(machine.commands, "ACTIVATE DECOMMISSION DEACTIVATE DF_FLUSH DECOMMISSION "));
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    assert_int_equal(machine.contexts, 0);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void an_asid_that_cannot_be_freed_is_in_quarantine(void **state)
{
    (void)state;
    for (unsigned c = 0; c < 3; c++) {
        boot((struct machine_options){0});
        platform_pages();
        struct free_now before = free_now();
        launch();
        fault(MAILBOX_FAULT_STATUS, end_commands[c], 0, c < 2 ? SEV_STATUS_HWERROR_PLATFORM : SEV_STATUS_ACTIVE);
        finish(GUEST_END_POWEROFF);
        all_is_back();
        assert_true(machine_said("error: alpha: "));
        assert_true(machine_said(sev_command_name(end_commands[c])));
        assert_true(machine_said("all returned but a quarantine of 1 ASIDs, 0 MiB\n"));
        assert_int_equal(free_now().asids, before.asids - 1);
        assert_int_equal(free_now().extent, before.extent);
    }
}

static void a_hang_at_each_command_spares_the_plain_guests(void **state)
{
    (void)state;
    for (unsigned c = 0; c < sizeof(launch_commands); c++) {
        boot((struct machine_options){0});
        platform_pages();
        struct free_now before = free_now();
        fault(MAILBOX_FAULT_HANG, launch_commands[c], 0, 0);
        launch();
        assert_int_equal(guests[SEV].state, GUEST_REFUSED);
        assert_false(sev_ready());
        assert_int_equal(guests[NONE].state, GUEST_RUNNING);
        assert_int_equal(guests[HOST].state, GUEST_RUNNING);
        finish(GUEST_END_POWEROFF);
        all_is_back();
        struct free_now after = free_now();
        bool asid_lost = launch_commands[c] != SEV_CMD_LAUNCH_START;
        bool memory_lost = launch_commands[c] == SEV_CMD_LAUNCH_UPDATE_DATA;
        assert_int_equal(after.asids, before.asids - asid_lost);
        assert_int_equal(after.extent, before.extent - (memory_lost ? GUEST_MEMORY : 0));
        assert_int_equal(machine_said("stay in quarantine"), memory_lost);
        assert_int_equal(machine_said("stays in quarantine"), asid_lost);
    }
}

static void a_processor_that_dies_later_refuses_the_next_launch_at_once(void **state)
{
    (void)state;
    good.guests[SEV].on_reboot = MANIFEST_ACTION_RESTART;
    good.guests[SEV].restarts = 1;
    good_seal(&good);
    machine_manifest(&good, sizeof(good));
    launch();
    fault(MAILBOX_FAULT_HANG, SEV_CMD_DEACTIVATE, 0, 0);
    guest_end(&guests[SEV], GUEST_END_RESET, "reset");
    settle();
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    assert_non_null(strstr(guests[SEV].end_reason, "an earlier command failed"));
    finish(GUEST_END_POWEROFF);
    all_is_back();
    assert_true(machine_said("quarantine of 1 ASIDs, 0 MiB"));
    sev_stop();
    settle();
}

static void a_corrupt_answer_refuses_the_guest(void **state)
{
    (void)state;
    for (unsigned c = 0; c < sizeof(launch_commands); c++) {
        boot((struct machine_options){0});
        fault(MAILBOX_FAULT_CORRUPT, launch_commands[c], 1, 0);
        launch();
        if (launch_commands[c] == SEV_CMD_LAUNCH_START || launch_commands[c] == SEV_CMD_LAUNCH_MEASURE)
            assert_int_equal(guests[SEV].state, GUEST_REFUSED);
        finish(GUEST_END_POWEROFF);
        all_is_back();
    }
}

static void init_failures_refuse_with_the_status_and_remedy(void **state)
{
    (void)state;
    static const uint8_t commands[] = {SEV_CMD_PLATFORM_STATUS, SEV_CMD_INIT, SEV_CMD_DF_FLUSH};
    for (unsigned c = 0; c < sizeof(commands); c++) {
        for (unsigned hang = 0; hang < 2; hang++) {
            boot((struct machine_options){0});
            fault(hang ? MAILBOX_FAULT_HANG : MAILBOX_FAULT_STATUS, commands[c], 0, SEV_STATUS_HWERROR_PLATFORM);
            launch();
            assert_int_equal(guests[SEV].state, GUEST_REFUSED);
            if (!hang)
                assert_non_null(strstr(guests[SEV].end_reason, "HWERROR_PLATFORM"));
            assert_int_equal(guests[NONE].state, GUEST_RUNNING);
            finish(GUEST_END_POWEROFF);
            all_is_back();
            sev_stop();
            settle();
        }
    }
}

/* Encrypted guests take their memory before INIT has answered, so that it is filled meanwhile. */
static void memory_of_guests_that_a_failed_init_refuses_goes_to_one_that_waits_for_it(void **state)
{
    (void)state;
    good.guests[NONE].memory = UINT64_C(10) << 20; /* with the encrypted one's: all that there is */
    good_seal(&good);
    boot((struct machine_options){0});
    fault(MAILBOX_FAULT_STATUS, SEV_CMD_INIT, 0, SEV_STATUS_HWERROR_PLATFORM);
    launch();
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    assert_int_equal(guests[NONE].state, GUEST_RUNNING);
    assert_int_equal(guests[HOST].state, GUEST_RUNNING);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(every_status_on_every_launch_command_returns_all),
        T(a_refused_launch_does_not_hinder_the_next),
        T(a_status_at_the_end_of_life_is_tried_again),
        T(an_activation_that_was_refused_in_words_only_is_undone),
        T(an_asid_that_cannot_be_freed_is_in_quarantine),
        T(a_hang_at_each_command_spares_the_plain_guests),
        T(a_processor_that_dies_later_refuses_the_next_launch_at_once),
        T(a_corrupt_answer_refuses_the_guest),
        T(init_failures_refuse_with_the_status_and_remedy),
        T(memory_of_guests_that_a_failed_init_refuses_goes_to_one_that_waits_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
