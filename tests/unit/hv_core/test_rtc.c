/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Battery clocks of all sorts: what guests get as date and time. */
#include "test.h"

#include <time.h>

#include "hv/cpu/rtc.h"
#include "../hv_devices/fake_ports.h"

enum { BINARY = 4, HOURS_24 = 2 };

static struct {
    uint8_t registers[128], index;
    unsigned updates;           /* so many looks at register A find an update in progress */
    unsigned ticks;             /* so many reads of the seconds find them changed */
    unsigned accesses;
} chip;

void out8(uint16_t port, uint8_t value)
{
    assert_int_equal(port, 0x70);
    chip.index = value;
}

uint8_t in8(uint16_t port)
{
    assert_int_equal(port, 0x71);
    chip.accesses++;
    uint8_t value = chip.registers[chip.index];
    if (chip.index == 10 && chip.updates > 0) {
        chip.updates--;
        value |= 0x80;
    }
    if (chip.index == 0 && chip.ticks > 0) {
        chip.ticks--;
        chip.registers[0] ^= 1;
    }
    return value;
}

static uint8_t coded(int value, uint8_t format)
{
    return (uint8_t)((format & BINARY) != 0 ? value : value / 10 << 4 | value % 10);
}

static void holds(int year, int month, int day, int hour, int minute, int second, uint8_t format)
{
    memset(&chip, 0, sizeof chip);
    uint8_t hours = coded(hour, format);
    if ((format & HOURS_24) == 0)
        hours = (uint8_t)(coded(hour % 12 == 0 ? 12 : hour % 12, format) | (hour >= 12 ? 0x80 : 0));
    chip.registers[0] = coded(second, format);
    chip.registers[2] = coded(minute, format);
    chip.registers[4] = hours;
    chip.registers[7] = coded(day, format);
    chip.registers[8] = coded(month, format);
    chip.registers[9] = coded(year % 100, format);
    chip.registers[11] = format;
    chip.registers[13] = 0x80;
}

static uint64_t seconds(int year, int month, int day, int hour, int minute, int second)
{
    struct tm t = {.tm_year = year - 1900,
                   .tm_mon = month - 1,
                   .tm_mday = day,
                   .tm_hour = hour,
                   .tm_min = minute,
                   .tm_sec = second};
    return (uint64_t)timegm(&t);
}

static const char *fault;

static void reads(uint64_t expected, const char *expected_fault)
{
    assert_int_equal(rtc_read(&fault), expected);
    if (expected_fault == NULL)
        assert_null(fault);
    else
        assert_string_equal(fault, expected_fault);
}

static void days_agree_with_the_c_library(void **state)
{
    (void)state;
    for (time_t day = 0; day < 60000; day++) {
        time_t at = day * 86400;
        struct tm t;
        gmtime_r(&at, &t);
        assert_int_equal(rtc_days((uint32_t)t.tm_year + 1900, (uint32_t)t.tm_mon + 1, (uint32_t)t.tm_mday), day);
    }
}

static void every_format_is_understood(void **state)
{
    (void)state;
    static const uint8_t formats[] = {0, BINARY, HOURS_24, BINARY | HOURS_24};
    for (unsigned i = 0; i < sizeof formats; i++) {
        for (int hour = 0; hour < 24; hour++) {
            holds(2026, 11, 29, hour, 58, 59, formats[i]);
            reads(seconds(2026, 11, 29, hour, 58, 59), NULL);
        }
        holds(2069, 12, 31, 23, 59, 59, formats[i]);
        reads(seconds(2069, 12, 31, 23, 59, 59), NULL);
        holds(2028, 2, 29, 0, 0, 0, formats[i]);
        reads(seconds(2028, 2, 29, 0, 0, 0), NULL);
        holds(2024, 1, 1, 0, 0, 0, formats[i]);
        reads(seconds(2024, 1, 1, 0, 0, 0), NULL);
    }
}

static void a_clock_of_the_1900s_is_told_and_is_not_of_the_2090s(void **state)
{
    (void)state;
    holds(1999, 12, 31, 23, 59, 59, HOURS_24);
    reads(seconds(1999, 12, 31, 23, 59, 59), "it is years behind");
    holds(1970, 1, 1, 0, 0, 1, HOURS_24);
    reads(1, "it is years behind");
    holds(2023, 12, 31, 0, 0, 0, HOURS_24);
    reads(seconds(2023, 12, 31, 0, 0, 0), "it is years behind");
}

static void an_empty_battery_is_told(void **state)
{
    (void)state;
    holds(2026, 1, 2, 3, 4, 5, HOURS_24);
    chip.registers[13] = 0x7f;
    reads(seconds(2026, 1, 2, 3, 4, 5), "its battery is empty");
}

static void nonsense_is_no_time(void **state)
{
    (void)state;
    static const struct {
        uint8_t index, value, format;
        const char *fault;
    } wrong[] = {
        {0, 0x60, HOURS_24, "it holds no time"}, {0, 0x0a, HOURS_24, "it holds no time"},
        {0, 0xa0, HOURS_24, "it holds no time"}, {0, 60, HOURS_24 | BINARY, "it holds no time"},
        {2, 0x60, HOURS_24, "it holds no time"}, {2, 60, HOURS_24 | BINARY, "it holds no time"},
        {4, 0x24, HOURS_24, "it holds no time"}, {4, 24, HOURS_24 | BINARY, "it holds no time"},
        {4, 0x81, HOURS_24, "it holds no time"}, {4, 0, 0, "it holds no time"},
        {4, 0x13, 0, "it holds no time"},        {4, 0x80, 0, "it holds no time"},
        {4, 13, BINARY, "it holds no time"},     {9, 100, HOURS_24 | BINARY, "it holds no time"},
        {9, 0x9a, HOURS_24, "it holds no time"}, {7, 0, HOURS_24, "it holds no date"},
        {7, 0x32, HOURS_24, "it holds no date"}, {7, 0x1f, HOURS_24, "it holds no date"},
        {8, 0, HOURS_24, "it holds no date"},    {8, 0x13, HOURS_24, "it holds no date"},
    };
    for (unsigned i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        holds(2026, 12, 3, 11, 12, 13, wrong[i].format);
        chip.registers[wrong[i].index] = wrong[i].value;
        reads(0, wrong[i].fault);
    }
    static const uint8_t lengths[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    for (int month = 1; month <= 12; month++) {
        holds(2026, month, lengths[month - 1], 0, 0, 0, HOURS_24);
        reads(seconds(2026, month, lengths[month - 1], 0, 0, 0), NULL);
        chip.registers[7] = coded(lengths[month - 1] + 1, HOURS_24);
        reads(0, "it holds no date");
    }
}

/* What is read from ports where nothing answers, and from memory that lost its power. */
static void no_clock_is_no_time(void **state)
{
    (void)state;
    memset(&chip, 0, sizeof chip);
    memset(chip.registers, 0xff, sizeof chip.registers);
    reads(0, "it never stops updating");
    memset(&chip, 0, sizeof chip);
    reads(0, "it holds no time");
}

static void an_update_is_waited_for_but_not_forever(void **state)
{
    (void)state;
    holds(2026, 11, 29, 12, 0, 0, HOURS_24);
    chip.updates = 2000;
    reads(seconds(2026, 11, 29, 12, 0, 0), NULL);
    chip.updates = UINT32_MAX;
    chip.accesses = 0;
    reads(0, "it never stops updating");
    assert_in_range(chip.accesses, 10000, 200000);
    chip.updates = 0;
    chip.ticks = UINT32_MAX;
    chip.accesses = 0;
    reads(0, "it never stops updating");
    assert_in_range(chip.accesses, 10000, 2000000);
}

/* The second reading decides: whatever changed in between is read again. */
static void a_time_that_moves_is_read_again(void **state)
{
    (void)state;
    holds(2026, 11, 29, 12, 0, 0, HOURS_24);
    chip.ticks = 1;
    reads(seconds(2026, 11, 29, 12, 0, 1), NULL);
    chip.ticks = 2;
    reads(seconds(2026, 11, 29, 12, 0, 1), NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(days_agree_with_the_c_library),
        cmocka_unit_test(every_format_is_understood),
        cmocka_unit_test(a_clock_of_the_1900s_is_told_and_is_not_of_the_2090s),
        cmocka_unit_test(an_empty_battery_is_told),
        cmocka_unit_test(nonsense_is_no_time),
        cmocka_unit_test(no_clock_is_no_time),
        cmocka_unit_test(an_update_is_waited_for_but_not_forever),
        cmocka_unit_test(a_time_that_moves_is_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
