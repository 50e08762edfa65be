/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Objects as files, by vFile packets: what README.md of the control guest lists. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "guest/control/ask.h"
#include "tests/unit/guest_control/fake_hv.h"
#include "tests/unit/guest_control/files.h"
#include "tests/unit/guest_control/line.h"

static struct fake_guest *const linux_guest = &fake_hv.guests[FAKE_LINUX];

static int start(void **unused)
{
    (void)unused;
    line_start();
    return 0;
}

static void has(const char *line)
{
    if (strstr(files_content, line) == NULL)
        fail_msg("no \"%s\" in:\n%s", line, files_content);
}

static void all_is(char filler, int size)
{
    for (int i = 0; i < size; i++)
        assert_int_equal(files_content[i], filler);
}

static void status_is_a_line_a_field(void **unused)
{
    (void)unused;
    strcpy(fake_hv.platform.refusal, "two\nlines");
    assert_true(files_get("/platform/status") > 0);
    has("version: 1\nguests: 5\nself: 0\ncpus: 4\napi: 1.55\nbuild: 24\nstate: working\nowner: self\nsev-ready: yes\n"
        "asids: 509\nasids-used: 2\ntsc-khz: 2000000\n");
    has("\nrefusal: two lines\n");
    strcpy(linux_guest->info.end_reason, "why");
    linux_guest->info.exits[15] = 77;
    assert_true(files_get("/guest/linux/status") > 0);
    has("name: linux\nindex: 1\nstate: running\nencryption: sev\nvcpus: 2\npolicy: 0x0\n");
    has("\nend: none\nphase: memory\nflags: 0x0\nmemory: 65536\n");
    has("\nsecret-gpa: 0xa000\nsecret-size: 64\n");
    has("\nexits: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 77\n");
    has("\nmeasure: 4d4d");
    has("\nend-reason: why\n");
}

static void a_status_of_unknown_numbers_is_still_text(void **unused)
{
    (void)unused;
    linux_guest->info.state = linux_guest->info.encryption = linux_guest->info.end = linux_guest->info.phase = 99;
    memset(linux_guest->info.end_reason, 'e', sizeof(linux_guest->info.end_reason));
    fake_hv.platform.state = 99;
    assert_true(files_get("/guest/linux/status") > 0);
    has("state: unknown\nencryption: unknown\n");
    assert_true(files_get("/platform/status") > 0);
    has("state: unknown\n");
}

static void certificates_come_from_the_firmware(void **unused)
{
    (void)unused;
    assert_int_equal(files_get("/platform/pdh"), 2084);
    all_is('P', 2084);
    assert_int_equal(files_get("/platform/chain"), 6252);
    all_is('C', 6252);
    assert_int_equal(files_get("/platform/id"), 128);
    all_is('I', 128);
    assert_int_equal(files_get("/platform/pek.csr"), 2084);
    all_is('R', 2084);
}

static void a_report_is_for_a_nonce(void **unused)
{
    (void)unused;
    assert_int_equal(files_get("/guest/linux/report-41000000000000000000000000000042"), 208);
    all_is('A', 208);
    assert_int_equal(fake_hv.last_firmware.buffer[0x1f], 0x42);
    assert_int_equal(fake_hv.last_firmware.guest, FAKE_LINUX);
    assert_int_equal(files_get("/guest/linux/report-4100"), -2);
    assert_int_equal(files_get("/guest/linux/report-4100000000000000000000000000004z"), -2);
    assert_int_equal(files_get("/guest/linux/report-4100000000000000000000000000004200"), -2);
}

static void digest_and_measurement_are_bytes(void **unused)
{
    (void)unused;
    assert_int_equal(files_get("/guest/linux/digest"), 32);
    assert_int_equal(files_content[31], 16 + 31);
    assert_int_equal(files_get("/guest/linux/measurement"), 48);
    assert_int_equal(files_content[31], 'M');
    assert_int_equal(files_content[32], 'N');
    assert_int_equal(files_get("/guest/hello/measurement"), -16);
    assert_string_equal(ask_why(), "this guest has not been measured yet");
}

static void what_is_not_there_is_not_found(void **unused)
{
    static const char *const paths[] = {"",
                                        "/",
                                        "/platform",
                                        "/platform/",
                                        "/guest",
                                        "/guest/",
                                        "/guest/linux",
                                        "/guest/linux/",
                                        "/guest//status",
                                        "/guest/nobody/status",
                                        "/guest/linux/status/",
                                        "/logs",
                                        "/guest/linux/nothing"};

    (void)unused;
    for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
        assert_int_equal(files_open(paths[i], FILES_READ), -2);
    assert_string_equal(ask_why(), "no such object: guest/control/README.md has the list");
    files_get("/guest/nobody/status");
    assert_memory_equal(ask_why(), "no guest has this name", 22);
}

static void each_object_is_for_reading_or_writing(void **unused)
{
    (void)unused;
    assert_int_equal(files_open("/platform/status", FILES_WRITE), -13);
    assert_int_equal(files_open("/platform/command", FILES_READ), -13);
    assert_int_equal(files_open("/platform/status", FILES_READ_WRITE), -22);
    assert_int_equal(files_open("/guest/linux/console", FILES_READ_WRITE), 0);
    assert_int_equal(files_open("/log", FILES_READ), 1);
    assert_int_equal(files_write(1, 0, "x", 1), -13);
    assert_int_equal(files_open("/platform/command", FILES_WRITE), 2);
    assert_int_equal(files_read(2, 1, 0), -13);
}

static void four_can_be_open(void **unused)
{
    (void)unused;
    for (int i = 0; i < 4; i++)
        assert_int_equal(files_open("/platform/status", FILES_READ), i);
    assert_int_equal(files_open("/log", FILES_READ), -24);
    assert_int_equal(files_close(2), 0);
    assert_int_equal(files_close(2), -9);
    assert_int_equal(files_open("/log", FILES_READ), 2);
    assert_int_equal(files_read(4, 1, 0), -9);
    assert_int_equal(files_write(99, 0, "", 0), -9);
    line_ask("qSupported");     /* a new client */
    line_ask("QStartNoAckMode");
    assert_int_equal(files_read(0, 1, 0), -9);
}

static void reading_ends_at_the_end(void **unused)
{
    int number = files_open("/platform/chain", FILES_READ), total = 0, got;

    (void)unused;
    while ((got = files_read(number, 1000, (uint64_t)total)) > 0)
        total += got;
    assert_int_equal(got, 0);
    assert_int_equal(total, 6252);
    assert_int_equal(files_read(number, 10, UINT64_MAX), 0);
    assert_string_equal(line_ask("vFile:fstat:0") + 0, "F40;");    /* the bytes behind it begin with zero */
}

static void fstat_has_the_size(void **unused)
{
    const unsigned char *stat;

    (void)unused;
    files_open("/platform/chain", FILES_READ);
    stat = (const unsigned char *)line_ask("vFile:fstat:0") + 4;
    assert_int_equal(line_taken_size(), 4 + 64);
    assert_int_equal(stat[10] << 8 | stat[11], 0100600);
    assert_int_equal(stat[34] << 8 | stat[35], 6252);
    assert_int_equal(files_result(line_ask("vFile:fstat:3")), -9);
}

static void bytes_that_must_be_escaped_fit_in_pieces(void **unused)
{
    int number, total = 0, got;

    (void)unused;
    memset(linux_guest->memory + 0x9000, '#', FAKE_MEMORY - 0x9000);
    number = files_open("/guest/linux/memory", FILES_READ);
    while ((got = files_read(number, 0x4000, 0x9000 + (uint64_t)total)) > 0) {
        all_is('#', got);
        total += got;
    }
    assert_int_equal(total, FAKE_MEMORY - 0x9000);
}

static void a_write_is_carried_out_at_close(void **unused)
{
    int number = files_open("/guest/linux/command", FILES_WRITE);

    (void)unused;
    assert_int_equal(files_write(number, 0, "pa", 2), 2);
    assert_int_equal(files_write(number, 2, "use\n", 4), 4);
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_RUNNING);
    assert_int_equal(files_close(number), 0);
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_PAUSED);
    assert_int_equal(files_put("/guest/linux/command", "pause", 5), -16);
    assert_string_equal(ask_why(), "not in the guest's present state");
    assert_int_equal(files_put("/guest/linux/command", "jump", 4), -22);
    assert_int_equal(files_put("/guest/control/command", "end", 3), -16);
    assert_int_equal(files_put("/guest/linux/command", "", 0), 0);
}

static void a_line_that_breaks_does_nothing(void **unused)
{
    int number = files_open("/guest/linux/command", FILES_WRITE);

    (void)unused;
    files_write(number, 0, "end", 3);
    line_ask("qSupported");
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_RUNNING);
}

static void an_object_is_written_without_holes_and_up_to_its_size(void **unused)
{
    int number = files_open("/guest/linux/command", FILES_WRITE);

    (void)unused;
    assert_int_equal(files_write(number, 1, "x", 1), -22);
    assert_int_equal(files_write(number, 0, "0123456789abcdefg", 17), -27);
    assert_int_equal(files_write(number, 0, "0123456789abcdef", 16), 16);
    assert_int_equal(files_write(number, 16, "g", 1), -27);
    assert_int_equal(files_write(number, UINT64_MAX, "g", 1), -22);
    files_close(number);
    assert_int_equal(files_put("/platform/pek-import", "short", 5), -22);
    assert_int_equal(fake_hv.commands[7], 0);
}

static void platform_commands_are_words(void **unused)
{
    (void)unused;
    assert_int_equal(files_put("/platform/command", "nop", 3), 0);
    assert_int_equal(fake_hv.commands[0x0e], 1);
    assert_int_equal(files_put("/platform/command", "pek-gen", 7), 0);
    assert_int_equal(fake_hv.commands[0x05], 1);
    assert_int_equal(files_put("/platform/command", "pdh-gen", 7), 0);
    assert_int_equal(fake_hv.commands[0x09], 1);
    assert_int_equal(files_put("/platform/command", "df-flush", 8), 0);
    assert_int_equal(fake_hv.commands[0x0a], 1);
    assert_int_equal(files_put("/platform/command", "init", 4), 0);
    assert_int_equal(fake_hv.commands[0x01], 1);
    assert_int_equal(files_put("/platform/command", "reset", 5), -16);
    assert_int_equal(files_put("/platform/command", "shutdown", 8), -16);
    assert_string_equal(ask_why(), "SEV guests live, and this would destroy them: end them first");
    assert_int_equal(files_put("/platform/command", "explode", 7), -22);
}

static void certificates_are_imported_in_order(void **unused)
{
    static char both[2 * 2084];

    (void)unused;
    memset(both, 'p', 2084);
    memset(both + 2084, 'o', 2084);
    assert_int_equal(files_put("/platform/pek-import", both, sizeof(both)), 0);
    assert_memory_equal(fake_hv.imported[0], both, 2084);
    assert_memory_equal(fake_hv.imported[1], both + 2084, 2084);
}

static void secret_for(char *secret, uint64_t gpa, size_t size)
{
    memset(secret, 0x77, 52);
    memcpy(secret + 52, &gpa, sizeof(gpa));
    memset(secret + 60, 's', size);
}

static void a_secret_goes_where_it_says_or_where_the_manifest_wants_it(void **unused)
{
    static char secret[60 + 0x4000];

    (void)unused;
    secret_for(secret, 0xc000, 32);
    assert_int_equal(files_put("/guest/linux/secret", secret, 60 + 32), 0);
    assert_memory_equal(linux_guest->memory + 0xc000, secret + 60, 32);
    secret_for(secret, UINT64_MAX, 64);
    assert_int_equal(files_put("/guest/linux/secret", secret, 60 + 64), 0);
    assert_memory_equal(linux_guest->memory + FAKE_SECRET_GPA, secret + 60, 64);
    assert_int_equal(files_put("/guest/linux/secret", secret, 60 + 80), -22);     /* larger than its place */
    assert_int_equal(files_put("/guest/hello/secret", secret, 60 + 64), -22);     /* no place */
    assert_int_equal(files_put("/guest/linux/secret", secret, 60 + 63), -22);
    assert_int_equal(files_put("/guest/linux/secret", secret, 60), -22);
    secret[51] = 0;
    assert_int_equal(files_put("/guest/linux/secret", secret, 60 + 64), -5);
    assert_string_equal(ask_why(), "the SEV firmware refused (status 0xb)");
    secret_for(secret, 0x4000, 0x3f00);
    assert_int_equal(files_put("/guest/linux/secret", secret, 60 + 0x3f00), 0);
    assert_memory_equal(fake_hv.secret, secret + 60, 0x3f00);
}

static void a_session_has_three_parts(void **unused)
{
    static char session[4 + 2084 + 128];

    (void)unused;
    session[0] = 5;
    memset(session + 4 + 2084, 'z', 128);
    assert_int_equal(files_put("/guest/linux/session", session, sizeof(session)), 0);
    assert_int_equal(linux_guest->info.policy, 5);
    assert_memory_equal(fake_hv.session, session + 4 + 2084, 128);
    assert_int_equal(files_put("/guest/linux/session", session, sizeof(session) - 1), -22);
}

static void a_console_is_followed(void **unused)
{
    int number;

    (void)unused;
    fake_print(FAKE_LINUX, "0123456789");
    linux_guest->kept = 4;
    number = files_open("/guest/linux/console", FILES_READ_WRITE);
    assert_int_equal(files_read(number, 3, 0), 3);
    assert_string_equal(files_content, "456");
    assert_int_equal(files_read(number, 100, 3), 3);
    assert_string_equal(files_content, "789");
    assert_int_equal(files_read(number, 100, 6), 0);
    fake_print(FAKE_LINUX, "abcdef");
    linux_guest->kept = 12;     /* a and b were dropped */
    assert_int_equal(files_read(number, 100, 6), 4);
    assert_string_equal(files_content, "cdef");
    fake_print(FAKE_LINUX, "gh");
    assert_int_equal(files_read(number, 100, 10), 2);
    assert_string_equal(files_content, "gh");
    assert_int_equal(files_write(number, 0, "ls\n", 3), 3);
    assert_int_equal(files_write(number, 3, "x", 1), 1);
    assert_memory_equal(linux_guest->input, "ls\nx", 4);
    linux_guest->input_length = sizeof(linux_guest->input) - 1;
    assert_int_equal(files_write(number, 4, "yy", 2), 1);
    assert_int_equal(files_write(number, 5, "y", 1), -28);
}

static void the_log_is_read(void **unused)
{
    (void)unused;
    assert_int_equal(files_get("/log"), 17);
    assert_string_equal(files_content, "sevisor: the log\n");
}

static void memory_is_at_its_guest_physical_address(void **unused)
{
    int number = files_open("/guest/linux/memory", FILES_READ_WRITE);

    (void)unused;
    assert_int_equal(files_read(number, 0x20, FAKE_SHARED_PAGE - 0x10), 0x20);
    assert_memory_equal(files_content, linux_guest->memory + FAKE_SHARED_PAGE - 0x10, 0x20);
    assert_int_equal(files_write(number, 0x9001, "poke", 4), 4);
    assert_memory_equal(linux_guest->memory + 0x9001, "poke", 4);
    assert_int_equal(files_read(number, 0x20, FAKE_MEMORY - 8), 8);
    assert_int_equal(files_read(number, 0x20, FAKE_MEMORY), 0);
    assert_int_equal(files_write(number, FAKE_MEMORY, "x", 1), -22);
    files_close(number);
    number = files_open("/guest/hello/memory", FILES_READ);
    assert_int_equal(files_read(number, 1, 0), -13);
    files_close(number);
    number = files_open("/guest/open/memory", FILES_READ);
    assert_int_equal(files_read(number, 4, 0x9000), 4);
    assert_memory_equal(files_content, fake_hv.guests[FAKE_OPEN].memory + 0x9000, 4);
}

static void objects_are_not_deleted(void **unused)
{
    (void)unused;
    assert_int_equal(files_result(line_ask("vFile:unlink:2f6c6f67")), -13);
}

static void packets_without_sense_are_refused(void **unused)
{
    static const char *const packets[] = {
        "vFile:open:",     "vFile:open:2f6c6f67", "vFile:open:2f,0", "vFile:close:",     "vFile:pread:0",
        "vFile:pread:0,1", "vFile:pwrite:0",      "vFile:fstat:",    "vFile:pwrite:0,0", "vFile:pread:0,1,zz"};

    (void)unused;
    files_open("/log", FILES_READ);
    for (unsigned i = 0; i < sizeof(packets) / sizeof(packets[0]); i++)
        assert_int_equal(files_result(line_ask(packets[i])), -22);
    assert_int_equal(files_result(line_ask("vFile:setfs:0")), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(status_is_a_line_a_field, start),
        cmocka_unit_test_setup(a_status_of_unknown_numbers_is_still_text, start),
        cmocka_unit_test_setup(certificates_come_from_the_firmware, start),
        cmocka_unit_test_setup(a_report_is_for_a_nonce, start),
        cmocka_unit_test_setup(digest_and_measurement_are_bytes, start),
        cmocka_unit_test_setup(what_is_not_there_is_not_found, start),
        cmocka_unit_test_setup(each_object_is_for_reading_or_writing, start),
        cmocka_unit_test_setup(four_can_be_open, start),
        cmocka_unit_test_setup(reading_ends_at_the_end, start),
        cmocka_unit_test_setup(fstat_has_the_size, start),
        cmocka_unit_test_setup(bytes_that_must_be_escaped_fit_in_pieces, start),
        cmocka_unit_test_setup(a_write_is_carried_out_at_close, start),
        cmocka_unit_test_setup(a_line_that_breaks_does_nothing, start),
        cmocka_unit_test_setup(an_object_is_written_without_holes_and_up_to_its_size, start),
        cmocka_unit_test_setup(platform_commands_are_words, start),
        cmocka_unit_test_setup(certificates_are_imported_in_order, start),
        cmocka_unit_test_setup(a_secret_goes_where_it_says_or_where_the_manifest_wants_it, start),
        cmocka_unit_test_setup(a_session_has_three_parts, start),
        cmocka_unit_test_setup(a_console_is_followed, start),
        cmocka_unit_test_setup(the_log_is_read, start),
        cmocka_unit_test_setup(memory_is_at_its_guest_physical_address, start),
        cmocka_unit_test_setup(objects_are_not_deleted, start),
        cmocka_unit_test_setup(packets_without_sense_are_refused, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
