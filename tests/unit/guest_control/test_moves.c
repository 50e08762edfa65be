/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's pages and states as objects, and the words of its way. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "guest/control/ask.h"
#include "guest/crc32.h"
#include "tests/unit/guest_control/fake_hv.h"
#include "tests/unit/guest_control/files.h"
#include "tests/unit/guest_control/line.h"

#define PAGE 4096
#define PRIVATE (4 + 52 + PAGE)
#define PLAIN (4 + PAGE)
#define CERTIFICATES (4 * 2084)

static struct fake_guest *const linux_guest = &fake_hv.guests[FAKE_LINUX];
static struct fake_guest *const other = &fake_hv.guests[FAKE_HELLO]; /* where it arrives */
static uint8_t certificates[CERTIFICATES + 3200], record[3 * PRIVATE];

static int start(void **unused)
{
    (void)unused;
    line_start();
    for (unsigned i = 0; i < sizeof(certificates); i++)
        certificates[i] = (uint8_t)(i / 2084 + i % 7);
    memcpy(fake_hv.certificates, certificates, sizeof(fake_hv.certificates));
    other->info.policy = 0;
    other->info.vcpus = 2;
    other->info.state = CONTROL_STATE_ENDED;
    return 0;
}

/* The sum that stands before what follows it. */
static bool is_sealed(uint64_t number, const void *bytes, int size)
{
    uint32_t told;

    memcpy(&told, bytes, sizeof(told));
    return told ==
           crc32_update(crc32_update(0, &number, sizeof(number)), (const uint8_t *)bytes + 4, (uint64_t)size - 4);
}

static void word(const char *path, const char *command, int error)
{
    assert_int_equal(files_put(path, command, strlen(command)), error);
}

static void begin(void)
{
    assert_int_equal(files_put("/guest/linux/send", certificates, sizeof(certificates)), 0);
}

static void a_list_of_pages_is_sealed_and_begins_where_its_name_says(void **unused)
{
    (void)unused;
    assert_int_equal(files_get("/guest/linux/pages-0"), 4 + FAKE_PAGES);
    assert_true(is_sealed(0, files_content, 4 + FAKE_PAGES));
    assert_int_equal(files_content[4 + FAKE_SHARED_PAGE / PAGE], 7);
    assert_int_equal(files_content[4 + FAKE_UNTOUCHED / PAGE], 0);
    assert_int_equal(files_get("/guest/linux/pages-e"), 4 + 2);
    assert_true(is_sealed(0xe, files_content, 6) && !is_sealed(0, files_content, 6));
    assert_false(linux_guest->moving.tracked);
    assert_int_equal(files_get("/guest/linux/pages-10"), -22);
    assert_int_equal(files_get("/guest/linux/pages-100000000"), -22);
    assert_int_equal(files_get("/guest/linux/pages-"), -2);
    assert_int_equal(files_get("/guest/linux/pages-1x"), -2);
    assert_int_equal(files_get("/guest/plain/pages-0"), -13);
}

static void dirty_pages_are_told_once(void **unused)
{
    (void)unused;
    assert_int_equal(files_get("/guest/linux/dirty-0"), 4 + FAKE_PAGES);
    assert_int_equal(files_content[4], CONTROL_PAGE_TOUCHED | CONTROL_PAGE_DIRTY);
    fake_time();
    assert_int_equal(files_get("/guest/linux/dirty-0"), 4 + FAKE_PAGES);
    for (int i = 0; i < (int)FAKE_PAGES; i++)
        assert_int_equal((files_content[4 + i] & CONTROL_PAGE_DIRTY) != 0, i == FAKE_COUNTER / PAGE);
}

static void send_start_takes_certificates_and_gives_a_session(void **unused)
{
    (void)unused;
    assert_int_equal(files_get("/guest/linux/send"), -16);
    assert_int_equal(files_put("/guest/linux/send", certificates, 4 * 2084 + 1663), -22);
    assert_int_equal(fake_hv.commands[0x40], 0);
    linux_guest->info.policy = 0x12;
    begin();
    assert_int_equal(fake_hv.commands[0x40], 1);
    assert_int_equal(files_get("/guest/linux/send"), 4 + 128);
    assert_int_equal(files_content[0], 0x12);
    assert_int_equal(files_content[6], 's');
    assert_int_equal(files_get("/guest/hello/send"), -16);
    assert_int_equal(files_open("/guest/linux/send", FILES_READ_WRITE), -22);
    word("/guest/linux/command", "send-cancel", 0);
    assert_int_equal(files_get("/guest/linux/send"), -16);
    assert_int_equal(files_put("/guest/linux/send", certificates, CERTIFICATES + 1664), 0);
    linux_guest->info.policy = 8;
    assert_int_equal(files_put("/guest/linux/send", certificates, sizeof(certificates)), -13);
}

static void a_page_is_a_record_at_its_place(void **unused)
{
    int packets, plain;

    (void)unused;
    begin();
    packets = files_open("/guest/linux/packets", FILES_READ);
    plain = files_open("/guest/linux/plain", FILES_READ);
    assert_int_equal(files_read(packets, 0x4000, 9 * PRIVATE), 3 * PRIVATE);
    for (int i = 0; i < 3; i++)
        assert_true(is_sealed(9 + (uint64_t)i, files_content + i * PRIVATE, PRIVATE));
    assert_int_equal(files_read(packets, PRIVATE, 5 * PRIVATE), PRIVATE);
    assert_true(is_sealed(5, files_content, PRIVATE));
    assert_int_equal((uint8_t)files_content[56],
                     linux_guest->memory[5 * PAGE] ^ linux_guest->moving.key ^ fake_hv.packets);
    assert_int_equal(files_read(plain, PLAIN, 8 * PLAIN), PLAIN);
    assert_true(is_sealed(8, files_content, PLAIN));
    assert_memory_equal(files_content + 4, linux_guest->memory + 8 * PAGE, PAGE);
    assert_int_equal(files_read(plain, PLAIN, 9 * PLAIN), -13);
    assert_int_equal(files_read(packets, PRIVATE, 16 * PRIVATE), -5);
    /* Up to where memory ends. */
    assert_int_equal(files_read(packets, 0x4000, 15 * PRIVATE), PRIVATE);
}

static void who_reads_on_in_a_record_reads_the_same_packet(void **unused)
{
    int number;
    uint32_t before;

    (void)unused;
    begin();
    number = files_open("/guest/linux/packets", FILES_READ);
    assert_int_equal(files_read(number, 100, 2 * PRIVATE), 100);
    memcpy(record, files_content, 100);
    before = fake_hv.commands[0x41];
    assert_int_equal(files_read(number, PRIVATE, 2 * PRIVATE + 100), PRIVATE - 100);
    memcpy(record + 100, files_content, PRIVATE - 100);
    assert_true(is_sealed(2, record, PRIVATE));
    assert_int_equal(fake_hv.commands[0x41], before);
    assert_int_equal(files_read(number, 100, 3 * PRIVATE + 100), -22);
    assert_int_equal(files_read(number, 100, 1 * PRIVATE + 100), -22);
    /* From its beginning it is another one. */
    assert_int_equal(files_read(number, 100, 2 * PRIVATE), 100);
    assert_memory_not_equal(record, files_content, 100);
}

static void states_are_sealed_and_of_a_paused_guest(void **unused)
{
    int whole = 4 + (int)sizeof(struct control_guest_state), vcpu = 4 + (int)sizeof(struct control_vcpu_state);

    (void)unused;
    assert_int_equal(files_get("/guest/linux/state-ff"), -16);
    word("/guest/linux/command", "pause", 0);
    assert_int_equal(files_get("/guest/linux/state-ff"), whole);
    assert_true(is_sealed(0xff, files_content, whole));
    assert_int_equal(files_content[4 + 12], 1); /* MIGRATION_CONTROL */
    assert_int_equal(files_get("/guest/linux/state-1"), vcpu);
    assert_true(is_sealed(1, files_content, vcpu));
    assert_int_equal(files_content[vcpu - 1], 'y');
    assert_int_equal(files_get("/guest/linux/state-2"), -22);
    assert_int_equal(files_get("/guest/linux/state-ffffffff"), -22);
    assert_int_equal(files_put("/guest/linux/state-1", files_content, 100), -22);
}

/* Reads `size` bytes at `offset` of an object, and writes them to another. */
static void hand_over(const char *from, const char *to, uint64_t offset, int size)
{
    int source = files_open(from, FILES_READ), target = files_open(to, FILES_WRITE);

    assert_int_equal(files_read(source, (size_t)size, offset), size);
    assert_int_equal(files_write(target, offset, files_content, (size_t)size), size);
    assert_int_equal(files_close(source), 0);
    assert_int_equal(files_close(target), 0);
}

static void receive(void)
{
    uint8_t session[4 + 2084 + 128];

    word("/guest/hello/command", "receive", 0);
    assert_int_equal(files_get("/guest/linux/send"), 4 + 128);
    memcpy(session, files_content, 4);
    memcpy(session + 4, certificates, 2084);
    memcpy(session + 4 + 2084, files_content + 4, 128);
    assert_int_equal(files_put("/guest/hello/session", session, sizeof(session)), 0);
    assert_true(files_get("/guest/hello/status") > 0);
    assert_non_null(strstr(files_content, "\nstate: receiving\n"));
}

static void a_guest_moves_and_its_source_never_runs_again(void **unused)
{
    static const char *const states[] = {"state-ff", "state-0", "state-1"};
    char from[64], to[64];

    (void)unused;
    begin();
    receive();
    word("/guest/linux/command", "pause", 0);
    for (uint64_t page = 0; page < FAKE_PAGES; page++) {
        if (page == FAKE_SHARED_PAGE / PAGE)
            hand_over("/guest/linux/plain", "/guest/hello/plain", page * PLAIN, PLAIN);
        else if (page != FAKE_UNTOUCHED / PAGE)
            hand_over("/guest/linux/packets", "/guest/hello/packets", page * PRIVATE, PRIVATE);
    }
    word("/guest/hello/command", "receive-finish", 0);
    word("/guest/hello/command", "yours", -16); /* its states lack */
    for (unsigned i = 0; i < 3; i++) {
        sprintf(from, "/guest/linux/%s", states[i]);
        sprintf(to, "/guest/hello/%s", states[i]);
        assert_true(files_get(from) > 0);
        assert_int_equal(
            files_put(to, files_content,
                      i == 0 ? 4 + sizeof(struct control_guest_state) : 4 + sizeof(struct control_vcpu_state)),
            0);
    }
    /* Nobody resumes by accident what may still run elsewhere. */
    word("/guest/hello/command", "resume", -16);
    assert_non_null(strstr(ask_why(), "`yours`"));
    word("/guest/linux/command", "send-finish", 0);
    assert_int_equal(linux_guest->info.state, CONTROL_STATE_ENDED);
    word("/guest/hello/command", "yours", 0);
    assert_int_equal(other->info.state, CONTROL_STATE_RUNNING);
    word("/guest/hello/command", "yours", -16);
    for (uint32_t page = 0; page < FAKE_PAGES; page++) {
        if (page != FAKE_UNTOUCHED / PAGE)
            assert_memory_equal(other->memory + page * PAGE, linux_guest->memory + page * PAGE, PAGE);
    }
    assert_memory_equal(&other->vcpus[1], &linux_guest->vcpus[1], sizeof(struct control_vcpu));
}

static void what_is_damaged_or_misplaced_is_not_taken(void **unused)
{
    int number;

    (void)unused;
    begin();
    receive();
    number = files_open("/guest/linux/packets", FILES_READ);
    assert_int_equal(files_read(number, 0x4000, 0), 3 * PRIVATE);
    memcpy(record, files_content, 3 * PRIVATE);
    number = files_open("/guest/hello/packets", FILES_WRITE);
    for (int at = 0; at < PRIVATE; at += 7) {
        record[at] ^= 1;
        assert_int_equal(files_write(number, 0, record, PRIVATE), -22);
        record[at] ^= 1;
    }
    assert_non_null(strstr(ask_why(), "damaged on the line"));
    assert_int_equal(files_write(number, PRIVATE, record, PRIVATE), -22);
    assert_int_equal(files_write(number, 1, record, PRIVATE), -22);
    assert_int_equal(files_write(number, 0, record, PRIVATE - 1), -22);
    assert_int_equal(fake_hv.commands[0x51], 0);
    /* Of three, those before the first damaged one; whole ones alone of what is cut. */
    record[2 * PRIVATE + 60] ^= 1;
    assert_int_equal(files_write(number, 0, record, 3 * PRIVATE), 2 * PRIVATE);
    assert_int_equal(fake_hv.commands[0x51], 2);
    assert_int_equal(files_write(number, 0, record, PRIVATE + 10), PRIVATE);
    number = files_open("/guest/hello/plain", FILES_WRITE);
    assert_int_equal(files_write(number, 0, record, PLAIN), -22);
    word("/guest/linux/command", "pause", 0);
    assert_true(files_get("/guest/linux/state-0") > 0);
    files_content[100] ^= 1;
    assert_int_equal(files_put("/guest/hello/state-0", files_content, 4 + sizeof(struct control_vcpu_state)), -22);
    files_content[100] ^= 1;
    assert_int_equal(files_put("/guest/hello/state-1", files_content, 4 + sizeof(struct control_vcpu_state)), -22);
    assert_int_equal(files_put("/guest/hello/state-0", files_content, 4 + sizeof(struct control_vcpu_state)), 0);
    assert_int_equal(other->moving.states, 1);
}

static void a_packet_of_another_session_is_refused_by_the_firmware(void **unused)
{
    int number;

    (void)unused;
    begin();
    number = files_open("/guest/linux/packets", FILES_READ);
    assert_int_equal(files_read(number, PRIVATE, 0), PRIVATE);
    memcpy(record, files_content, PRIVATE);
    word("/guest/linux/command", "send-cancel", 0);
    begin();
    receive();
    number = files_open("/guest/hello/packets", FILES_WRITE);
    assert_int_equal(files_write(number, 0, record, PRIVATE), -5);
}

static void words_are_refused_in_another_state(void **unused)
{
    (void)unused;
    word("/guest/linux/command", "receive", -16);
    word("/guest/linux/command", "yours", -16);
    word("/guest/linux/command", "send-finish", -16);
    word("/guest/linux/command", "send-cancel", -5);
    word("/guest/linux/command", "receive-finish", -16);
    word("/guest/linux/command", "send-finis", -22);
    word("/guest/plain/command", "send-cancel", -13);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_list_of_pages_is_sealed_and_begins_where_its_name_says, start),
        cmocka_unit_test_setup(dirty_pages_are_told_once, start),
        cmocka_unit_test_setup(send_start_takes_certificates_and_gives_a_session, start),
        cmocka_unit_test_setup(a_page_is_a_record_at_its_place, start),
        cmocka_unit_test_setup(who_reads_on_in_a_record_reads_the_same_packet, start),
        cmocka_unit_test_setup(states_are_sealed_and_of_a_paused_guest, start),
        cmocka_unit_test_setup(a_guest_moves_and_its_source_never_runs_again, start),
        cmocka_unit_test_setup(what_is_damaged_or_misplaced_is_not_taken, start),
        cmocka_unit_test_setup(a_packet_of_another_session_is_refused_by_the_firmware, start),
        cmocka_unit_test_setup(words_are_refused_in_another_state, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
