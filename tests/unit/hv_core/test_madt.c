/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "test.h"

#include <string.h>

#include "boot/boot.h"

static uint8_t table[65536];
static uint32_t size;
struct handoff handoff;

static void begin(void)
{
    memset(table, 0, sizeof(table));
    size = MADT_ENTRIES;
    memset(&handoff, 0, sizeof(handoff));
}

static void local_apic(uint8_t id, uint8_t flags)
{
    const uint8_t entry[8] = {0, 8, 0, id, flags};
    memcpy(table + size, entry, sizeof(entry));
    size += sizeof(entry);
}

static void local_x2apic(uint32_t id, uint8_t flags)
{
    uint8_t entry[16] = {9, 16, 0, 0, [8] = flags};
    memcpy(entry + 4, &id, sizeof(id));
    memcpy(table + size, entry, sizeof(entry));
    size += sizeof(entry);
}

static void other(uint8_t type, uint8_t length)
{
    table[size] = type;
    table[size + 1] = length;
    size += length;
}

/* From memory that ends where the table does, so that the sanitizer sees a byte too far. */
static void read_exactly(uint32_t bytes)
{
    uint8_t *exact = malloc(bytes > 0 ? bytes : 1);
    memcpy(exact, table, bytes);
    madt_read(exact, bytes);
    free(exact);
}

static void both_kinds_are_read_each_id_once(void **state)
{
    (void)state;
    begin();
    madt_add(0);
    local_apic(0, 1);
    local_apic(2, 1);
    other(1, 12);               /* an I/O APIC */
    local_x2apic(2, 1);
    local_x2apic(0x12345, 1);
    local_apic(7, 0);           /* not enabled */
    local_apic(8, 2);           /* online capable only */
    local_apic(0xff, 0);        /* filled up */
    local_x2apic(UINT32_MAX, 0);
    other(4, 6);
    read_exactly(size);
    assert_int_equal(handoff.cpu_count, 3);
    assert_int_equal(handoff.apic_ids[0], 0);
    assert_int_equal(handoff.apic_ids[1], 2);
    assert_int_equal(handoff.apic_ids[2], 0x12345);
    assert_int_equal(handoff.cpus_left_out, 0);
}

/* Whether an interrupt can be sent to it is not the table's business. */
static void id_255_is_a_cpu_in_either_form_and_one_in_both(void **state)
{
    (void)state;
    for (unsigned forms = 1; forms < 4; forms++) {
        begin();
        if ((forms & 1) != 0)
            local_apic(255, 1);
        if ((forms & 2) != 0)
            local_x2apic(255, 1);
        read_exactly(size);
        assert_int_equal(handoff.cpu_count, 1);
        assert_int_equal(handoff.apic_ids[0], 255);
        assert_int_equal(handoff.cpus_left_out, 0);
    }
    begin();
    local_x2apic(UINT32_MAX, 1);
    read_exactly(size);
    assert_int_equal(handoff.cpu_count, 1);
}

static void more_than_255_have_x2apic_ids(void **state)
{
    (void)state;
    begin();
    for (uint32_t i = 0; i < 1030; i++)
        local_x2apic(i * 2, 1);
    read_exactly(size);
    assert_int_equal(handoff.cpu_count, 1024);
    assert_int_equal(handoff.apic_ids[1023], 2046);
    assert_int_equal(handoff.cpus_left_out, 6);
}

static void malformed_entries_end_the_reading(void **state)
{
    (void)state;
    static const struct {
        uint8_t type, length;
        uint32_t left;
    } cases[] = {
        {0, 0, 8}, {0, 1, 8}, {0, 200, 8}, {9, 16, 15}, {0, 8, 1}, {0, 8, 7}, {5, 255, 2},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        begin();
        local_apic(3, 1);
        table[size] = cases[i].type;
        table[size + 1] = cases[i].length;
        memset(table + size + 2, 1, 14);
        read_exactly(size + cases[i].left);
        assert_int_equal(handoff.cpu_count, 1);
    }
    /* A length of 1 does not lead to what looks like entries behind it. */
    begin();
    memcpy(table + size, (const uint8_t[]){0, 1, 2, 0, 8, 0, 9, 1}, 8);
    read_exactly(size + 16);
    assert_int_equal(handoff.cpu_count, 0);
    /* Too short for what their type says: skipped. */
    begin();
    other(0, 4);
    other(9, 12);
    local_apic(5, 1);
    read_exactly(size);
    assert_int_equal(handoff.cpu_count, 1);
    assert_int_equal(handoff.apic_ids[0], 5);
    begin();
    for (uint32_t bytes = 0; bytes < MADT_ENTRIES; bytes++)
        read_exactly(bytes);
    read_exactly(MADT_ENTRIES);
    assert_int_equal(handoff.cpu_count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_kinds_are_read_each_id_once),
        cmocka_unit_test(more_than_255_have_x2apic_ids),
        cmocka_unit_test(id_255_is_a_cpu_in_either_form_and_one_in_both),
        cmocka_unit_test(malformed_entries_end_the_reading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
