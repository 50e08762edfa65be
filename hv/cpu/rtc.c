/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* MC146818A data sheet: registers 0 to 9, A, B and D. */
#include "hv/cpu/rtc.h"

#include "hv/lib/string.h"
#include "hv/lib/x86.h"

#define RTC_INDEX 0x70u
#define RTC_DATA 0x71u
/* clang-format off */
enum {
    RTC_SECOND = 0, RTC_MINUTE = 2, RTC_HOUR = 4, RTC_DAY = 7, RTC_MONTH = 8, RTC_YEAR = 9, RTC_A = 10, RTC_B = 11,
    RTC_D = 13,
};
/* clang-format on */
#define RTC_A_UPDATE_IN_PROGRESS 0x80u
#define RTC_B_24_HOURS 0x02u
#define RTC_B_BINARY 0x04u
#define RTC_D_VALID 0x80u
#define RTC_HOUR_PM 0x80u
#define RTC_ATTEMPTS 100000u        /* an update takes 2 ms, a look at a port about a microsecond */
#define RTC_NO_NUMBER UINT32_MAX
/* Two digits are all that every clock has: where the byte for the century is differs, and whether anybody keeps it. */
#define RTC_FIRST_YEAR 70u          /* of 1970 to 2069 */
#define RTC_EARLIEST_YEAR 2024u     /* before Sevisor's first release: the clock is wrong */

struct rtc_time {
    uint8_t second, minute, hour, day, month, year;
};

static uint8_t rtc_register(uint8_t index)
{
    out8(RTC_INDEX, index);
    return in8(RTC_DATA);
}

static struct rtc_time rtc_sample(void)
{
    return (struct rtc_time){
        .second = rtc_register(RTC_SECOND),
        .minute = rtc_register(RTC_MINUTE),
        .hour = rtc_register(RTC_HOUR),
        .day = rtc_register(RTC_DAY),
        .month = rtc_register(RTC_MONTH),
        .year = rtc_register(RTC_YEAR),
    };
}

/* Twice the same, with no update in progress before. */
static bool rtc_settled(struct rtc_time *t)
{
    for (uint32_t i = 0; i < RTC_ATTEMPTS; i++) {
        if ((rtc_register(RTC_A) & RTC_A_UPDATE_IN_PROGRESS) != 0)
            continue;
        *t = rtc_sample();
        struct rtc_time again = rtc_sample();
        if (memcmp(t, &again, sizeof again) == 0)
            return true;
    }
    return false;
}

static uint32_t rtc_number(uint8_t value, bool binary)
{
    if (binary)
        return value;
    return value >> 4 > 9 || (value & 15u) > 9 ? RTC_NO_NUMBER : (uint32_t)(value >> 4) * 10 + (value & 15u);
}

static uint32_t rtc_hour(uint8_t value, uint8_t format)
{
    bool binary = (format & RTC_B_BINARY) != 0;
    if ((format & RTC_B_24_HOURS) != 0)
        return rtc_number(value, binary);
    uint32_t hour = rtc_number(value & (uint8_t)~RTC_HOUR_PM, binary);
    if (hour < 1 || hour > 12)
        return RTC_NO_NUMBER;
    return hour % 12 + ((value & RTC_HOUR_PM) != 0 ? 12 : 0);
}

uint64_t rtc_days(uint32_t year, uint32_t month, uint32_t day)
{
    /* Years that start in March put the leap day last. */
    uint32_t y = month > 2 ? year : year - 1;
    uint32_t m = month > 2 ? month - 3 : month + 9;
    uint64_t days = (uint64_t)y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    return days - 719468;   /* 0000-03-01 to 1970-01-01 */
}

static bool rtc_date_exists(uint32_t year, uint32_t month, uint32_t day)
{
    if (month < 1 || month > 12 || day < 1)
        return false;
    uint64_t next = month < 12 ? rtc_days(year, month + 1, 1) : rtc_days(year + 1, 1, 1);
    return day <= next - rtc_days(year, month, 1);
}

uint64_t rtc_read(const char **fault)
{
    struct rtc_time t;
    if (!rtc_settled(&t)) {
        *fault = "it never stops updating";
        return 0;
    }
    uint8_t format = rtc_register(RTC_B);
    bool binary = (format & RTC_B_BINARY) != 0;
    uint32_t second = rtc_number(t.second, binary), minute = rtc_number(t.minute, binary),
             hour = rtc_hour(t.hour, format);
    uint32_t day = rtc_number(t.day, binary), month = rtc_number(t.month, binary), year = rtc_number(t.year, binary);
    if (second > 59 || minute > 59 || hour > 23 || year > 99) {
        *fault = "it holds no time";
        return 0;
    }
    year += year < RTC_FIRST_YEAR ? 2000 : 1900;
    if (!rtc_date_exists(year, month, day)) {
        *fault = "it holds no date";
        return 0;
    }
    *fault = NULL;
    if ((rtc_register(RTC_D) & RTC_D_VALID) == 0)
        *fault = "its battery is empty";
    else if (year < RTC_EARLIEST_YEAR)
        *fault = "it is years behind";
    return rtc_days(year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
}
