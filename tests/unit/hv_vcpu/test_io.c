/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include <string.h>

#include "hv/vm/guest.h"
#include "rig.h"

enum { OUT = 0, IN = 1, STRING = 4, REP = 8 };

static uint64_t info(uint32_t port, uint32_t size, uint32_t flags)
{
    return (uint64_t)port << 16 | size << 4 | flags;
}

static uint64_t in(struct vcpu *vcpu, uint32_t port, uint32_t size)
{
    vcpu->vmcb->rax = UINT64_C(0x1122334455667788);
    assert_true(rig_exit(vcpu, VMEXIT_IOIO, info(port, size, IN), 0x1234));
    assert_int_equal(vcpu->vmcb->rip, 0x1234);      /* EXITINFO2 is the next RIP */
    return vcpu->vmcb->rax;
}

static void nothing_answers_with_all_ones_in_the_width_that_was_asked(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    assert_int_equal(in(vcpu, 0x1234, 1), UINT64_C(0x11223344556677ff));
    assert_int_equal(in(vcpu, 0x1234, 2), UINT64_C(0x112233445566ffff));
    assert_int_equal(in(vcpu, 0x1234, 4), UINT64_C(0xffffffff));        /* EAX clears the upper half */
    assert_int_equal(in(vcpu, 0xcfc, 4), UINT64_C(0xffffffff));
    assert_int_equal(in(vcpu, 0xffff, 4), UINT64_C(0xffffffff));        /* beyond the last port */
}

static void the_uart_is_eight_bytes_whatever_the_width(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    vcpu->vmcb->rax = 0x57;
    assert_true(rig_exit(vcpu, VMEXIT_IOIO, info(0x3ff, 1, OUT), 0x1002));  /* its scratch register */
    assert_int_equal(in(vcpu, 0x3fd, 1), UINT64_C(0x1122334455667760));
    assert_int_equal(in(vcpu, 0x3fc, 2), UINT64_C(0x1122334455666000));
    assert_int_equal(in(vcpu, 0x3fe, 4), UINT64_C(0xffff57b0));         /* two of it, two beyond */
    vcpu->vmcb->rax = UINT64_C(0x1bc10542);
    assert_true(rig_exit(vcpu, VMEXIT_IOIO, info(0x3f8, 1, OUT), 0x1002));
    assert_int_equal(in(vcpu, 0x3f9, 1) & 0xff, 0);
    vcpu->vmcb->rax = UINT64_C(0x1bc10541);
    assert_true(rig_exit(vcpu, VMEXIT_IOIO, info(0x3f8, 4, OUT), 0x1002));
    assert_int_equal(guests[0].output.line_length, 2);
    assert_memory_equal(guests[0].output.line, "BA", 2);
    assert_int_equal(in(vcpu, 0x3f9, 1) & 0xff, 0x05);
    assert_int_equal(in(vcpu, 0x3fb, 1) & 0xff, 0x1b);
    assert_int_equal(in(vcpu, 0x3fa, 1) & 0xc0, 0xc0);                  /* the FIFO's, switched on */
}

static void the_doorbell_is_the_control_guests_alone(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    (void)guest_ends_noted();
    vcpu->vmcb->rax = 7;
    assert_true(rig_exit(vcpu, VMEXIT_IOIO, info(CONTROL_DOORBELL, 4, OUT), 0x1002));
    assert_int_equal(in(vcpu, CONTROL_DOORBELL, 4), UINT64_C(0xffffffff));
    assert_true(guests[0].doorbell == 0 && !guest_ends_noted());

    rig_config[0].flags = MANIFEST_GUEST_CONTROL;
    assert_int_equal(in(vcpu, CONTROL_DOORBELL, 4), CONTROL_MAGIC);
    assert_int_equal(in(vcpu, CONTROL_DOORBELL, 2), UINT64_C(0x112233445566ffff));
    for (uint32_t size = 1; size <= 2; size++)
        assert_true(rig_exit(vcpu, VMEXIT_IOIO, info(CONTROL_DOORBELL, size, OUT), 0x1002));
    assert_true(guests[0].doorbell == 0 && !guest_ends_noted());
    vcpu->vmcb->rax = UINT64_C(0xffffffff00000007);
    assert_true(rig_exit(vcpu, VMEXIT_IOIO, info(CONTROL_DOORBELL, 4, OUT), 0x1002));
    assert_true(guests[0].doorbell == 7 && guest_ends_noted());
    vcpu->vmcb->rax = 8; /* before the boot CPU has taken the first: it is not woken again */
    assert_true(rig_exit(vcpu, VMEXIT_IOIO, info(CONTROL_DOORBELL, 4, OUT), 0x1002));
    assert_true(guests[0].doorbell == 8 && !guest_ends_noted());
}

static void no_access_to_any_port_in_any_width_does_harm(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    for (uint32_t port = 0; port < 0x10000; port++) {
        for (uint32_t size = 1; size <= 4; size *= 2) {
            in(vcpu, port, size);
            vcpu->vmcb->rax = 0;
            assert_true(rig_exit(vcpu, VMEXIT_IOIO, info(port, size, OUT), 0x1001));
        }
    }
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    assert_true(rig_log_lines <= 10);
}

static void string_io_and_sizes_that_do_not_exist_end_the_guest(void **state)
{
    (void)state;
    static const uint64_t infos[] = {
        UINT64_C(0x3f8) << 16 | 1 << 4 | STRING,
        UINT64_C(0x3f8) << 16 | 1 << 4 | STRING | REP | IN,
        UINT64_C(0x3f8) << 16,
        UINT64_C(0x3f8) << 16 | 7 << 4,
        UINT64_MAX,
    };
    for (uint32_t i = 0; i < sizeof(infos) / sizeof(infos[0]); i++) {
        struct vcpu *vcpu = rig_guest(i, false);
        assert_false(rig_exit(vcpu, VMEXIT_IOIO, infos[i], 0x1002));
        assert_int_equal(guests[i].end, GUEST_END_CRASH);
        assert_non_null(strstr(guests[i].end_reason, "string I/O"));
        assert_int_equal(guests[i].output.line_length, 0);
    }
}

static void power_off_and_reset_leave_the_run_loop(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    vcpu->vmcb->rax = 0x34;
    assert_false(rig_exit(vcpu, VMEXIT_IOIO, info(0x600, 1, OUT), 0x1002));
    assert_int_equal(guests[0].end, GUEST_END_POWEROFF);
    vcpu = rig_guest(1, false);
    vcpu->vmcb->rax = 0x010034;                     /* a wide one: the first byte that ends it is the last */
    assert_false(rig_exit(vcpu, VMEXIT_IOIO, info(0x600, 4, OUT), 0x1002));
    assert_int_equal(guests[1].end, GUEST_END_POWEROFF);
    vcpu = rig_guest(2, false);
    vcpu->vmcb->rax = 1;
    assert_false(rig_exit(vcpu, VMEXIT_IOIO, info(0x602, 1, OUT), 0x1002));
    assert_int_equal(guests[2].end, GUEST_END_RESET);
}

static void a_pcs_two_reset_ports_reset(void **state)
{
    (void)state;
    static const struct {
        uint32_t port, size;
        uint64_t value;
        enum guest_end_kind end;
    } writes[] = {
        {0x64, 1, 0xfe, GUEST_END_RESET},       {0x64, 1, 0xf0, GUEST_END_RESET},   {0x64, 1, 0xff, GUEST_END_NONE},
        {0x64, 1, 0xd1, GUEST_END_NONE},        {0x64, 1, 0xae, GUEST_END_NONE},    {0x60, 1, 0xfe, GUEST_END_NONE},
        {0xcf9, 1, 0x02, GUEST_END_NONE},       {0xcf9, 1, 0x06, GUEST_END_RESET},  {0xcf9, 1, 0x0e, GUEST_END_RESET},
        {0xcf8, 4, 0x80000604, GUEST_END_NONE}, {0xcf8, 2, 0xffff, GUEST_END_NONE}, {0xcf8, 1, 0x06, GUEST_END_NONE},
    };
    for (uint32_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        struct vcpu *vcpu = rig_guest(i, false);
        vcpu->vmcb->rax = writes[i].value;
        bool again = rig_exit(vcpu, VMEXIT_IOIO, info(writes[i].port, writes[i].size, OUT), 0x1002);
        assert_int_equal(guests[i].end, writes[i].end);
        assert_int_equal(again, writes[i].end == GUEST_END_NONE);
    }
    assert_int_equal(rig_log_lines, 0);
}

static void the_pm_timer_counts_at_its_rate_in_24_bits(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    for (uint64_t ms = 0; ms < 20000; ms += 777) {
        rig_tsc = ms * 1000000 - RIG_TICK;
        assert_int_equal(in(vcpu, 0x608, 4), ms * 3579545 / 1000 & 0xffffff);
    }
    rig_tsc = UINT64_C(100) * 365 * 86400 * RIG_HZ - RIG_TICK;
    assert_int_equal(in(vcpu, 0x608, 4), UINT64_C(100) * 365 * 86400 * 3579545 & 0xffffff);
    assert_int_equal(in(vcpu, 0x60b, 1) & 0xff, 0);
    assert_int_equal(in(vcpu, 0x60c, 4), 0xffffffff);
}

static void delays_and_probes_are_not_worth_a_message_others_are(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    static const uint32_t quiet[] = {0x80, 0xed, 0xcf8, 0xcfc, 0x21, 0x2f8, 0x70, 0x64, 0x42, 0x43, 0x61};
    for (size_t i = 0; i < sizeof(quiet) / sizeof(quiet[0]); i++)
        in(vcpu, quiet[i], 1);
    assert_int_equal(rig_log_lines, 0);
    in(vcpu, 0x5658, 4);
    assert_int_equal(rig_log_lines, 1);
    assert_non_null(strstr(rig_log, "0x5658"));
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_answers_with_all_ones_in_the_width_that_was_asked),
        TEST(the_uart_is_eight_bytes_whatever_the_width),
        TEST(the_doorbell_is_the_control_guests_alone),
        TEST(no_access_to_any_port_in_any_width_does_harm),
        TEST(string_io_and_sizes_that_do_not_exist_end_the_guest),
        TEST(power_off_and_reset_leave_the_run_loop),
        TEST(a_pcs_two_reset_ports_reset),
        TEST(the_pm_timer_counts_at_its_rate_in_24_bits),
        TEST(delays_and_probes_are_not_worth_a_message_others_are),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
