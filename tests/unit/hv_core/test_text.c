/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "test.h"

#include <stdio.h>

#include "hv/lib/text.h"

/* C's own printf is the second opinion. */
#define SAME(...)                                                     \
    do {                                                              \
        char mine[200], theirs[200];                                  \
        size_t length = text_format(mine, sizeof(mine), __VA_ARGS__); \
        int expected = snprintf(theirs, sizeof(theirs), __VA_ARGS__); \
        assert_string_equal(mine, theirs);                            \
        assert_int_equal(length, expected);                           \
    } while (0)

static void conversions_agree_with_printf(void **state)
{
    (void)state;
    SAME("plain");
    SAME("%s|%10s|%-10s|", "abc", "abc", "abc");
    SAME("%d %d %d %d", 0, -1, INT32_MAX, INT32_MIN);
    SAME("%5d|%-5d|%5d|%05u", 42, 42, -42, 42u);
    SAME("%u %x %08x", 4000000000u, 0xdeadbeefu, 0xbeefu);
    SAME("%lu %lx %ld %016lx", UINT64_MAX, UINT64_MAX, INT64_MIN, UINT64_C(0x123456789abcdef));
    SAME("100%% %6d %-6d|", 7, 7);
}

static void cuts_at_the_buffer_and_tells_what_was_needed(void **state)
{
    (void)state;
    char *exact = malloc(4);
    assert_int_equal(text_format(exact, 4, "%s", "abcdef"), 6);
    assert_string_equal(exact, "abc");
    assert_int_equal(text_format(exact, 1, "%u", 77u), 2);
    assert_string_equal(exact, "");
    assert_int_equal(text_format(NULL, 0, "%s-%d", "abc", 12), 6);
    free(exact);
}

static void no_string_is_shown_as_such(void **state)
{
    (void)state;
    char text[16];
    const char *volatile none = NULL;
    text_format(text, sizeof(text), "%s", none);
    assert_string_equal(text, "(null)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(conversions_agree_with_printf),
        cmocka_unit_test(cuts_at_the_buffer_and_tells_what_was_needed),
        cmocka_unit_test(no_string_is_shown_as_such),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
