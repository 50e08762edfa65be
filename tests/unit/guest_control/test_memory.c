/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guest memory: any offset and length although the SEV firmware wants units of 16 bytes; page tables; what is remembered. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "guest/control/ask.h"
#include "guest/control/memory.h"
#include "tests/unit/guest_control/fake_hv.h"
#include "tests/unit/guest_control/line.h"

#define DBG_DECRYPT 0x60
#define DBG_ENCRYPT 0x61

static struct fake_guest *const linux_guest = &fake_hv.guests[FAKE_LINUX];
static uint8_t bytes[0x4000];

static int start(void **unused)
{
    (void)unused;
    line_start();
    memory_forget();
    linux_guest->info.state = CONTROL_STATE_PAUSED;
    return 0;
}

static void private_memory_is_read_at_any_offset_and_length(void **unused)
{
    (void)unused;
    for (uint32_t offset = 0; offset < 18; offset++) {
        for (uint32_t size = 1; size < 50; size++) {
            memset(bytes, 0, sizeof(bytes));
            assert_int_equal(memory_read(FAKE_LINUX, MEMORY_PRIVATE, 0x9ff0 + offset, bytes, size), CONTROL_OK);
            assert_memory_equal(bytes, linux_guest->memory + 0x9ff0 + offset, size);
            assert_int_equal(bytes[size], 0);
        }
    }
}

static void private_memory_is_written_at_any_offset_and_length(void **unused)
{
    static uint8_t expected[FAKE_MEMORY];

    (void)unused;
    memset(bytes, 0xee, sizeof(bytes));
    for (uint32_t offset = 0; offset < 18; offset++) {
        for (uint32_t size = 1; size < 50; size++) {
            memcpy(expected, linux_guest->memory, sizeof(expected));
            memset(expected + 0x9ff0 + offset, 0xee, size);
            assert_int_equal(memory_write(FAKE_LINUX, MEMORY_PRIVATE, 0x9ff0 + offset, bytes, size), CONTROL_OK);
            assert_memory_equal(linux_guest->memory, expected, sizeof(expected));
            memset(linux_guest->memory + 0x9ff0 + offset, (int)(offset + size), size);
        }
    }
}

static void whole_units_are_written_without_being_read(void **unused)
{
    (void)unused;
    assert_int_equal(memory_write(FAKE_LINUX, MEMORY_PRIVATE, 0x9000, bytes, 32), CONTROL_OK);
    assert_int_equal(fake_hv.commands[DBG_DECRYPT], 0);
    assert_int_equal(fake_hv.commands[DBG_ENCRYPT], 1);
}

static void a_refusal_of_the_firmware_is_the_result(void **unused)
{
    (void)unused;
    fake_hv.refuse_status = 7;
    assert_int_equal(memory_read(FAKE_LINUX, MEMORY_PRIVATE, 0x9000, bytes, 1), CONTROL_SEV_FAILED);
    assert_string_equal(ask_why(), "the SEV firmware refused (status 0x7)");
    fake_hv.refuse_status = 7;
    assert_int_equal(memory_write(FAKE_LINUX, MEMORY_PRIVATE, 0x9001, bytes, 1), CONTROL_SEV_FAILED);
    assert_int_equal(fake_hv.commands[DBG_ENCRYPT], 0);
}

static void shared_pages_are_read_and_written_as_they_are(void **unused)
{
    (void)unused;
    assert_int_equal(memory_read(FAKE_LINUX, MEMORY_EITHER, FAKE_SHARED_PAGE + 5, bytes, 100), CONTROL_OK);
    assert_memory_equal(bytes, linux_guest->memory + FAKE_SHARED_PAGE + 5, 100);
    assert_int_equal(memory_write(FAKE_LINUX, MEMORY_EITHER, FAKE_SHARED_PAGE + 5, "ab", 2), CONTROL_OK);
    assert_memory_equal(linux_guest->memory + FAKE_SHARED_PAGE + 5, "ab", 2);
    assert_int_equal(fake_hv.commands[DBG_DECRYPT] + fake_hv.commands[DBG_ENCRYPT], 0);
}

static void a_range_of_both_kinds_is_read_page_by_page(void **unused)
{
    (void)unused;
    assert_int_equal(memory_read(FAKE_LINUX, MEMORY_EITHER, FAKE_SHARED_PAGE - 0x1001, bytes, 0x3002), CONTROL_OK);
    assert_memory_equal(bytes, linux_guest->memory + FAKE_SHARED_PAGE - 0x1001, 0x3002);
    memset(bytes, 0x11, 0x3002);
    assert_int_equal(memory_write(FAKE_LINUX, MEMORY_EITHER, FAKE_SHARED_PAGE - 0x1001, bytes, 0x3002), CONTROL_OK);
    assert_memory_equal(bytes, linux_guest->memory + FAKE_SHARED_PAGE - 0x1001, 0x3002);
}

static void private_pages_are_not_read_as_shared(void **unused)
{
    (void)unused;
    assert_int_equal(memory_read(FAKE_LINUX, MEMORY_PLAIN, 0x9000, bytes, 1), CONTROL_NOT_SHARED);
    assert_int_equal(memory_write(FAKE_LINUX, MEMORY_PLAIN, 0x9000, bytes, 1), CONTROL_NOT_SHARED);
}

static uint32_t read_at(uint64_t address, size_t size)
{
    return memory_read_virtual(FAKE_LINUX, true, &linux_guest->vcpus[0], address, bytes, size);
}

static void addresses_go_through_the_guests_page_tables(void **unused)
{
    (void)unused;
    assert_int_equal(read_at(0x9fff, 2), CONTROL_OK);
    assert_memory_equal(bytes, linux_guest->memory + 0x9fff, 2);
    assert_int_equal(read_at(FAKE_HIGH + 0x9ffe, 4), CONTROL_OK); /* a large page */
    assert_memory_equal(bytes, linux_guest->memory + 0x9ffe, 4);
}

static void a_page_without_c_bit_is_read_as_shared(void **unused)
{
    (void)unused;
    assert_int_equal(read_at(FAKE_SHARED_PAGE + 1, 1), CONTROL_OK);
    assert_int_equal(fake_hv.commands[DBG_DECRYPT], 4); /* the tables */
    assert_int_equal(bytes[0], linux_guest->memory[FAKE_SHARED_PAGE + 1]);
}

static void what_is_not_mapped_is_refused(void **unused)
{
    (void)unused;
    assert_int_equal(read_at(FAKE_MEMORY, 1), CONTROL_INVALID);
    assert_string_equal(ask_why(), "the guest's page tables do not map this address");
    assert_int_equal(read_at(UINT64_C(0x123456789000), 1), CONTROL_INVALID);
    assert_int_equal(memory_write_virtual(FAKE_LINUX, true, &linux_guest->vcpus[0], FAKE_MEMORY, "x", 1),
                     CONTROL_INVALID);
}

static void a_walk_is_done_once_while_the_guest_stands(void **unused)
{
    (void)unused;
    assert_int_equal(read_at(0x9000, 1), CONTROL_OK);
    assert_int_equal(fake_hv.commands[DBG_DECRYPT], 5);
    assert_int_equal(read_at(0x9100, 1), CONTROL_OK);
    assert_int_equal(fake_hv.commands[DBG_DECRYPT], 6);
    memory_forget();
    assert_int_equal(read_at(0x9100, 1), CONTROL_OK);
    assert_int_equal(fake_hv.commands[DBG_DECRYPT], 11);
}

static void a_write_may_change_the_page_tables(void **unused)
{
    const uint64_t entry = 0xa003 | UINT64_C(1) << 51;

    (void)unused;
    assert_int_equal(read_at(0x9000, 1), CONTROL_OK);
    /* 0x9000 is mapped to 0xa000 from now on */
    assert_int_equal(memory_write(FAKE_LINUX, MEMORY_PRIVATE, 0x4000 + 9 * 8, &entry, sizeof(entry)), CONTROL_OK);
    linux_guest->memory[0xa000] = 0x99;
    assert_int_equal(read_at(0x9000, 1), CONTROL_OK);
    assert_int_equal(bytes[0], 0x99);
}

static void without_paging_addresses_are_physical(void **unused)
{
    (void)unused;
    linux_guest->vcpus[0].cr0 = 0x10;
    assert_int_equal(read_at(0xb001, 3), CONTROL_OK);
    assert_memory_equal(bytes, linux_guest->memory + 0xb001, 3);
    assert_int_equal(fake_hv.commands[DBG_DECRYPT], 1);
    linux_guest->vcpus[0].cr0 = 0x80000001;
    linux_guest->vcpus[0].efer = 0;
    assert_int_equal(read_at(0xb001, 3), CONTROL_INVALID);
}

static void page_tables_that_loop_end(void **unused)
{
    const uint64_t self = 0x1003;

    (void)unused;
    memcpy(linux_guest->memory + 0x1000, &self, sizeof(self));
    assert_int_equal(read_at(0, 8), CONTROL_NOT_SHARED); /* the table as a page, its C-bit clear */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(private_memory_is_read_at_any_offset_and_length, start),
        cmocka_unit_test_setup(private_memory_is_written_at_any_offset_and_length, start),
        cmocka_unit_test_setup(whole_units_are_written_without_being_read, start),
        cmocka_unit_test_setup(a_refusal_of_the_firmware_is_the_result, start),
        cmocka_unit_test_setup(shared_pages_are_read_and_written_as_they_are, start),
        cmocka_unit_test_setup(a_range_of_both_kinds_is_read_page_by_page, start),
        cmocka_unit_test_setup(private_pages_are_not_read_as_shared, start),
        cmocka_unit_test_setup(addresses_go_through_the_guests_page_tables, start),
        cmocka_unit_test_setup(a_page_without_c_bit_is_read_as_shared, start),
        cmocka_unit_test_setup(what_is_not_mapped_is_refused, start),
        cmocka_unit_test_setup(a_walk_is_done_once_while_the_guest_stands, start),
        cmocka_unit_test_setup(a_write_may_change_the_page_tables, start),
        cmocka_unit_test_setup(without_paging_addresses_are_physical, start),
        cmocka_unit_test_setup(page_tables_that_loop_end, start),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
