/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Packets and their replies: a session, guests as processes, stops, breakpoints, texts for people. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "guest/control/server.h"
#include "tests/unit/guest_control/fake_hv.h"
#include "tests/unit/guest_control/line.h"

static struct fake_guest *const linux_guest = &fake_hv.guests[FAKE_LINUX];

static int start(void **unused)
{
    (void)unused;
    line_start();
    return 0;
}

static void asked(const char *packet, const char *reply)
{
    const char *got = line_ask(packet);

    if (strcmp(got, reply) != 0)
        fail_msg("%s: %s instead of %s", packet, got, reply);
}

static void contains(const char *got, const char *words)
{
    if (strstr(got, words) == NULL)
        fail_msg("no \"%s\" in: %s", words, got);
}

/* The text of O packets. */
static const char *shown(const char *replies)
{
    static char text[0x10000];
    size_t length = 0;

    for (const char *at = replies; at != NULL && *at == 'O' && at[1] != 'K'; at = strchr(at, '\n'), at += at != NULL) {
        unsigned byte;

        for (const char *hex = at + 1; sscanf(hex, "%2x", &byte) == 1 && *hex != '\n'; hex += 2)
            text[length++] = (char)byte;
    }
    text[length] = '\0';
    return text;
}

static const char *monitor(const char *words)
{
    char packet[256] = "qRcmd,";

    for (const char *at = words; *at != '\0'; at++)
        sprintf(packet + strlen(packet), "%02x", (unsigned char)*at);
    return line_ask(packet);
}

static void the_packet_size_is_hexadecimal(void **unused)
{
    (void)unused;
    contains(line_ask("qSupported:multiprocess+;swbreak+"), "PacketSize=4000;QStartNoAckMode+;multiprocess+");
}

static void no_ack_mode_begins_behind_its_reply(void **unused)
{
    (void)unused;
    line_ask("qSupported");
    line_packet("QStartNoAckMode", 15);
    assert_string_equal(line_raw(), "+$OK#9a");
    line_packet("!", 1);
    assert_string_equal(line_raw(), "$OK#9a");
    line_packet("qSupported", 10);      /* a new client, which waits for + */
    assert_int_equal(line_raw()[0], '+');
}

static void unknown_packets_get_an_empty_reply(void **unused)
{
    (void)unused;
    asked("vMustReplyEmpty", "");
    asked("qTStatus", "");
    asked("Z0,9000,1", "");
    asked("QNonStop:1", "");
    asked("vFile:readlink:2f", "");
}

static void nothing_is_attached_at_first(void **unused)
{
    (void)unused;
    asked("?", "W00");
    asked("qfThreadInfo", "l");
    asked("Hgp0.0", "OK");
    asked("Hgp2.1", "E01");
    asked("Tp2.1", "E01");
}

static void attach_pauses_and_detach_resumes(void **unused)
{
    (void)unused;
    asked("vAttach;2", "T05thread:p2.1;");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_PAUSED);
    asked("?", "T05thread:p2.1;");
    asked("qfThreadInfo", "mp2.1,p2.2");
    asked("qsThreadInfo", "l");
    asked("Tp2.2", "OK");
    asked("Tp2.3", "E01");
    asked("Hgp2.2", "OK");
    asked("qC", "QCp2.2");
    asked("D;2", "OK");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_RUNNING);
    asked("?", "W00");
    asked("D;2", "E.nothing was refused");
}

/* Unless it was continued meanwhile. */
static void detach_leaves_a_guest_paused_that_was(void **unused)
{
    (void)unused;
    for (unsigned continued = 0; continued < 2; continued++) {
        linux_guest->info.state = CONTROL_STATE_PAUSED;
        asked("vAttach;2", "T05thread:p2.1;");
        if (continued) {
            line_ask("vCont;c");
            linux_guest->info.state = CONTROL_STATE_PAUSED;
            fake_event(CONTROL_EVENT_STOPPED, FAKE_LINUX, 0, 0);
            server_poll();
            line_taken();
        }
        asked("D;2", "OK");
        assert_int_equal(linux_guest->info.state, continued ? CONTROL_STATE_RUNNING : CONTROL_STATE_PAUSED);
    }
}

static void a_new_client_finds_nothing_attached(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    line_ask("Z1,5000,1");
    line_ask("qSupported");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_RUNNING);
    assert_int_equal(linux_guest->vcpus[0].dr7, 0x400);
    asked("?", "W00");
}

static void nodbg_is_refused_in_words(void **unused)
{
    (void)unused;
    asked("vAttach;3", "E.policy forbids debugging");
    assert_int_equal(fake_hv.guests[FAKE_HELLO].info.state, CONTROL_STATE_RUNNING);
    contains(shown(monitor("help")), "NODBG");
    contains(shown(monitor("why")), "policy forbids debugging: the guest was launched with NODBG");
}

static void guests_without_sev_want_debug_in_their_entry(void **unused)
{
    (void)unused;
    fake_hv.guests[FAKE_PLAIN].info.state = CONTROL_STATE_RUNNING;
    asked("vAttach;4", "E.policy forbids debugging");
    assert_int_equal(fake_hv.guests[FAKE_PLAIN].info.state, CONTROL_STATE_RUNNING);
    contains(shown(monitor("why")), "debug = true");
    asked("vAttach;5", "T05thread:p5.1;");
    asked("m9000,2", "9097");
    assert_int_equal(fake_hv.commands[0x60], 0);
}

static void the_control_guest_does_not_stop_itself(void **unused)
{
    (void)unused;
    asked("vAttach;1", "E.this is the control guest itself");
    asked("vKill;1", "E.this is the control guest itself");
    asked("vAttach;0", "E.no such guest: `info os guests` has their numbers");
    asked("vAttach;201", "E.no such guest: `info os guests` has their numbers");
    asked("vAttach;6", "E.no such guest");
}

static void registers_are_read_and_written(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    contains(line_ask("g"), "8877665544332211");
    asked("p0", "8877665544332211");
    asked("p10", "0090000000000000");
    asked("p12", "10000000");
    asked("p18", "xxxxxxxxxxxxxxxxxxxx");
    asked("P0=0100000000000000", "OK");
    assert_int_equal(linux_guest->vcpus[0].rax, 1);
    asked("P12=ff000000", "OK");
    assert_int_equal(linux_guest->vcpus[0].cs.selector, 0x10);
    asked("p200", "E01");
    asked("P0=01", "E01");
    line_ask("Hgp2.2");
    asked("p0", "8977665544332211");
    asked("P0=0200000000000000", "OK");
    assert_int_equal(linux_guest->vcpus[1].rax, 2);
    assert_int_equal(linux_guest->vcpus[0].rax, 1);
}

static void all_registers_are_written_at_once(void **unused)
{
    char packet[2048] = "G";

    (void)unused;
    line_ask("vAttach;2");
    strcat(packet, line_ask("g"));
    memcpy(packet + 1, "efcdab8967452301", 16);
    asked(packet, "OK");
    assert_true(linux_guest->vcpus[0].rax == UINT64_C(0x0123456789abcdef));
    assert_int_equal(linux_guest->vcpus[0].cr3, 0x1000);
    strcat(packet, "00");
    asked(packet, "E01");
}

static void memory_is_read_and_written(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    asked("m9000,4", "90979ea5");
    asked("M9001,2:abcd", "OK");
    asked("m9000,4", "90abcda5");
    line_packet("X9000,4:#$*}", 12);
    assert_string_equal(line_taken(), "OK");
    assert_memory_equal(linux_guest->memory + 0x9000, "#$*}", 4);
    asked("X9000,0:", "OK");
    asked("X9000,5:abc", "E01");
    asked("M9000,5:ab", "E01");
    asked("m20000,4", "E.the guest's page tables do not map this address");
    asked("mfffe,8", "f1f8");   /* as far as it goes */
}

static void a_step_is_one_instruction_of_one_vcpu(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    asked("vCont?", "vCont;c;C;s;S;t");
    asked("vCont;s:p2.2;c:p2.-1", "");
    server_poll();
    assert_string_equal(line_taken(), "T05thread:p2.2;");
    assert_int_equal(linux_guest->vcpus[1].rip, 0x9101);
    assert_int_equal(linux_guest->vcpus[0].rip, 0x9000);
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_PAUSED);
}

static void ctrl_c_stops_what_runs(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    asked("vCont;c:p2.-1", "");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_RUNNING);
    server_poll();
    assert_string_equal(line_taken(), "");
    line_send("\x03", 1);
    assert_string_equal(line_taken(), "T02thread:p2.1;");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_PAUSED);
    line_send("\x03", 1);
    assert_string_equal(line_taken(), "");
}

static void all_stop_when_one_stops(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    line_ask("vAttach;5");
    asked("vCont;c", "");
    assert_int_equal(fake_hv.guests[FAKE_OPEN].info.state, CONTROL_STATE_RUNNING);
    linux_guest->info.state = CONTROL_STATE_PAUSED;
    fake_event(CONTROL_EVENT_STOPPED, FAKE_LINUX, 1, 8);
    server_poll();
    assert_string_equal(line_taken(), "T05thread:p2.2;");
    assert_int_equal(fake_hv.guests[FAKE_OPEN].info.state, CONTROL_STATE_PAUSED);
}

static void a_guest_that_is_not_meant_stays_paused(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    line_ask("vAttach;5");
    asked("vCont;c:p2.-1", "");
    assert_int_equal(fake_hv.guests[FAKE_OPEN].info.state, CONTROL_STATE_PAUSED);
}

static void breakpoints_are_debug_registers_of_all_vcpus(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    asked("Z1,5000,1", "OK");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(linux_guest->vcpus[i].dr0, 0x5000);
        assert_int_equal(linux_guest->vcpus[i].dr7, 0x402);
    }
    asked("Z2,6008,8", "OK");
    assert_int_equal(linux_guest->vcpus[1].dr1, 0x6008);
    assert_int_equal(linux_guest->vcpus[1].dr7, 0x90040a);
    asked("Z4,7002,2", "OK");
    assert_int_equal(linux_guest->vcpus[0].dr7, 0x0790042a);
    asked("Z1,5000,1", "OK");   /* again: the same one */
    asked("Z3,7000,4", "OK");
    assert_int_equal(linux_guest->vcpus[0].dr7, 0xf79004aa);
    asked("Z1,8000,1", "E.all four debug registers are in use");
    asked("z2,6008,8", "OK");
    assert_int_equal(linux_guest->vcpus[1].dr7, 0xf70004a2);
    asked("z2,6008,8", "OK");
    asked("Z2,6001,2", "E.a watchpoint has 1, 2, 4 or 8 bytes, at an address that is a multiple of its size");
    asked("Z2,6000,3", "E.a watchpoint has 1, 2, 4 or 8 bytes, at an address that is a multiple of its size");
    asked("Z2,6000,10", "E.a watchpoint has 1, 2, 4 or 8 bytes, at an address that is a multiple of its size");
}

static const char *stop_at(const char *packet)
{
    line_ask(packet);
    line_ask("vCont;c");
    fake_time();
    server_poll();
    return line_taken();
}

static void a_hit_names_its_kind(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    assert_string_equal(stop_at("Z1,5000,1"), "T05hwbreak:;thread:p2.1;");
    assert_int_equal(linux_guest->vcpus[0].rip, 0x5000);
    line_ask("z1,5000,1");
    assert_string_equal(stop_at("Z2,a000,4"), "T05watch:a000;thread:p2.1;");
    line_ask("z2,a000,4");
    assert_string_equal(stop_at("Z4,a000,4"), "T05awatch:a000;thread:p2.1;");
}

static void the_end_of_a_guest_is_a_stop_with_its_reason(void **unused)
{
    const char *got;

    (void)unused;
    line_ask("vAttach;2");
    line_ask("vCont;c");
    fake_print(FAKE_LINUX, "last words\n");
    fake_end(FAKE_LINUX, 3, "triple fault");
    server_poll();
    got = line_taken();
    contains(got, "X06;process:2");
    contains(shown(got), "triple fault");
    contains(shown(got), "last words");
    asked("?", "W00");
    fake_hv.guests[FAKE_OPEN].info.state = CONTROL_STATE_RUNNING;
    line_ask("vAttach;5");
    line_ask("vCont;c");
    fake_end(FAKE_OPEN, 1, "");
    server_poll();
    contains(line_taken(), "W00;process:5");
}

static void what_a_running_guest_prints_is_shown(void **unused)
{
    (void)unused;
    fake_print(FAKE_LINUX, "before\n");
    line_ask("vAttach;2");
    line_ask("vCont;c");
    fake_print(FAKE_LINUX, "during\n");
    server_poll();
    assert_string_equal(shown(line_taken()), "during\n");
    server_poll();
    assert_string_equal(line_taken(), "");
}

static void stops_are_found_when_events_were_lost(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    line_ask("vCont;c");
    linux_guest->info.state = CONTROL_STATE_PAUSED;
    fake_event(CONTROL_EVENT_STOPPED, FAKE_LINUX, 0, 8);
    for (unsigned i = 0; i < CONTROL_EVENT_COUNT; i++)
        fake_event(CONTROL_EVENT_CONSOLE, FAKE_HELLO, 0, 0);
    server_poll();
    assert_string_equal(line_taken(), "T05thread:p2.1;");
}

/* hv has paused it, and has not told why yet: the event that it runs is an old one. */
static void a_stop_waits_for_its_own_event(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    line_ask("Z1,5000,1");
    line_ask("vCont;c");
    linux_guest->info.state = CONTROL_STATE_PAUSED;
    server_poll();
    assert_string_equal(line_taken(), "");
    fake_event(CONTROL_EVENT_STOPPED, FAKE_LINUX, 0, 1);
    server_poll();
    assert_string_equal(line_taken(), "T05hwbreak:;thread:p2.1;");
}

static void stops_of_before_do_not_count(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    fake_event(CONTROL_EVENT_STOPPED, FAKE_LINUX, 0, 8);
    line_ask("vCont;c");
    fake_event(CONTROL_EVENT_STATE, FAKE_LINUX, 0, CONTROL_STATE_PAUSED);   /* late */
    server_poll();
    assert_string_equal(line_taken(), "");
}

static void kill_ends_a_guest_and_run_launches_it(void **unused)
{
    (void)unused;
    line_ask("vAttach;2");
    asked("vKill;2", "OK");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_ENDED);
    asked("?", "W00");
    asked("vRun;6c696e7578", "T05thread:p2.1;");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_PAUSED);
    assert_int_equal(linux_guest->info.launches, 2);
    contains(line_ask("vRun;6e6f626f6479"), "E.no guest has this name");
}

static void a_launch_that_lasts_goes_on_behind_the_reply(void **unused)
{
    (void)unused;
    line_ask("vKill;2");
    fake_hv.launch_lasts = true;
    asked("vRun;6c696e7578", "T05thread:p2.1;");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_LAUNCHING);
    contains(line_ask("g"), "xxxxxxxxxxxxxxxx");
    asked("vCont;c", "");
    fake_launched(FAKE_LINUX);
    server_poll();
    assert_string_equal(line_taken(), "");
    line_send("\x03", 1);
    assert_string_equal(line_taken(), "T02thread:p2.1;");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_PAUSED);
}

static void vcont_without_sense_is_refused(void **unused)
{
    static const char *const packets[] = {"vCont",   "vCont;",   "vCont;x",       "vCont;c:",     "vCont;c:p",
                                          "vCont;C", "vCont;cc", "vCont;s:p2.1:", "vCont;c:p2.1;"};

    (void)unused;
    line_ask("vAttach;2");
    for (unsigned i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)
        assert_int_equal(line_ask(packets[i])[0], 'E');
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_PAUSED);
    asked("vCont;c:p5.1", "E.no attached guest is meant");
}

/* In pieces of so many bytes. */
static const char *document(const char *object, unsigned piece)
{
    static char whole[0x10000];

    whole[0] = '\0';
    for (;;) {
        char packet[128];
        const char *got;

        sprintf(packet, "qXfer:%s:%zx,%x", object, strlen(whole), piece);
        got = line_ask(packet);
        strcat(whole, got + 1);
        if (*got == 'l')
            return whole;
        assert_int_equal(*got, 'm');
        assert_int_equal(strlen(got + 1), piece);
    }
}

static void documents_come_in_pieces(void **unused)
{
    char whole[0x10000];

    (void)unused;
    strcpy(whole, document("features:read:target.xml", 0x3fff));
    contains(whole, "<reg name=\"cr3\" bitsize=\"64\"");
    assert_string_equal(document("features:read:target.xml", 100), whole);
    asked("qXfer:features:read:other.xml:0,fff", "E00");
    asked("qXfer:osdata:read:nothing:0,fff", "E00");
    asked("qXfer:features:read:target.xml:ffffffff,fff", "l");
}

static void tables_are_columns(void **unused)
{
    const char *table;

    (void)unused;
    contains(document("osdata:read:", 0xfff), "<column name=\"Type\">guests</column>");
    table = document("osdata:read:guests", 0xfff);
    contains(table,
             "<osdata type=\"guests\">\n<item><column name=\"Guest\">1</column><column name=\"Name\">control</column>");
    contains(table,
             "<column name=\"Name\">hello</column><column name=\"State\">running</column><column "
             "name=\"Encryption\">sev</column><column name=\"vCPUs\">1</column><column name=\"Memory\">65536</column>"
             "<column name=\"Policy\">0x1</column>");
    strcpy(fake_hv.platform.refusal, "a < b & \"c\"");
    table = document("osdata:read:platform", 0xfff);
    contains(table, "<column name=\"Key\">api</column><column name=\"Value\">1.55</column>");
    contains(table,
             "<column name=\"Key\">refusal</column><column name=\"Value\">a &lt; b &amp; &quot;c&quot;</column>");
}

static void threads_are_those_of_attached_guests(void **unused)
{
    (void)unused;
    assert_null(strstr(document("threads:read:", 0xfff), "<thread "));
    line_ask("vAttach;2");
    contains(document("threads:read:", 0xfff),
             "<thread id=\"p2.2\" core=\"3\" name=\"linux\">paused, runnable</thread>");
}

static void monitor_commands_never_end_in_an_error(void **unused)
{
    static const char *const wrong[] = {
        "", "launch", "launch nobody", "end control", "nonsense linux", "pause plain", "\xff"};

    (void)unused;
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        char got[2048];

        strcpy(got, monitor(wrong[i]));
        assert_string_equal(got + strlen(got) - 3, "\nOK");
        assert_memory_equal(shown(got), "error: ", 7);
    }
}

static void monitor_commands_do_what_they_say(void **unused)
{
    (void)unused;
    assert_string_equal(monitor("pause linux"), "OK");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_PAUSED);
    assert_string_equal(monitor("resume  linux"), "OK");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_RUNNING);
    assert_string_equal(monitor("end linux"), "OK");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_ENDED);
    assert_string_equal(monitor("launch linux"), "OK");
    contains(shown(monitor("list")), "2 linux               running     sev");
}

static void a_hypervisor_that_does_not_answer_is_told(void **unused)
{
    (void)unused;
    fake_hv.mute = true;
    asked("vAttach;2", "E.the hypervisor does not answer");
    assert_true(line_ms >= 120000);
    fake_hv.mute = false;
    /* It is not asked again before it has answered. */
    asked("vAttach;2", "E.the hypervisor does not answer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(the_packet_size_is_hexadecimal, start),
        cmocka_unit_test_setup(no_ack_mode_begins_behind_its_reply, start),
        cmocka_unit_test_setup(unknown_packets_get_an_empty_reply, start),
        cmocka_unit_test_setup(nothing_is_attached_at_first, start),
        cmocka_unit_test_setup(attach_pauses_and_detach_resumes, start),
        cmocka_unit_test_setup(detach_leaves_a_guest_paused_that_was, start),
        cmocka_unit_test_setup(a_new_client_finds_nothing_attached, start),
        cmocka_unit_test_setup(nodbg_is_refused_in_words, start),
        cmocka_unit_test_setup(guests_without_sev_want_debug_in_their_entry, start),
        cmocka_unit_test_setup(the_control_guest_does_not_stop_itself, start),
        cmocka_unit_test_setup(registers_are_read_and_written, start),
        cmocka_unit_test_setup(all_registers_are_written_at_once, start),
        cmocka_unit_test_setup(memory_is_read_and_written, start),
        cmocka_unit_test_setup(a_step_is_one_instruction_of_one_vcpu, start),
        cmocka_unit_test_setup(ctrl_c_stops_what_runs, start),
        cmocka_unit_test_setup(all_stop_when_one_stops, start),
        cmocka_unit_test_setup(a_guest_that_is_not_meant_stays_paused, start),
        cmocka_unit_test_setup(breakpoints_are_debug_registers_of_all_vcpus, start),
        cmocka_unit_test_setup(a_hit_names_its_kind, start),
        cmocka_unit_test_setup(the_end_of_a_guest_is_a_stop_with_its_reason, start),
        cmocka_unit_test_setup(what_a_running_guest_prints_is_shown, start),
        cmocka_unit_test_setup(stops_are_found_when_events_were_lost, start),
        cmocka_unit_test_setup(a_stop_waits_for_its_own_event, start),
        cmocka_unit_test_setup(stops_of_before_do_not_count, start),
        cmocka_unit_test_setup(kill_ends_a_guest_and_run_launches_it, start),
        cmocka_unit_test_setup(a_launch_that_lasts_goes_on_behind_the_reply, start),
        cmocka_unit_test_setup(vcont_without_sense_is_refused, start),
        cmocka_unit_test_setup(documents_come_in_pieces, start),
        cmocka_unit_test_setup(tables_are_columns, start),
        cmocka_unit_test_setup(threads_are_those_of_attached_guests, start),
        cmocka_unit_test_setup(monitor_commands_never_end_in_an_error, start),
        cmocka_unit_test_setup(monitor_commands_do_what_they_say, start),
        cmocka_unit_test_setup(a_hypervisor_that_does_not_answer_is_told, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
