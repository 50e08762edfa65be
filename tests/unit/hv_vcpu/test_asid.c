/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include "hv/svm/asid.h"

static void the_two_kinds_never_meet_and_none_is_zero(void **state)
{
    (void)state;
    asid_init(32, 4, 15);
    assert_int_equal(asid_free_count(ASID_SEV), 12);
    assert_int_equal(asid_free_count(ASID_PLAIN), 16);
    for (uint32_t asid = 4; asid <= 15; asid++)
        assert_int_equal(asid_alloc(ASID_SEV), asid);
    assert_int_equal(asid_alloc(ASID_SEV), 0);
    for (uint32_t asid = 16; asid <= 31; asid++)
        assert_int_equal(asid_alloc(ASID_PLAIN), asid);
    assert_int_equal(asid_alloc(ASID_PLAIN), 0);
    asid_free(7);
    assert_int_equal(asid_alloc(ASID_PLAIN), 0);
    assert_int_equal(asid_alloc(ASID_SEV), 7);
    asid_free(31);
    asid_free(16);
    assert_int_equal(asid_free_count(ASID_PLAIN), 2);
    assert_int_equal(asid_alloc(ASID_SEV), 0);
    assert_int_equal(asid_alloc(ASID_PLAIN), 16);
    assert_int_equal(asid_alloc(ASID_PLAIN), 31);
    asid_init(32, 4, 15);           /* from the beginning */
    assert_int_equal(asid_alloc(ASID_SEV), 4);
}

static void without_sev_all_but_zero_are_plain(void **state)
{
    (void)state;
    asid_init(16, 0, 0);
    assert_int_equal(asid_free_count(ASID_SEV), 0);
    assert_int_equal(asid_free_count(ASID_PLAIN), 15);
    assert_int_equal(asid_alloc(ASID_SEV), 0);
    assert_int_equal(asid_alloc(ASID_PLAIN), 1);
}

static void what_cpuid_says_may_be_odd(void **state)
{
    (void)state;
    asid_init(16, 1, 15);               /* all for SEV */
    assert_int_equal(asid_free_count(ASID_PLAIN), 0);
    assert_int_equal(asid_free_count(ASID_SEV), 15);
    asid_init(32, 16, 15);              /* EDX above ECX: only SEV-ES */
    assert_int_equal(asid_free_count(ASID_SEV), 0);
    assert_int_equal(asid_free_count(ASID_PLAIN), 16);
    asid_init(8, 1, 15);                /* fewer than SEV claims */
    assert_int_equal(asid_free_count(ASID_SEV), 7);
    assert_int_equal(asid_free_count(ASID_PLAIN), 0);
    asid_init(UINT32_MAX, 1, UINT32_MAX);
    assert_true(asid_free_count(ASID_SEV) > 0);
    asid_init(32768, 1, 1006);
    for (unsigned i = 0; i < 1006; i++)
        assert_true(asid_alloc(ASID_SEV) - 1 < 1006);
    assert_int_equal(asid_alloc(ASID_SEV), 0);
    assert_int_equal(asid_alloc(ASID_PLAIN), 1007);
}

static void freeing_twice_or_a_stranger_is_our_own_bug(void **state)
{
    (void)state;
    asid_init(32, 1, 15);
    uint32_t asid = asid_alloc(ASID_SEV);
    asid_free(asid);
    expect_assert_failure(asid_free(asid));
    expect_assert_failure(asid_free(0));
    expect_assert_failure(asid_free(32));
    expect_assert_failure(asid_free(UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_two_kinds_never_meet_and_none_is_zero),
        cmocka_unit_test(without_sev_all_but_zero_are_plain),
        cmocka_unit_test(what_cpuid_says_may_be_odd),
        cmocka_unit_test(freeing_twice_or_a_stranger_is_our_own_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
