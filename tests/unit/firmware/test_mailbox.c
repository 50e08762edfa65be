/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The mailbox protocol and each fault: psp-mailbox sections 2, 3 and 12. */
#include "fixture.h"

#include "mailbox.h"

#define BASE 0x10900u
#define CMDRESP (BASE + 32 * 4)
#define LO (BASE + 56 * 4)
#define HI (BASE + 57 * 4)
#define FEATURE (BASE + 63 * 4)
#define INT_ENABLE 0x10690u
#define INT_STATUS 0x10694u
#define RESP 0x80000000u
#define LATENCY 1000u
#define NO_ANSWER 0xFFFFu

static struct mailbox_event events[32];
static unsigned event_count;
static int irq_level, irq_changes;

static void on_trace(void *opaque, const struct mailbox_event *event)
{
    (void)opaque;
    assert_true(event_count < 32);
    events[event_count++] = *event;
}

static void on_irq(void *opaque, bool level)
{
    (void)opaque;
    irq_level = level;
    irq_changes++;
}

static struct mailbox_config config_of(struct machine *m)
{
    event_count = 0;
    irq_level = irq_changes = 0;
    return (struct mailbox_config){.c2pmsg_base = BASE,
                                   .int_enable = INT_ENABLE,
                                   .int_status = INT_STATUS,
                                   .latency_ns = LATENCY,
                                   .trace = on_trace,
                                   .raise_irq = on_irq,
                                   .opaque = m};
}

static struct mailbox *new_mailbox(struct machine *m)
{
    struct mailbox_config config = config_of(m);
    struct mailbox *mb = mailbox_new(&config, m->fw);

    assert_non_null(mb);
    return mb;
}

static void submit(struct mailbox *mb, uint32_t id, uint64_t spa, uint32_t ioc, uint64_t now)
{
    mailbox_write(mb, LO, (uint32_t)spa, now);
    mailbox_write(mb, HI, (uint32_t)(spa >> 32), now);
    mailbox_write(mb, CMDRESP, id << 16 | ioc, now);
}

static void fault(struct mailbox *mb, const char *text)
{
    struct mailbox_fault parsed;

    assert_true(mailbox_parse_fault(text, &parsed));
    mailbox_set_fault(mb, &parsed);
}

/* Submits, lets the latency pass, returns the status that the host reads. */
static uint16_t ring(struct mailbox *mb, uint32_t id, uint64_t spa)
{
    submit(mb, id, spa, 0, 0);
    assert_int_equal(mailbox_run(mb, LATENCY), UINT64_MAX);
    assert_int_equal(mailbox_read(mb, CMDRESP) & RESP, RESP);
    return (uint16_t)mailbox_read(mb, CMDRESP);
}

static void resp_clears_at_once_and_returns_after_the_latency(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);
    uint8_t seen[2] = {0};

    assert_int_equal(mailbox_read(mb, CMDRESP), RESP); /* ready */
    assert_int_equal(mailbox_run(mb, 5), UINT64_MAX);
    submit(mb, SEVFW_CMD_PLATFORM_STATUS, AT_COMMAND | C_BIT, 0, 100);
    assert_int_equal(mailbox_read(mb, CMDRESP) & RESP, 0);
    assert_int_equal(mailbox_run(mb, 100), 100 + LATENCY);
    assert_int_equal(mailbox_run(mb, 100 + LATENCY - 1), 100 + LATENCY);
    assert_int_equal(mailbox_read(mb, CMDRESP) & RESP, 0);
    assert_int_equal(event_count, 0);
    assert_int_equal(mailbox_run(mb, 100 + LATENCY), UINT64_MAX);
    assert_int_equal(mailbox_read(mb, CMDRESP), RESP | SEVFW_SUCCESS);
    ram_get(m, AT_COMMAND | C_BIT, seen, 2);
    assert_int_equal(seen[0], API_MAJOR_); /* both halves of the address arrived */
    assert_int_equal(seen[1], API_MINOR_);
    assert_int_equal(mailbox_read(mb, LO), AT_COMMAND); /* untouched after success */
    assert_int_equal(event_count, 1);
    assert_int_equal(events[0].sequence, 1);
    assert_int_equal(events[0].command, SEVFW_CMD_PLATFORM_STATUS);
    assert_int_equal(events[0].spa, AT_COMMAND | C_BIT);
    assert_null(events[0].fault);
    mailbox_free(mb);
}

static void status_is_told_and_address_registers_are_not_kept_after_errors(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);

    assert_int_equal(ring(mb, SEVFW_CMD_DF_FLUSH, 0x1234), SEVFW_INVALID_PLATFORM_STATE);
    assert_int_not_equal(mailbox_read(mb, LO), 0x1234);
    assert_int_equal(ring(mb, 0x7FF, 0), SEVFW_INVALID_COMMAND);
    assert_int_equal(ring(mb, 0, 0), SEVFW_INVALID_COMMAND);
    assert_int_equal(events[0].status, SEVFW_INVALID_PLATFORM_STATE);
    assert_int_equal(events[0].true_status, SEVFW_INVALID_PLATFORM_STATE);
    mailbox_free(mb);
}

static void second_command_while_busy_is_ignored_and_traced(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);
    uint8_t seen = 0xEE;

    ram_fill(m, AT_COMMAND, 0xEE, 16);
    submit(mb, SEVFW_CMD_PLATFORM_STATUS, AT_COMMAND, 0, 0);
    submit(mb, SEVFW_CMD_INIT, AT_OUT, 0, 10);
    assert_int_equal(event_count, 1);
    assert_string_equal(events[0].fault, "busy");
    assert_int_equal(events[0].command, SEVFW_CMD_INIT);
    mailbox_run(mb, LATENCY);
    assert_int_equal(events[1].command, SEVFW_CMD_PLATFORM_STATUS); /* the first one ran, at its own address */
    assert_int_equal(events[1].spa, AT_COMMAND);
    ram_get(m, AT_COMMAND, &seen, 1);
    assert_int_equal(seen, API_MAJOR_);
    assert_int_equal(m->fw->state, SEVFW_PLATFORM_UNINIT);
    mailbox_free(mb);
}

static void interrupt_needs_ioc_and_enable_and_stays_until_acknowledged(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);

    submit(mb, SEVFW_CMD_NOP, 0, 1, 0); /* IOC, not enabled */
    mailbox_run(mb, LATENCY);
    assert_int_equal(irq_level, 0);
    assert_int_equal(mailbox_read(mb, INT_STATUS), 0);
    mailbox_write(mb, INT_STATUS, 0xFFFFFFFF, 0);
    mailbox_write(mb, INT_ENABLE, 0xFFFFFFFF, 0);
    submit(mb, SEVFW_CMD_NOP, 0, 0, 0); /* enabled, no IOC */
    mailbox_run(mb, LATENCY);
    assert_int_equal(irq_level, 0);
    submit(mb, SEVFW_CMD_NOP, 0, 1, 0);
    assert_int_equal(mailbox_read(mb, CMDRESP), SEVFW_CMD_NOP << 16 | 1);
    assert_int_equal(irq_level, 0);
    mailbox_run(mb, LATENCY);
    assert_int_equal(irq_level, 1);
    assert_int_equal(mailbox_read(mb, INT_STATUS), 2);
    mailbox_write(mb, INT_STATUS, 1, 0); /* another bit */
    assert_int_equal(irq_level, 1);
    mailbox_write(mb, INT_ENABLE, 0, 0); /* masked */
    assert_int_equal(irq_level, 0);
    mailbox_write(mb, INT_ENABLE, 2, 0);
    assert_int_equal(irq_level, 1);
    mailbox_write(mb, INT_STATUS, 2, 0);
    assert_int_equal(irq_level, 0);
    assert_int_equal(mailbox_read(mb, INT_STATUS), 0);
    submit(mb, SEVFW_CMD_NOP, 0, 1, 0);
    mailbox_run(mb, LATENCY);
    mailbox_reset(mb);
    assert_int_equal(irq_level, 0);
    assert_int_equal(irq_changes, 6);
    mailbox_free(mb);
}

static void hang_never_completes_until_reset(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);

    fault(mb, "hang:INIT");
    submit(mb, SEVFW_CMD_INIT, AT_COMMAND, 0, 0);
    assert_int_equal(mailbox_run(mb, UINT64_MAX - 1), UINT64_MAX);
    assert_int_equal(mailbox_read(mb, CMDRESP) & RESP, 0);
    assert_string_equal(events[0].fault, "hang");
    assert_int_equal(m->fw->state, SEVFW_PLATFORM_UNINIT); /* not executed */
    submit(mb, SEVFW_CMD_NOP, 0, 0, 0);
    assert_string_equal(events[1].fault, "busy");
    mailbox_reset(mb);
    fault(mb, "none");
    assert_int_equal(ring(mb, SEVFW_CMD_NOP, 0), SEVFW_SUCCESS);
    mailbox_free(mb);
}

static void status_fault_does_not_execute_and_late_one_does(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);

    ram_fill(m, AT_COMMAND, 0, 0x14);
    fault(mb, "status:INIT:HWERROR_UNSAFE");
    assert_int_equal(ring(mb, SEVFW_CMD_INIT, AT_COMMAND), SEVFW_HWERROR_UNSAFE);
    assert_int_equal(m->fw->state, SEVFW_PLATFORM_UNINIT);
    assert_string_equal(events[0].fault, "status");
    fault(mb, "late:INIT:0x18");
    assert_int_equal(ring(mb, SEVFW_CMD_INIT, AT_COMMAND), SEVFW_SECURE_DATA_INVALID);
    assert_int_equal(m->fw->state, SEVFW_PLATFORM_INIT);
    assert_int_equal(events[1].status, SEVFW_SECURE_DATA_INVALID);
    assert_int_equal(events[1].true_status, SEVFW_SUCCESS);
    mailbox_free(mb);
}

/* Replacing the fault while a command runs must not turn its answer into SUCCESS. */
static void fault_that_a_command_met_stays_with_it(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);

    fault(mb, "status:NOP:UNSUPPORTED");
    submit(mb, SEVFW_CMD_NOP, 0, 0, 0);
    fault(mb, "none");
    mailbox_run(mb, LATENCY);
    assert_int_equal(mailbox_read(mb, CMDRESP), RESP | SEVFW_UNSUPPORTED);
    mailbox_free(mb);
}

static void slow_fault_adds_its_delay(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);

    fault(mb, "slow:any:5us");
    submit(mb, SEVFW_CMD_NOP, 0, 0, 7);
    assert_int_equal(mailbox_run(mb, 7), 7 + LATENCY + 5000);
    assert_int_equal(mailbox_run(mb, 7 + LATENCY + 5000), UINT64_MAX);
    assert_int_equal(mailbox_read(mb, CMDRESP), RESP);
    assert_string_equal(events[0].fault, "slow");
    mailbox_free(mb);
}

static void corrupt_fault_overwrites_every_output(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);
    uint8_t buf[0x1C] = {0}, seen[6252];

    bring_up(m);
    fault(mb, "corrupt:PDH_CERT_EXPORT");
    set64(buf, 0x00, AT_OUT);
    set32(buf, 0x08, 2084);
    set64(buf, 0x10, AT_CHAIN);
    set32(buf, 0x18, 6252);
    ram_put(m, AT_COMMAND, buf, sizeof(buf));
    assert_int_equal(ring(mb, SEVFW_CMD_PDH_CERT_EXPORT, AT_COMMAND), SEVFW_SUCCESS);
    ram_get(m, AT_OUT, seen, 2084);
    for (size_t i = 0; i < 2084; i++) {
        assert_int_equal(seen[i], 0xA5);
    }
    ram_get(m, AT_CHAIN, seen, 6252);
    for (size_t i = 0; i < 6252; i++) {
        assert_int_equal(seen[i], 0xA5);
    }
    ram_get(m, AT_COMMAND, seen, 0x20);
    assert_memory_equal(seen, buf, 8);        /* inputs stay */
    assert_int_equal(seen[8], 0xA5);          /* lengths do not */
    assert_int_equal(seen[0x1B], 0xA5);
    assert_int_not_equal(seen[0x1C], 0xA5);   /* nothing behind the buffer */
    ram_get(m, AT_CHAIN + 6252, seen, 1);
    assert_int_not_equal(seen[0], 0xA5);
    mailbox_free(mb);
}

static void reset_fault_leaves_zero_registers_and_a_usable_uninit_firmware(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);

    bring_up(m);
    (void)guest_in(m, SEVFW_GUEST_RUNNING, MIN_ASID);
    fault(mb, "reset:NOP:count=1");
    submit(mb, SEVFW_CMD_NOP, 0x42, 0, 0);
    assert_int_equal(mailbox_run(mb, LATENCY), UINT64_MAX);
    assert_int_equal(mailbox_read(mb, CMDRESP), 0);
    assert_int_equal(mailbox_read(mb, LO), 0);
    assert_false(m->installed[MIN_ASID]);
    assert_int_equal(m->fw->state, SEVFW_PLATFORM_UNINIT);
    assert_string_equal(events[0].fault, "reset");
    assert_int_equal(ring(mb, SEVFW_CMD_NOP, 0), SEVFW_SUCCESS);
    mailbox_free(mb);
}

static void faults_can_be_skipped_and_counted(void **state)
{
    struct machine *m = *state;
    struct mailbox *mb = new_mailbox(m);
    static const uint16_t expected[] = {0, 0, 0x15, 0x15, 0, 0};

    fault(mb, "status:NOP:0x15:skip=2:count=2");
    for (size_t i = 0; i < 6; i++) {
        assert_int_equal(ring(mb, SEVFW_CMD_DF_FLUSH, 0), SEVFW_INVALID_PLATFORM_STATE); /* others pass */
        assert_int_equal(ring(mb, SEVFW_CMD_NOP, 0), expected[i]);
    }
    mailbox_free(mb);
}

static void mailbox_that_is_never_ready_executes_nothing(void **state)
{
    struct machine *m = *state;
    struct mailbox_config config = config_of(m);
    struct mailbox *mb;

    config.never_ready = true;
    mb = mailbox_new(&config, m->fw);
    assert_int_equal(mailbox_read(mb, CMDRESP), 0);
    ram_fill(m, AT_COMMAND, 0, 0x14);
    submit(mb, SEVFW_CMD_INIT, AT_COMMAND, 0, 0);
    assert_int_equal(mailbox_run(mb, 1000000000), UINT64_MAX);
    assert_int_equal(mailbox_read(mb, CMDRESP) & RESP, 0);
    assert_int_equal(m->fw->state, SEVFW_PLATFORM_UNINIT);
    mailbox_free(mb);
}

static void other_sockets_mailbox_has_no_sev(void **state)
{
    struct machine *m = *state;
    struct mailbox_config config = config_of(m);
    struct mailbox *mb = mailbox_new(&config, m->fw);

    assert_int_equal(mailbox_read(mb, FEATURE) & 1, 1);
    assert_int_equal(mailbox_read(mb, BASE), 0); /* unknown registers read 0 */
    assert_int_equal(mailbox_read(mb, 0), 0);
    assert_int_equal(mailbox_read(mb, 0xFFFFFFFC), 0);
    mailbox_free(mb);
    config.no_sev = true;
    mb = mailbox_new(&config, m->fw);
    assert_int_equal(mailbox_read(mb, FEATURE) & 1, 0);
    submit(mb, SEVFW_CMD_INIT, AT_COMMAND, 0, 0);
    mailbox_run(mb, LATENCY);
    assert_int_equal(m->fw->state, SEVFW_PLATFORM_UNINIT);
    mailbox_free(mb);
}

static void fault_texts_are_understood_or_refused_whole(void **state)
{
    static const struct {
        const char *text;
        struct mailbox_fault is;
    } good[] = {
        {"none", {.kind = MAILBOX_FAULT_NONE}},
        {"hang:LAUNCH_START", {.kind = MAILBOX_FAULT_HANG, .command = 0x30}},
        {"status:0x30:0x0b:skip=1:count=1",
         {.kind = MAILBOX_FAULT_STATUS, .command = 0x30, .status = 0x0B, .skip = 1, .count = 1}},
        {"late:48:BAD_MEASUREMENT", {.kind = MAILBOX_FAULT_STATUS_LATE, .command = 0x30, .status = 0x0B}},
        {"slow:any:500ms", {.kind = MAILBOX_FAULT_SLOW, .delay_ns = 500000000}},
        {"slow:any:2s:count=3", {.kind = MAILBOX_FAULT_SLOW, .delay_ns = 2000000000, .count = 3}},
        {"corrupt:PLATFORM_STATUS", {.kind = MAILBOX_FAULT_CORRUPT, .command = 4}},
        {"reset:INIT", {.kind = MAILBOX_FAULT_RESET, .command = 1}},
    };
    static const char *const bad[] = {
        "",
        ":",
        "hang",
        "hang:",
        "hang:NO_SUCH",
        "hang:INIT:",
        "hang:INIT:5",
        "status:INIT",
        "status:INIT:",
        "status:INIT:NO_SUCH",
        "status:INIT:0x10000",
        "slow:INIT",
        "slow:INIT:5",
        "slow:INIT:ms",
        "slow:INIT:5h",
        "slow:INIT:-5ms",
        "slow:INIT:99999999999999999999s",
        "hang:INIT:skip=",
        "hang:INIT:skip=-1",
        "hang:INIT:count=4294967296",
        "hang:INIT:many=1",
        "explode:INIT",
        "none:INIT",
        "hang:0x1g",
        "hang:-1",
    };
    struct mailbox_fault got, before;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        memset(&got, 0x77, sizeof(got));
        assert_true(mailbox_parse_fault(good[i].text, &got));
        assert_int_equal(got.kind, good[i].is.kind);
        assert_int_equal(got.command, good[i].is.command);
        assert_int_equal(got.status, good[i].is.status);
        assert_int_equal(got.skip, good[i].is.skip);
        assert_int_equal(got.count, good[i].is.count);
        assert_int_equal(got.delay_ns, good[i].is.delay_ns);
    }
    memset(&got, 0x77, sizeof(got));
    before = got;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (mailbox_parse_fault(bad[i], &got)) {
            fail_msg("\"%s\" should not have been understood", bad[i]);
        }
        assert_memory_equal(&got, &before, sizeof(got));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(resp_clears_at_once_and_returns_after_the_latency),
        TEST(status_is_told_and_address_registers_are_not_kept_after_errors),
        TEST(second_command_while_busy_is_ignored_and_traced),
        TEST(interrupt_needs_ioc_and_enable_and_stays_until_acknowledged),
        TEST(hang_never_completes_until_reset),
        TEST(status_fault_does_not_execute_and_late_one_does),
        TEST(fault_that_a_command_met_stays_with_it),
        TEST(slow_fault_adds_its_delay),
        TEST(corrupt_fault_overwrites_every_output),
        TEST(reset_fault_leaves_zero_registers_and_a_usable_uninit_firmware),
        TEST(faults_can_be_skipped_and_counted),
        TEST(mailbox_that_is_never_ready_executes_nothing),
        TEST(other_sockets_mailbox_has_no_sev),
        cmocka_unit_test(fault_texts_are_understood_or_refused_whole),
    };

    return cmocka_run_group_tests_name("firmware mailbox", tests, NULL, NULL);
}
