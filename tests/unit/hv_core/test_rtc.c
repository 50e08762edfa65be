/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "test.h"

#include <time.h>

#include "../../../hv/rtc.h"

static void days_agree_with_the_c_library(void **state)
{
    (void)state;
    for (time_t day = 0; day < 60000; day++) {
        time_t seconds = day * 86400;
        struct tm t;
        gmtime_r(&seconds, &t);
        assert_int_equal(rtc_days((uint32_t)t.tm_year + 1900, (uint32_t)t.tm_mon + 1, (uint32_t)t.tm_mday), day);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(days_agree_with_the_c_library)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
