/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* MC146818A data sheet, registers A and B. */
#include "rtc.h"

#include "x86.h"

#define RTC_INDEX 0x70u
#define RTC_DATA 0x71u
enum { RTC_SECOND = 0, RTC_MINUTE = 2, RTC_HOUR = 4, RTC_DAY = 7, RTC_MONTH = 8, RTC_YEAR = 9, RTC_A = 10, RTC_B = 11 };
#define RTC_A_UPDATE_IN_PROGRESS 0x80u
#define RTC_B_24_HOURS 0x02u
#define RTC_B_BINARY 0x04u
#define RTC_HOUR_PM 0x80u
#define RTC_ATTEMPTS 1000000u

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
        .second = rtc_register(RTC_SECOND), .minute = rtc_register(RTC_MINUTE), .hour = rtc_register(RTC_HOUR),
        .day = rtc_register(RTC_DAY), .month = rtc_register(RTC_MONTH), .year = rtc_register(RTC_YEAR),
    };
}

static uint32_t rtc_number(uint8_t value, bool binary)
{
    return binary ? value : (uint32_t)(value >> 4) * 10 + (value & 15u);
}

uint64_t rtc_days(uint32_t year, uint32_t month, uint32_t day)
{
    /* Years that start in March put the leap day last. */
    uint32_t y = month > 2 ? year : year - 1;
    uint32_t m = month > 2 ? month - 3 : month + 9;
    uint64_t days = (uint64_t)y * 365 + y / 4 - y / 100 + y / 400 + (m * 153 + 2) / 5 + day - 1;
    return days - 719468;   /* 0000-03-01 to 1970-01-01 */
}

uint64_t rtc_read(void)
{
    struct rtc_time t = {0}, again;
    for (uint32_t i = 0;; i++) {
        if (i == RTC_ATTEMPTS)
            return 0;
        if ((rtc_register(RTC_A) & RTC_A_UPDATE_IN_PROGRESS) != 0)
            continue;
        t = rtc_sample();
        again = rtc_sample();
        if (t.second == again.second && t.minute == again.minute && t.hour == again.hour && t.day == again.day)
            break;
    }
    uint8_t format = rtc_register(RTC_B);
    bool binary = (format & RTC_B_BINARY) != 0;
    bool pm = (format & RTC_B_24_HOURS) == 0 && (t.hour & RTC_HOUR_PM) != 0;
    uint32_t hour = rtc_number(t.hour & (uint8_t)~(pm ? RTC_HOUR_PM : 0), binary);
    if ((format & RTC_B_24_HOURS) == 0)
        hour = hour % 12 + (pm ? 12 : 0);
    uint32_t second = rtc_number(t.second, binary), minute = rtc_number(t.minute, binary);
    uint32_t day = rtc_number(t.day, binary), month = rtc_number(t.month, binary), year = rtc_number(t.year, binary);
    if (second > 59 || minute > 59 || hour > 23 || day < 1 || day > 31 || month < 1 || month > 12 || year > 99)
        return 0;
    return rtc_days(2000 + year, month, day) * 86400 + hour * 3600 + minute * 60 + second;
}
