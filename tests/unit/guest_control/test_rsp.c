/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Framing: what is a packet, what is noise, what is acknowledged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "guest/control/machine.h"
#include "guest/control/rsp.h"
#include "tests/unit/guest_control/line.h"

static struct rsp rsp;

static int start(void **unused)
{
    (void)unused;
    memset(&rsp, 0, sizeof(rsp));
    line_raw();
    return 0;
}

/* The last event that was not nothing. */
static enum rsp_event feed(const char *bytes, size_t size)
{
    enum rsp_event last = RSP_NOTHING;

    for (size_t i = 0; i < size; i++) {
        enum rsp_event event = rsp_byte(&rsp, (uint8_t)bytes[i]);

        if (event != RSP_NOTHING)
            last = event;
    }
    return last;
}

#define FEED(bytes) feed(bytes, sizeof(bytes) - 1)

static void a_packet_is_acknowledged(void **unused)
{
    (void)unused;
    assert_int_equal(FEED("$qC#b4"), RSP_PACKET);
    assert_int_equal(rsp.length, 2);
    assert_memory_equal(rsp.packet, "qC", 2);
    assert_string_equal(line_raw(), "+");
}

static void a_wrong_checksum_is_asked_for_again(void **unused)
{
    (void)unused;
    assert_int_equal(FEED("$qC#b5"), RSP_NOTHING);
    assert_string_equal(line_raw(), "-");
    assert_int_equal(FEED("$qC#xx"), RSP_NOTHING);
    assert_string_equal(line_raw(), "-");
    assert_int_equal(FEED("$qC#B4"), RSP_PACKET);
}

static void nothing_is_acknowledged_without_ack_mode(void **unused)
{
    (void)unused;
    rsp.no_ack = true;
    assert_int_equal(FEED("$qC#b4"), RSP_PACKET);
    assert_int_equal(FEED("$qC#00"), RSP_NOTHING);
    assert_int_equal(FEED("-"), RSP_NOTHING);
    assert_string_equal(line_raw(), "");
}

static void noise_between_packets_is_skipped(void **unused)
{
    (void)unused;
    assert_int_equal(FEED("login: +++ hello\r\n$qC#b4"), RSP_PACKET);
    assert_memory_equal(rsp.packet, "qC", 2);
}

static void a_cut_packet_does_not_take_the_next_with_it(void **unused)
{
    (void)unused;
    assert_int_equal(FEED("$m1234,$qC#b4"), RSP_PACKET);
    assert_int_equal(rsp.length, 2);
}

static void escapes_are_undone(void **unused)
{
    (void)unused;
    /* 7d 03 is 23h, 7d 04 24h, 7d 0a 2ah, 7d 5d 7dh */
    assert_int_equal(FEED("$X}\x03}\x04}\x0a}]#ba"), RSP_PACKET);
    assert_int_equal(rsp.length, 5);
    assert_memory_equal(rsp.packet, "X#$*}", 5);
}

static void ctrl_c_counts_outside_of_packets_only(void **unused)
{
    (void)unused;
    assert_int_equal(FEED("\x03"), RSP_INTERRUPT);
    assert_int_equal(FEED("$X\x03#5b"), RSP_PACKET);
    assert_int_equal(rsp.length, 2);
}

static void a_packet_that_is_too_long_is_refused(void **unused)
{
    static char packet[RSP_PACKET_SIZE + 8];

    (void)unused;
    memset(packet, 'a', sizeof(packet));
    packet[0] = '$';
    assert_int_equal(feed(packet, sizeof(packet)), RSP_NOTHING);
    /* RSP_PACKET_SIZE + 7 times 61h */
    assert_int_equal(FEED("#a7"), RSP_NOTHING);
    assert_string_equal(line_raw(), "-");
    assert_int_equal(FEED("$qC#b4"), RSP_PACKET);
}

static void the_longest_packet_arrives(void **unused)
{
    static char packet[RSP_PACKET_SIZE + 1];

    (void)unused;
    memset(packet, 'a', sizeof(packet));
    packet[0] = '$';
    feed(packet, sizeof(packet));
    assert_int_equal(FEED("#00"), RSP_PACKET);
    assert_int_equal(rsp.length, RSP_PACKET_SIZE);
}

static void replies_are_framed_and_escaped(void **unused)
{
    (void)unused;
    rsp_send(&rsp, "a#$*}", 5);
    assert_string_equal(line_raw(), "$a}\x03}\x04}\x0a}]#c3");
}

static void a_reply_is_sent_again_when_asked_for(void **unused)
{
    (void)unused;
    rsp_send(&rsp, "OK", 2);
    assert_string_equal(line_raw(), "$OK#9a");
    FEED("-");
    assert_string_equal(line_raw(), "$OK#9a");
    FEED("+");
    assert_string_equal(line_raw(), "");
}

static void a_reply_stays_within_the_packet_size(void **unused)
{
    static char bytes[RSP_PACKET_SIZE];

    (void)unused;
    memset(bytes, '#', sizeof(bytes));
    rsp_send(&rsp, bytes, sizeof(bytes));
    assert_int_equal(strlen(line_raw()), RSP_PACKET_SIZE + 4);
    rsp_send(&rsp, "x", 1);
    line_raw();
    memset(bytes, 'a', sizeof(bytes));
    rsp_send(&rsp, bytes, sizeof(bytes));
    assert_int_equal(strlen(line_raw()), RSP_PACKET_SIZE + 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_packet_is_acknowledged, start),
        cmocka_unit_test_setup(a_wrong_checksum_is_asked_for_again, start),
        cmocka_unit_test_setup(nothing_is_acknowledged_without_ack_mode, start),
        cmocka_unit_test_setup(noise_between_packets_is_skipped, start),
        cmocka_unit_test_setup(a_cut_packet_does_not_take_the_next_with_it, start),
        cmocka_unit_test_setup(escapes_are_undone, start),
        cmocka_unit_test_setup(ctrl_c_counts_outside_of_packets_only, start),
        cmocka_unit_test_setup(a_packet_that_is_too_long_is_refused, start),
        cmocka_unit_test_setup(the_longest_packet_arrives, start),
        cmocka_unit_test_setup(replies_are_framed_and_escaped, start),
        cmocka_unit_test_setup(a_reply_is_sent_again_when_asked_for, start),
        cmocka_unit_test_setup(a_reply_stays_within_the_packet_size, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
