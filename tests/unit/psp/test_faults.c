/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Refusals, silence, slowness, resets and lies of the firmware. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include "../cmocka_names.h"

#include "launch.h"
#include "status_name.h"

#define SECOND UINT64_C(1000000)        /* in microseconds */
#define FIRST_TIMEOUT (5 * SECOND)

static struct launch l;

static void start(struct fake_options options)
{
    fake_start(&options);
}

static void stop(void)
{
    assert_int_equal(fake.violations, 0);
    assert_int_equal(fake_pci.violations, 0);
    psp_detach(&l.psp);
    assert_int_equal(fake_pci.mapped, 0);
    fake_stop();
}

/* Every status that a document names, the hole among them, and some that none does. */
static const uint16_t odd_statuses[] = {0x1e, 0x28, 0xff, 0x100, 0x8003, 0x8004, 0x9000, 0xffff};
#define NAMED_STATUSES 0x27u
#define STATUSES (NAMED_STATUSES + sizeof(odd_statuses) / sizeof(*odd_statuses))

static uint16_t status_number(unsigned i)
{
    return i < NAMED_STATUSES ? (uint16_t)(i + 1) : odd_statuses[i - NAMED_STATUSES];
}

static void assert_refused(struct psp_result r, uint8_t command, uint16_t status)
{
    char text[200], want[64];

    if (r.error != PSP_FIRMWARE || r.status != status || r.command != command)
        fail_msg("%s with status %#x became error %d of %s, status %#x", sev_command_name(command), status, r.error,
                 sev_command_name(r.command), r.status);
    psp_result_text(r, text, sizeof(text));
    snprintf(want, sizeof(want), status > 0xff ? "%s: %s (0x%04x): " : "%s: %s (0x%02x): ", sev_command_name(command),
             status_name(status), status);
    assert_memory_equal(text, want, strlen(want));
}

/* Each failure is told with the mailbox as it was: the model, as real firmware may, leaves a note in the address cells. */
static void assert_registers_told(uint16_t status)
{
    char want[160];

    snprintf(want, sizeof(want),
             "registers: command 0x8000%04x, buffer low 0xbad0%04x high 0x%08x, boot loader 0x00000000, "
             "feature 0x00000581",
             status, status, fake.command);
    assert_string_equal(fake.last_line, want);
}

static void every_status_of_every_guest_command_is_reported_and_the_next_guest_starts(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    for (unsigned i = 0; i < STATUSES; i++) {
        for (unsigned c = 0; c < launch_command_count; c++) {
            fake_fault(MAILBOX_FAULT_STATUS, launch_commands[c], 1, status_number(i), 0);
            assert_refused(launch_run(&l), launch_commands[c], status_number(i));
            assert_registers_told(status_number(i));
            fake_no_fault();
            launch_clean(&l);
            assert_int_equal(launch_run(&l).error, PSP_OK);
        }
    }
    assert_false(l.psp.dead);
    stop();
}

static void every_status_of_init_and_shutdown_is_reported_and_they_work_afterwards(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_attach(&l);
    for (unsigned i = 0; i < STATUSES; i++) {
        uint16_t status = status_number(i);

        fake_fault(MAILBOX_FAULT_STATUS, SEV_CMD_INIT, 1, status, 0);
        assert_refused(launch_init(&l), SEV_CMD_INIT, status);
        assert_registers_told(status);
        assert_int_equal(l.psp.status.state, SEV_PLATFORM_UNINIT);
        assert_int_equal(launch_init(&l).error, PSP_OK);

        fake_fault(MAILBOX_FAULT_STATUS, SEV_CMD_SHUTDOWN, 1, status, 0);
        assert_refused(launch_step(&l, SEV_CMD_SHUTDOWN), SEV_CMD_SHUTDOWN, status);
        assert_int_equal(l.psp.status.state, SEV_PLATFORM_INIT);
        assert_int_equal(launch_step(&l, SEV_CMD_SHUTDOWN).error, PSP_OK);
    }
    stop();
}

static void status_after_execution_leaves_the_driver_usable(void **state)
{
    (void)state;
    start((struct fake_options){.max_guests = 2});
    launch_up(&l);
    for (unsigned c = 0; c < launch_command_count; c++) {
        if (launch_commands[c] == SEV_CMD_LAUNCH_START)
            continue; /* its handle is lost with it, by design */
        fake_fault(MAILBOX_FAULT_STATUS_LATE, launch_commands[c], 1, SEV_STATUS_HWERROR_PLATFORM, 0);
        assert_refused(launch_run(&l), launch_commands[c], SEV_STATUS_HWERROR_PLATFORM);
        fake_no_fault();
        psp_wait(&l.psp, sev_command(&l.psp, SEV_CMD_DEACTIVATE, l.handle));
        psp_wait(&l.psp, sev_command(&l.psp, SEV_CMD_DECOMMISSION, l.handle));
        l.active = l.started = false;
        launch_clean(&l);
        assert_int_equal(launch_run(&l).error, PSP_OK);
    }
    stop();
}

/* Everything says PSP_DEAD, at once, and no register is touched. */
static void assert_dead(void)
{
    static const uint8_t more[] = {SEV_CMD_INIT, SEV_CMD_SHUTDOWN};
    unsigned accesses = fake_pci.register_accesses;
    uint64_t now_ns = fake.now_ns;

    assert_true(l.psp.dead);
    for (unsigned c = 0; c < launch_command_count; c++)
        assert_int_equal(launch_step(&l, launch_commands[c]).error, PSP_DEAD);
    for (unsigned c = 0; c < sizeof(more); c++)
        assert_int_equal(launch_step(&l, more[c]).error, PSP_DEAD);
    assert_int_equal(fake_pci.register_accesses, accesses);
    assert_int_equal(fake.now_ns, now_ns);
}

static void hang_of_any_command_is_a_timeout_and_then_dead(void **state)
{
    (void)state;
    for (unsigned c = 0; c < launch_command_count; c++) {
        uint8_t command = launch_commands[c];

        start((struct fake_options){.latency_us = 100});
        launch_up(&l);
        fake_fault(MAILBOX_FAULT_HANG, command, 1, 0, 0);
        uint64_t before = psp_platform_now_us();
        struct psp_result r = launch_run(&l);
        uint64_t waited = psp_platform_now_us() - before, limit = psp_command_row(command)->timeout_s * SECOND;

        assert_int_equal(r.error, PSP_TIMEOUT);
        assert_int_equal(r.command, command);
        assert_in_range(waited, limit, limit + SECOND / 2);
        assert_int_equal(fake.lines, 2);
        assert_non_null(strstr(fake.line_before, sev_command_name(command)));
        assert_non_null(strstr(fake.last_line, "registers: command 0x00"));
        fake_no_fault();
        assert_dead();
        stop();
    }
}

/* An SMI, a debugger, a host that stopped its emulator: the firmware has stood still, too, and has not answered yet. */
static void stall_of_the_machine_is_no_timeout(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    fake.stall_us = 100 * SECOND;
    fake_fault(MAILBOX_FAULT_SLOW, SEV_CMD_PLATFORM_STATUS, 1, 0, 103 * SECOND);
    uint64_t before = psp_platform_now_us();
    assert_true(psp_ok(launch_step(&l, SEV_CMD_PLATFORM_STATUS)));
    assert_true(psp_platform_now_us() - before >= 103 * SECOND);
    fake_no_fault();
    stop();
}

static void hang_of_init_or_shutdown_waits_100_seconds(void **state)
{
    static const uint8_t commands[] = {SEV_CMD_INIT, SEV_CMD_SHUTDOWN};

    (void)state;
    for (unsigned c = 0; c < 2; c++) {
        start((struct fake_options){0});
        launch_attach(&l);
        fake_fault(MAILBOX_FAULT_HANG, commands[c], 1, 0, 0);
        uint64_t before = psp_platform_now_us();
        struct psp_result r = launch_step(&l, SEV_CMD_INIT);
        if (commands[c] == SEV_CMD_SHUTDOWN)
            r = launch_step(&l, SEV_CMD_SHUTDOWN);
        assert_int_equal(r.error, PSP_TIMEOUT);
        assert_int_equal(r.command, commands[c]);
        assert_in_range(psp_platform_now_us() - before, 100 * SECOND, 100 * SECOND + SECOND / 2);
        assert_dead();
        stop();
    }
}

static void hang_of_the_first_command_waits_5_seconds_and_unmaps(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_attach(&l); /* somebody used the mailbox before: it shows RESP */
    psp_detach(&l.psp);
    fake_fault(MAILBOX_FAULT_HANG, SEV_CMD_PLATFORM_STATUS, 1, 0, 0);
    uint64_t before = psp_platform_now_us();
    assert_int_equal(launch_try_to_attach(&l, &fake.location).error, PSP_TIMEOUT);
    assert_in_range(psp_platform_now_us() - before, FIRST_TIMEOUT, FIRST_TIMEOUT + SECOND / 2);
    assert_int_equal(fake_pci.mapped, 0);
    assert_dead();
    stop();
}

static void mailbox_that_never_becomes_ready_is_said_after_5_seconds(void **state)
{
    (void)state;
    start((struct fake_options){.never_ready = true});
    uint64_t before = psp_platform_now_us();
    assert_int_equal(launch_try_to_attach(&l, &fake.location).error, PSP_NOT_READY);
    assert_non_null(strstr(fake.last_line, "registers: command 0x00040000"));
    assert_in_range(psp_platform_now_us() - before, FIRST_TIMEOUT, FIRST_TIMEOUT + SECOND / 2);
    assert_int_equal(fake_pci.mapped, 0);
    stop();
}

/* A command that whoever had the device before has left running. */
static void leave_running(uint64_t delay_us)
{
    uint32_t base = psp_generation_of(fake.location.device_id)->c2pmsg;

    fake_fault(MAILBOX_FAULT_SLOW, SEV_CMD_PLATFORM_STATUS, 1, 0, delay_us);
    mailbox_write(fake.mailbox, base + PSP_C2PMSG_ADDR_LO, (uint32_t)(FAKE_RAM_BASE + 0x5000), fake.now_ns);
    mailbox_write(fake.mailbox, base + PSP_C2PMSG_ADDR_HI, (uint32_t)(FAKE_RAM_BASE >> 32), fake.now_ns);
    mailbox_write(fake.mailbox, base + PSP_C2PMSG_CMDRESP, SEV_CMD_PLATFORM_STATUS << 16, fake.now_ns);
}

static void command_left_running_is_waited_for(void **state)
{
    (void)state;
    start((struct fake_options){0});
    leave_running(3 * SECOND);
    uint64_t before = psp_platform_now_us();
    launch_attach(&l);
    assert_true(psp_platform_now_us() - before >= 3 * SECOND);
    stop();

    start((struct fake_options){0});
    leave_running(60 * SECOND);
    before = psp_platform_now_us();
    assert_int_equal(launch_try_to_attach(&l, &fake.location).error, PSP_NOT_READY);
    assert_int_equal(fake.submissions, 1);
    assert_in_range(psp_platform_now_us() - before, 2 * FIRST_TIMEOUT, 2 * FIRST_TIMEOUT + SECOND);
    assert_int_equal(fake_pci.mapped, 0);
    stop();
}

/* Then what comes as the answer to PLATFORM_STATUS is the earlier owner's: the command page stays the device's, which will
 * still write there. It must not be freed, nor be used for another command. */
static void answer_to_an_earlier_owner_leaves_the_device_dead(void **state)
{
    (void)state;
    for (unsigned status = 0; status < 2; status++) {
        start((struct fake_options){.latency_us = 3 * SECOND});
        fake.left_over = 0x00330000;
        fake.left_over_answer = PSP_CMDRESP_RESP | status * SEV_STATUS_INVALID_GUEST;
        assert_int_equal(launch_try_to_attach(&l, &fake.location).error, status ? PSP_FIRMWARE : PSP_ANSWER);
        assert_true(l.psp.dead);
        assert_int_equal(fake_pci.mapped, 0);
        stop();
    }
}

/* Without a command that was left, an answer is the device's own, and it is done with the page. */
static void refusal_of_the_first_command_does_not_leave_the_device_dead(void **state)
{
    (void)state;
    start((struct fake_options){0});
    fake_fault(MAILBOX_FAULT_STATUS, SEV_CMD_PLATFORM_STATUS, 1, SEV_STATUS_HWERROR_PLATFORM, 0);
    assert_int_equal(launch_try_to_attach(&l, &fake.location).error, PSP_FIRMWARE);
    assert_false(l.psp.dead);
    stop();
}

/* A command field that stands there without anybody working on it: PLATFORM_STATUS is tried all the same. */
static void command_field_left_over_does_not_keep_from_asking(void **state)
{
    (void)state;
    start((struct fake_options){0});
    fake.left_over = 0x00330000;
    launch_attach(&l);
    assert_int_equal(fake.submissions, 1);
    assert_int_equal(launch_init(&l).error, PSP_OK);
    stop();
}

/* Whoever had the device before finds its interrupts as they were. */
static void interrupts_are_off_while_attached_and_as_before_afterwards(void **state)
{
    const uint32_t enable = psp_generation_of(0x1486)->int_enable;

    (void)state;
    start((struct fake_options){0});
    mailbox_write(fake.mailbox, enable, 2, fake.now_ns);
    launch_attach(&l);
    assert_int_equal(mailbox_read(fake.mailbox, enable), 0);
    psp_detach(&l.psp);
    assert_int_equal(mailbox_read(fake.mailbox, enable), 2);
    stop();
}

static void slow_within_the_limit_is_fine_and_beyond_it_is_not(void **state)
{
    (void)state;
    for (unsigned c = 0; c < launch_command_count; c++) {
        uint64_t limit = psp_command_row(launch_commands[c])->timeout_s * SECOND;

        start((struct fake_options){0});
        launch_up(&l);
        fake_fault(MAILBOX_FAULT_SLOW, launch_commands[c], 1, 0, limit - SECOND / 10);
        assert_int_equal(launch_run(&l).error, PSP_OK);
        assert_true(l.psp.command_us >= limit - SECOND / 10);
        fake_fault(MAILBOX_FAULT_SLOW, launch_commands[c], 1, 0, limit + 2 * SECOND);
        struct psp_result r = launch_run(&l);
        assert_int_equal(r.error, PSP_TIMEOUT);
        assert_int_equal(r.command, launch_commands[c]);
        fake.now_ns += 100 * SECOND * 1000; /* the late answer comes, and revives nothing */
        mailbox_run(fake.mailbox, fake.now_ns);
        assert_dead();
        stop();
    }
}

static void reset_of_the_firmware_is_a_timeout_and_attaching_again_starts_over(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    fake_fault(MAILBOX_FAULT_RESET, SEV_CMD_LAUNCH_UPDATE_DATA, 1, 0, 0);
    struct psp_result r = launch_run(&l);
    assert_int_equal(r.error, PSP_TIMEOUT);
    assert_int_equal(r.command, SEV_CMD_LAUNCH_UPDATE_DATA);
    assert_dead();
    fake_no_fault();
    fake.running = false;
    psp_detach(&l.psp);

    launch_attach(&l);
    assert_int_equal(l.psp.status.state, SEV_PLATFORM_UNINIT);
    assert_int_equal(launch_init(&l).error, PSP_OK);
    assert_int_equal(launch_run(&l).error, PSP_OK);
    stop();
}

/* --- answers that contradict themselves --- */

static void no_version(uint8_t *page, uint8_t *data)
{
    (void)data;
    page[0] = page[1] = 0;
}

static void nothing_written(uint8_t *page, uint8_t *data)
{
    memset(page, 0, PSP_PAGE_SIZE);
    memset(data, 0, PSP_PAGE_SIZE);
}

static void platform_state_3(uint8_t *page, uint8_t *data)
{
    (void)data;
    page[2] = 3;
}

static void handle_0(uint8_t *page, uint8_t *data)
{
    (void)data;
    memset(page, 0, 4);
}

static void length_47_at_10(uint8_t *page, uint8_t *data)
{
    (void)data;
    page[0x10] = 47;
}

static void length_huge_at_10(uint8_t *page, uint8_t *data)
{
    (void)data;
    memset(page + 0x10, 0xff, 4);
}

static void length_0_at_8(uint8_t *page, uint8_t *data)
{
    (void)data;
    memset(page + 8, 0, 4);
}

static void length_huge_at_8(uint8_t *page, uint8_t *data)
{
    (void)data;
    memset(page + 8, 0xff, 4);
}

/* What `l` holds of answers is as it was before `command`. */
static void assert_answer_refused(uint8_t command)
{
    struct launch before = l;

    assert_int_equal(launch_step(&l, command).error, PSP_ANSWER);
    assert_int_equal(l.handle, before.handle);
    assert_memory_equal(&l.measurement, &before.measurement, sizeof(l.measurement));
    assert_memory_equal(&l.status, &before.status, sizeof(l.status));
    assert_memory_equal(l.id, before.id, sizeof(l.id));
    assert_int_equal(l.psp.status.api_major, before.psp.status.api_major);
    assert_int_equal(l.psp.status.api_minor, before.psp.status.api_minor);
    assert_int_equal(l.psp.status.guest_count, before.psp.status.guest_count);
    assert_true(l.psp.status.state <= SEV_PLATFORM_WORKING);
    assert_false(l.psp.dead);
}

/* A guest that is about to have `command`. */
static void guest_before(uint8_t command)
{
    start((struct fake_options){0});
    launch_up(&l);
    for (unsigned c = 0; c < launch_command_count && launch_commands[c] != command; c++)
        assert_int_equal(launch_step(&l, launch_commands[c]).error, PSP_OK);
    if (command != SEV_CMD_LAUNCH_START && command != SEV_CMD_PLATFORM_STATUS && command != SEV_CMD_GET_ID)
        return;
    l.handle = 0x5a5a5a5a;
    memset(l.id, 0x5a, sizeof(l.id));
}

static void contradictory_answers_are_refused_and_nothing_of_them_is_copied(void **state)
{
    static const struct {
        uint8_t command;
        void (*tamper)(uint8_t *page, uint8_t *data);
    } lies[] = {
        {SEV_CMD_PLATFORM_STATUS, no_version},       {SEV_CMD_PLATFORM_STATUS, nothing_written},
        {SEV_CMD_PLATFORM_STATUS, platform_state_3}, {SEV_CMD_GET_ID, length_0_at_8},
        {SEV_CMD_GET_ID, length_huge_at_8},          {SEV_CMD_LAUNCH_START, handle_0},
        {SEV_CMD_LAUNCH_MEASURE, length_47_at_10},   {SEV_CMD_LAUNCH_MEASURE, length_huge_at_10},
        {SEV_CMD_LAUNCH_MEASURE, nothing_written},
    };

    (void)state;
    for (unsigned i = 0; i < sizeof(lies) / sizeof(*lies); i++) {
        guest_before(lies[i].command);
        fake.tamper_command = lies[i].command;
        fake.tamper = lies[i].tamper;
        assert_answer_refused(lies[i].command);
        assert_null(fake.tamper);
        stop();
    }
}

static void overwritten_answers_are_refused(void **state)
{
    static const uint8_t commands[] = {
        SEV_CMD_PLATFORM_STATUS,
        SEV_CMD_GET_ID,
        SEV_CMD_LAUNCH_MEASURE,
    };

    (void)state;
    for (unsigned c = 0; c < sizeof(commands); c++) {
        guest_before(commands[c]);
        fake_fault(MAILBOX_FAULT_CORRUPT, commands[c], 1, 0, 0);
        assert_answer_refused(commands[c]);
        stop();
    }
}

static void attach_refuses_a_contradictory_status(void **state)
{
    (void)state;
    start((struct fake_options){0});
    fake.tamper_command = SEV_CMD_PLATFORM_STATUS;
    fake.tamper = platform_state_3;
    assert_int_equal(launch_try_to_attach(&l, &fake.location).error, PSP_ANSWER);
    assert_int_equal(fake_pci.mapped, 0);
    launch_up(&l);
    assert_int_equal(launch_run(&l).error, PSP_OK);
    stop();
}

static void inputs_are_not_read_back(void **state)
{
    uint32_t request[2] = {0, LAUNCH_ASID};

    (void)state;
    guest_before(SEV_CMD_ACTIVATE);
    request[0] = l.handle;
    fake.tamper_command = SEV_CMD_ACTIVATE;
    fake.tamper = nothing_written;
    assert_int_equal(psp_wait(&l.psp, psp_submit(&l.psp, SEV_CMD_ACTIVATE, request)).error, PSP_OK);
    assert_int_equal(request[0], l.handle);
    assert_int_equal(request[1], LAUNCH_ASID);
    stop();
}

static void status_counts_only_with_resp(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    fake.lie = FAKE_STATUS_WITHOUT_RESP;
    assert_int_equal(launch_step(&l, SEV_CMD_PLATFORM_STATUS).error, PSP_TIMEOUT);
    assert_dead();
    stop();
}

static void recovery_bit_and_left_over_command_do_not_disturb(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    fake.lie = FAKE_RECOVERY_BIT;
    assert_int_equal(launch_run(&l).error, PSP_OK);
    stop();
}

static void device_that_disappears_is_dead(void **state)
{
    (void)state;
    start((struct fake_options){0});
    launch_up(&l);
    fake.lie = FAKE_ALL_ONES;
    uint64_t before = psp_platform_now_us();
    assert_int_equal(launch_step(&l, SEV_CMD_PLATFORM_STATUS).error, PSP_TIMEOUT);
    assert_true(psp_platform_now_us() - before < SECOND); /* no need to wait for it */
    assert_dead();
    stop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_status_of_every_guest_command_is_reported_and_the_next_guest_starts),
        cmocka_unit_test(every_status_of_init_and_shutdown_is_reported_and_they_work_afterwards),
        cmocka_unit_test(status_after_execution_leaves_the_driver_usable),
        cmocka_unit_test(hang_of_any_command_is_a_timeout_and_then_dead),
        cmocka_unit_test(hang_of_init_or_shutdown_waits_100_seconds),
        cmocka_unit_test(stall_of_the_machine_is_no_timeout),
        cmocka_unit_test(hang_of_the_first_command_waits_5_seconds_and_unmaps),
        cmocka_unit_test(mailbox_that_never_becomes_ready_is_said_after_5_seconds),
        cmocka_unit_test(command_left_running_is_waited_for),
        cmocka_unit_test(command_field_left_over_does_not_keep_from_asking),
        cmocka_unit_test(answer_to_an_earlier_owner_leaves_the_device_dead),
        cmocka_unit_test(refusal_of_the_first_command_does_not_leave_the_device_dead),
        cmocka_unit_test(interrupts_are_off_while_attached_and_as_before_afterwards),
        cmocka_unit_test(slow_within_the_limit_is_fine_and_beyond_it_is_not),
        cmocka_unit_test(reset_of_the_firmware_is_a_timeout_and_attaching_again_starts_over),
        cmocka_unit_test(contradictory_answers_are_refused_and_nothing_of_them_is_copied),
        cmocka_unit_test(overwritten_answers_are_refused),
        cmocka_unit_test(attach_refuses_a_contradictory_status),
        cmocka_unit_test(inputs_are_not_read_back),
        cmocka_unit_test(status_counts_only_with_resp),
        cmocka_unit_test(recovery_bit_and_left_over_command_do_not_disturb),
        cmocka_unit_test(device_that_disappears_is_dead),
    };

    return cmocka_run_group_tests_name("psp faults", tests, NULL, NULL);
}
