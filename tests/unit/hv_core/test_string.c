/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv/lib/string.c under names of its own (unit.mk), against the C library and plain loops. */
#include "test.h"

/* What unit.mk calls hv's. */
void *hv_memcpy(void *to, const void *from, size_t count);
void *hv_memmove(void *to, const void *from, size_t count);
void *hv_memset(void *to, int byte, size_t count);
int hv_memcmp(const void *a, const void *b, size_t count);
size_t hv_strlen(const char *text);

#define ROOM 100u

static void fill(uint8_t *bytes)
{
    for (unsigned i = 0; i < ROOM; i++)
        bytes[i] = (uint8_t)(i + 1);
}

/* Every length and alignment around eights; not a byte beside what was asked for. */
static void copies_and_fills_write_what_they_should_and_no_more(void **state)
{
    (void)state;
    for (size_t to = 0; to < 9; to++) {
        for (size_t count = 0; count < 40; count++) {
            uint8_t source[ROOM], mine[ROOM], theirs[ROOM];
            fill(source);
            memset(mine, 0xee, ROOM);
            memset(theirs, 0xee, ROOM);
            assert_ptr_equal(hv_memcpy(mine + to, source + 3, count), mine + to);
            for (size_t i = 0; i < count; i++)
                theirs[to + i] = source[3 + i];
            assert_memory_equal(mine, theirs, ROOM);
            assert_ptr_equal(hv_memset(mine + to, (int)count + 0x180, count), mine + to);
            for (size_t i = 0; i < count; i++)
                theirs[to + i] = (uint8_t)(count + 0x180);
            assert_memory_equal(mine, theirs, ROOM);
        }
    }
}

static void moves_may_overlap(void **state)
{
    (void)state;
    for (size_t from = 0; from < 30; from++) {
        for (size_t to = 0; to < 30; to++) {
            for (size_t count = 0; count < 40; count++) {
                uint8_t mine[ROOM], theirs[ROOM];
                fill(mine);
                fill(theirs);
                assert_ptr_equal(hv_memmove(mine + to, mine + from, count), mine + to);
                memmove(theirs + to, theirs + from, count);
                assert_memory_equal(mine, theirs, ROOM);
            }
        }
    }
}

static void comparison_is_of_unsigned_bytes_and_ends_at_the_first_difference(void **state)
{
    (void)state;
    assert_int_equal(hv_memcmp("abc", "abc", 3), 0);
    assert_int_equal(hv_memcmp("abc", "abd", 2), 0);
    assert_int_equal(hv_memcmp("abc", "abd", 3), -1);
    assert_int_equal(hv_memcmp("abcz", "abca", 4), 'z' - 'a');
    assert_int_equal(hv_memcmp("\x80z", "\x7f{", 2), 1);
    assert_int_equal(hv_memcmp("a", "b", 0), 0);
}

static void length_is_up_to_the_nul(void **state)
{
    (void)state;
    assert_int_equal(hv_strlen(""), 0);
    assert_int_equal(hv_strlen("a"), 1);
    assert_int_equal(hv_strlen("abc\0def"), 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_and_fills_write_what_they_should_and_no_more),
        cmocka_unit_test(moves_may_overlap),
        cmocka_unit_test(comparison_is_of_unsigned_bytes_and_ends_at_the_first_difference),
        cmocka_unit_test(length_is_up_to_the_nul),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
