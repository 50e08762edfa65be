/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "test.h"

#include "hv/lib/runs.h"

static struct runs runs;

static void expect_sane(void)
{
    for (uint32_t i = 0; i < runs.count; i++) {
        assert_true(runs.run[i].size > 0 && runs.run[i].size % SIZE_2M == 0 && runs.run[i].base % SIZE_2M == 0);
        if (i > 0)
            assert_true(runs.run[i - 1].base + runs.run[i - 1].size < runs.run[i].base);
    }
}

static void only_whole_units_are_kept(void **state)
{
    (void)state;
    runs.count = 0;
    assert_true(runs_give(&runs, 0x1000, 0x9f000));         /* the PC's low memory: no unit in it */
    assert_true(runs_give(&runs, SIZE_2M - 1, 2));
    assert_int_equal(runs.count, 0);
    assert_true(runs_give(&runs, 0x100000, 7 * SIZE_2M));
    assert_int_equal(runs.count, 1);
    assert_int_equal(runs.run[0].base, SIZE_2M);
    assert_int_equal(runs.run[0].size, 6 * SIZE_2M);
}

static void neighbours_merge_and_overlap_is_refused(void **state)
{
    (void)state;
    runs.count = 0;
    assert_true(runs_give(&runs, 0, SIZE_2M));
    assert_true(runs_give(&runs, 2 * SIZE_2M, SIZE_2M));
    assert_int_equal(runs.count, 2);
    assert_false(runs_give(&runs, 0, 2 * SIZE_2M));
    assert_false(runs_give(&runs, SIZE_2M, 2 * SIZE_2M));
    assert_false(runs_give(&runs, 0, 8 * SIZE_2M));
    assert_true(runs_give(&runs, SIZE_2M, SIZE_2M));
    assert_int_equal(runs.count, 1);
    assert_int_equal(runs_total(&runs), 3 * SIZE_2M);
}

static void overflowing_run_is_refused(void **state)
{
    (void)state;
    runs.count = 0;
    assert_false(runs_give(&runs, UINT64_MAX - SIZE_2M, 2 * SIZE_2M));
    assert_false(runs_give(&runs, SIZE_2M, UINT64_MAX));
    assert_int_equal(runs.count, 0);
}

static void the_smallest_run_that_is_enough_is_taken(void **state)
{
    (void)state;
    uint64_t base;
    runs.count = 0;
    assert_true(runs_give(&runs, 0x10000000, 8 * SIZE_2M));
    assert_true(runs_give(&runs, 0x20000000, 2 * SIZE_2M));
    assert_true(runs_give(&runs, 0x30000000, 4 * SIZE_2M));
    assert_true(runs_take(&runs, SIZE_2M + 1, &base));
    assert_int_equal(base, 0x20000000);
    assert_true(runs_take(&runs, SIZE_2M, &base));
    assert_int_equal(base, 0x30000000);
    assert_false(runs_take(&runs, 9 * SIZE_2M, &base));
    assert_false(runs_take(&runs, 0, &base));
    assert_false(runs_take(&runs, UINT64_MAX, &base));
    assert_int_equal(runs_total(&runs), 11 * SIZE_2M);
}

static void large_sizes_are_aligned_to_1_gib_where_that_can_be_had(void **state)
{
    (void)state;
    uint64_t base;
    runs.count = 0;
    assert_true(runs_give(&runs, SIZE_2M, 3 * SIZE_1G));
    assert_true(runs_take(&runs, SIZE_1G, &base));
    assert_int_equal(base, SIZE_1G);
    assert_int_equal(runs.count, 2);
    runs.count = 0;
    assert_true(runs_give(&runs, SIZE_2M, SIZE_1G));
    assert_true(runs_take(&runs, SIZE_1G, &base));
    assert_int_equal(base, SIZE_2M);
    assert_int_equal(runs.count, 0);
    /* What is left before, behind, and not at all. */
    assert_true(runs_give(&runs, SIZE_2M, 2 * SIZE_1G - SIZE_2M));
    assert_true(runs_take(&runs, SIZE_1G, &base));
    assert_int_equal(base, SIZE_1G);
    assert_int_equal(runs.count, 1);
    assert_int_equal(runs_total(&runs), SIZE_1G - SIZE_2M);
    runs.count = 0;
    assert_true(runs_give(&runs, SIZE_1G, SIZE_1G + SIZE_2M));
    assert_true(runs_take(&runs, SIZE_1G - 1, &base));
    assert_int_equal(base, SIZE_1G);
    assert_int_equal(runs_total(&runs), SIZE_2M);
    assert_true(runs_give(&runs, SIZE_1G, SIZE_1G));
    assert_true(runs_take(&runs, SIZE_1G + SIZE_2M, &base));
    assert_int_equal(runs.count, 0);
}

static void a_full_list_refuses_and_stays_as_it_is(void **state)
{
    (void)state;
    uint64_t base;
    runs.count = 0;
    for (uint64_t i = 0; i < RUNS_MAX - 1; i++)
        assert_true(runs_give(&runs, 2 * i * SIZE_2M, SIZE_2M));
    uint64_t big = 8192 * SIZE_1G + SIZE_2M;
    assert_true(runs_give(&runs, big, 2 * SIZE_1G));
    assert_int_equal(runs.count, RUNS_MAX);
    assert_false(runs_give(&runs, 16384 * SIZE_1G, SIZE_2M));
    uint64_t total = runs_total(&runs);
    /* 1 GiB aligned would leave a piece on each side: no room; 2 MiB aligned leaves one. */
    assert_true(runs_take(&runs, SIZE_1G, &base));
    assert_int_equal(base, big);
    assert_int_equal(runs_total(&runs), total - SIZE_1G);
    expect_sane();
}

/* Against a plain table of units, in a map full of holes. */
static void random_traffic_never_loses_or_doubles_a_unit(void **state)
{
    (void)state;
    enum { UNITS = 2048, HELD = 64 };
    static bool there[UNITS], taken[UNITS];
    struct {
        uint64_t base, size;
    } held[HELD] = {{0, 0}};
    uint64_t seed = 0x5eed;
    runs.count = 0;
    for (uint64_t u = 0; u < UNITS; u++) {
        there[u] = u >= UNITS / 2 || test_random(&seed) % 8 != 0;
        if (there[u])
            assert_true(runs_give(&runs, u * SIZE_2M, SIZE_2M));
    }
    for (uint32_t step = 0; step < 20000; step++) {
        uint32_t h = (uint32_t)(test_random(&seed) % HELD);
        if (held[h].size > 0) {
            for (uint64_t u = held[h].base / SIZE_2M; u < (held[h].base + held[h].size) / SIZE_2M; u++)
                taken[u] = false;
            assert_true(runs_give(&runs, held[h].base, held[h].size));
            held[h].size = 0;
        } else {
            /* Now and then 1 GiB or more, which is aligned if it can be. */
            uint64_t units =
                test_random(&seed) % 16 == 0 ? 512 + test_random(&seed) % 256 : 1 + test_random(&seed) % 12;
            uint64_t size = units * SIZE_2M, base;
            if (!runs_take(&runs, size, &base))
                continue;
            held[h].base = base;
            held[h].size = size;
            for (uint64_t u = base / SIZE_2M; u < (base + size) / SIZE_2M; u++) {
                assert_true(there[u] && !taken[u]);
                taken[u] = true;
            }
        }
        expect_sane();
    }
    uint64_t free_units = 0;
    for (uint64_t u = 0; u < UNITS; u++)
        free_units += there[u] && !taken[u];
    assert_int_equal(runs_total(&runs), free_units * SIZE_2M);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_whole_units_are_kept),
        cmocka_unit_test(neighbours_merge_and_overlap_is_refused),
        cmocka_unit_test(overflowing_run_is_refused),
        cmocka_unit_test(the_smallest_run_that_is_enough_is_taken),
        cmocka_unit_test(large_sizes_are_aligned_to_1_gib_where_that_can_be_had),
        cmocka_unit_test(a_full_list_refuses_and_stays_as_it_is),
        cmocka_unit_test(random_traffic_never_loses_or_doubles_a_unit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
