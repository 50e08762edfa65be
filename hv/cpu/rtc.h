/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The battery clock, for the wall-clock time that guests ask for once. */
#ifndef SEVISOR_RTC_H
#define SEVISOR_RTC_H

#include "hv/lib/types.h"

/* Seconds since 1970, the clock taken as UTC; 0 when no time can be read. `*fault` says what makes the time
 * doubtful, or why there is none, about the clock, in words; NULL: nothing does. */
uint64_t rtc_read(const char **fault);
/* Days from 1970-01-01 to a date of the Gregorian calendar, year >= 1970. */
uint64_t rtc_days(uint32_t year, uint32_t month, uint32_t day);

#endif
