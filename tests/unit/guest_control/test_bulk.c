/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Commands of the SEV firmware with their data, INIT_EX's state, an image: as objects. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "guest/control/ask.h"
#include "guest/control/bulk.h"
#include "guest/control/machine.h"
#include "guest/control/objects.h"
#include "tests/unit/guest_control/fake_lab.h"
#include "tests/unit/guest_control/line.h"

static uint8_t bytes[BULK_ROOM + 256];
static struct control_answer answer;

static int start(void **unused)
{
    (void)unused;
    line_start();
    memset(bytes, 0, sizeof(bytes));
    return 0;
}

static int open_object(const char *path, unsigned flags)
{
    return objects_open(path, strlen(path), flags);
}

/* Written in pieces, as packets bring it. */
static int put(const char *path, const void *data, size_t size)
{
    int number = open_object(path, OBJECTS_WRITE);

    assert_true(number >= 0);
    for (size_t at = 0; at < size; at += 1000) {
        size_t piece = size - at < 1000 ? size - at : 1000;

        assert_int_equal(objects_write((uint64_t)number, at, (const uint8_t *)data + at, piece), piece);
    }
    return objects_close((uint64_t)number);
}

static int get(const char *path, uint64_t offset, void *to, size_t size)
{
    int number = open_object(path, OBJECTS_READ), got;

    if (number < 0)
        return number;
    got = objects_read((uint64_t)number, offset, to, size);
    assert_int_equal(objects_close((uint64_t)number), 0);
    return got;
}

static int command(const char *path, struct control_request request, const void *data, size_t size)
{
    int error;

    memcpy(bytes, &request, sizeof(request));
    memcpy(bytes + sizeof(request), data, size);
    error = put(path, bytes, sizeof(request) + size);
    assert_int_equal(get(path, 0, &answer, sizeof(answer)), sizeof(answer));
    return error;
}

static void set64(struct control_request *request, size_t at, uint64_t value)
{
    memcpy(request->buffer + at, &value, sizeof(value));
}

static void set32(struct control_request *request, size_t at, uint32_t value)
{
    memcpy(request->buffer + at, &value, sizeof(value));
}

static void a_command_goes_through_with_its_buffer_and_comes_back_with_its_data(void **unused)
{
    struct control_request request = {
        .sequence = 77, .operation = 99, .guest = 99, .vcpu = 9, .command = 0x0c, .argument = 160, .reserved = 5};
    uint8_t chips[200];
    uint32_t length;

    (void)unused;
    set64(&request, 0, BULK_DATA);
    set32(&request, 8, 128);
    memset((uint8_t *)(uintptr_t)machine_window() + BULK_DATA, 'X', 4096); /* of an earlier command */
    assert_int_equal(command("/platform/firmware", request, "", 0), 0);
    assert_int_equal(answer.sequence, 77);
    assert_int_equal(answer.result, CONTROL_OK);
    assert_int_equal(answer.value, 250); /* microseconds */
    memcpy(&length, answer.buffer + 8, sizeof(length));
    assert_int_equal(length, 128);
    assert_int_equal(fake_hv.last_firmware.operation, CONTROL_FIRMWARE);
    assert_int_equal(fake_hv.last_firmware.vcpu, 0);
    assert_memory_equal(fake_hv.last_firmware.buffer, request.buffer, sizeof(request.buffer));
    assert_int_equal(get("/platform/firmware", sizeof(answer), chips, sizeof(chips)), 160);
    for (unsigned i = 0; i < 160; i++)
        assert_int_equal(chips[i], i < 128 ? 'I' : 0);
}

static void its_data_reach_the_secure_processor(void **unused)
{
    struct control_request request = {.sequence = 1, .command = 0x07};
    static uint8_t certificates[2 * 4096];

    (void)unused;
    memset(certificates, 'p', 2084);
    memset(certificates + 4096, 'o', 2084);
    set64(&request, 0x00, BULK_DATA);
    set32(&request, 0x08, 2084);
    set64(&request, 0x10, BULK_DATA + 4096);
    set32(&request, 0x18, 2084);
    assert_int_equal(command("/platform/firmware", request, certificates, sizeof(certificates)), 0);
    assert_memory_equal(fake_hv.imported[0], certificates, 2084);
    assert_memory_equal(fake_hv.imported[1], certificates + 4096, 2084);
}

static void refusals_are_errors_and_answers(void **unused)
{
    struct control_request request = {.sequence = 5, .command = 0x0c, .argument = 64};

    (void)unused;
    set64(&request, 0, BULK_DATA);
    set32(&request, 8, 64);
    assert_int_equal(command("/platform/firmware", request, "", 0), -OBJECTS_EIO);
    assert_int_equal(answer.result, CONTROL_SEV_FAILED);
    assert_int_equal(answer.status, 4);
    assert_int_equal(answer.buffer[8], 128); /* what it wants */
    assert_string_equal(answer.text, "the SEV firmware refused (status 0x4)");
    request = (struct control_request){.sequence = 6, .command = 0x0f};
    assert_int_equal(command("/platform/firmware", request, "", 0), -OBJECTS_EINVAL);
    assert_int_equal(answer.result, CONTROL_UNKNOWN);
    assert_string_equal(answer.text, "the hypervisor does not offer that");
    request = (struct control_request){.sequence = 7, .command = 0x02};
    assert_int_equal(command("/platform/firmware", request, "", 0), -OBJECTS_EBUSY);
    assert_int_equal(answer.result, CONTROL_IN_USE);
}

static void the_guest_is_that_of_the_path(void **unused)
{
    struct control_request request = {.sequence = 1, .guest = FAKE_HELLO, .command = 0x23};

    (void)unused;
    fake_hv.guests[FAKE_LINUX].info.asid = 7;
    assert_int_equal(command("/guest/linux/firmware", request, "", 0), 0);
    assert_int_equal(fake_hv.last_firmware.guest, FAKE_LINUX);
    assert_int_equal(answer.buffer[8], 7);
    assert_int_equal(command("/platform/firmware", request, "", 0), -OBJECTS_ENOENT);
    assert_int_equal(answer.result, CONTROL_NO_GUEST);
    assert_int_equal(open_object("/guest/nobody/firmware", OBJECTS_WRITE), -OBJECTS_ENOENT);
}

static void a_command_that_is_not_whole_is_not_sent(void **unused)
{
    struct control_request request = {.sequence = 1, .command = 0x0e};
    int number;

    (void)unused;
    assert_int_equal(put("/platform/firmware", &request, sizeof(request) - 1), -OBJECTS_EINVAL);
    request.argument = BULK_ROOM + 1;
    assert_int_equal(put("/platform/firmware", &request, sizeof(request)), -OBJECTS_EINVAL);
    assert_int_equal(fake_hv.commands[0x0e], 0);
    number = open_object("/platform/firmware", OBJECTS_WRITE);
    assert_int_equal(objects_write((uint64_t)number, 1, "x", 1), -OBJECTS_EINVAL);
    objects_close((uint64_t)number);
    number = open_object("/platform/firmware", OBJECTS_WRITE); /* and a line that breaks does nothing */
    request.argument = 0;
    assert_int_equal(objects_write((uint64_t)number, 0, &request, sizeof(request)), sizeof(request));
    objects_close_all();
    assert_int_equal(fake_hv.commands[0x0e], 0);
    assert_int_equal(open_object("/platform/firmware", OBJECTS_READ_WRITE), -OBJECTS_EINVAL);
}

static void the_window_has_room_and_no_more(void **unused)
{
    static uint8_t image[BULK_ROOM];
    int number;

    (void)unused;
    memset(image, 1, sizeof(image));
    image[0] = '$';
    assert_int_equal(put("/platform/image", image, sizeof(image)), 0);
    assert_int_equal(fake_lab.image_size, BULK_ROOM);
    assert_int_equal(fake_lab.image_sum, '$' + BULK_ROOM - 1);
    number = open_object("/platform/image", OBJECTS_WRITE);
    assert_int_equal(objects_write((uint64_t)number, 0, image, sizeof(image)), sizeof(image));
    assert_int_equal(objects_write((uint64_t)number, sizeof(image), image, 1), -OBJECTS_EINVAL);
    assert_int_equal(objects_write((uint64_t)number, UINT64_MAX, image, 1), -OBJECTS_EINVAL);
    assert_int_equal(objects_write((uint64_t)number, UINT64_MAX - 64, image, 128), -OBJECTS_EINVAL);
    objects_close_all();
    image[0] = '?';
    assert_int_equal(put("/platform/image", image, 100), -OBJECTS_EIO);
    assert_string_equal(ask_why(), "the SEV firmware refused (status 0xa)");
    assert_int_equal(open_object("/platform/image", OBJECTS_READ), -OBJECTS_EACCES);
}

static void the_state_is_given_and_comes_back_as_the_firmware_left_it(void **unused)
{
    static uint8_t state[BULK_STATE_SIZE], back[BULK_STATE_SIZE + 1];

    (void)unused;
    assert_int_equal(get("/platform/state", 0, back, sizeof(back)), -OBJECTS_EBUSY);
    assert_non_null(strstr(ask_why(), "only after INIT_EX"));
    memset(state, 's', sizeof(state));
    assert_int_equal(put("/platform/state", state, sizeof(state) - 1), -OBJECTS_EINVAL);
    assert_int_equal(fake_hv.commands[0x0d], 0);
    assert_int_equal(put("/platform/state", state, sizeof(state)), 0);
    assert_int_equal(fake_hv.commands[0x0d], 1);
    memset((uint8_t *)(uintptr_t)machine_window() + BULK_DATA, 0, BULK_STATE_SIZE);
    state[0] = 'K';
    assert_int_equal(get("/platform/state", 0, back, sizeof(back)), sizeof(state));
    assert_memory_equal(back, state, sizeof(state));
    assert_int_equal(get("/platform/state", BULK_STATE_SIZE - 4, back, sizeof(back)), 4);
    assert_int_equal(get("/platform/state", UINT64_MAX, back, sizeof(back)), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_command_goes_through_with_its_buffer_and_comes_back_with_its_data, start),
        cmocka_unit_test_setup(its_data_reach_the_secure_processor, start),
        cmocka_unit_test_setup(refusals_are_errors_and_answers, start),
        cmocka_unit_test_setup(the_guest_is_that_of_the_path, start),
        cmocka_unit_test_setup(a_command_that_is_not_whole_is_not_sent, start),
        cmocka_unit_test_setup(the_window_has_room_and_no_more, start),
        cmocka_unit_test_setup(the_state_is_given_and_comes_back_as_the_firmware_left_it, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
