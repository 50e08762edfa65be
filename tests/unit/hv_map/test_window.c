/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv/mm/window.c: what a window shows, to whom, and that nothing of it stays in a TLB when it is gone. */
#include "rig.h"

#include "hv/mm/layout.h"
#include "hv/mm/window.h"

#define FOREIGN UINT64_C(0x120000000)       /* memory that is not hv's */

static int set_up(void **state)
{
    (void)state;
    rig_start((struct rig_options){.cpus = 600});
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    rig_stop();
    return 0;
}

static uint64_t npages(uint64_t size)
{
    return (size + PAGE_SIZE - 1) / PAGE_SIZE;
}

static void check_shows(const void *va, uint64_t base, uint64_t size, enum memory_view view)
{
    for (uint64_t i = 0; i < npages(size); i++) {
        struct translation t = rig_access((uintptr_t)va + i * PAGE_SIZE);
        assert_true(t.present);
        assert_int_equal(t.address, base + i * PAGE_SIZE);
        assert_int_equal(t.encrypted, view == VIEW_ENCRYPTED);
        assert_true(t.writable);
        assert_false(t.executable);
        assert_false(t.uncached);
    }
}

static void check_gone(uint64_t va, uint64_t size)
{
    for (uint64_t i = 0; i < npages(size); i++)
        assert_false(rig_access(va + i * PAGE_SIZE).present);
}

/* Every way to lie in 2 MiB and to reach over its ends; and sizes that are no pages. */
static const uint64_t offsets[] = {0, PAGE_SIZE, SIZE_2M / 2, SIZE_2M - 3 * PAGE_SIZE, SIZE_2M - PAGE_SIZE};
static const uint64_t sizes[] = {
    1,
    PAGE_SIZE - 1,
    PAGE_SIZE,
    PAGE_SIZE + 1,
    16 * PAGE_SIZE - 1,
    16 * PAGE_SIZE,
    16 * PAGE_SIZE + 1,
    17 * PAGE_SIZE,
    SIZE_2M - PAGE_SIZE,
    SIZE_2M,
    SIZE_2M + 1,
    SIZE_2M + PAGE_SIZE,
    2 * SIZE_2M,
    3 * SIZE_2M + 5 * PAGE_SIZE + 7,
};
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

static void a_window_shows_its_memory_and_nothing_beside_it(void **state)
{
    (void)state;
    uint64_t before = rig_pool_free();
    for (unsigned o = 0; o < COUNT(offsets); o++) {
        for (unsigned s = 0; s < COUNT(sizes); s++) {
            enum memory_view view = (o + s) % 2 == 0 ? VIEW_PLAIN : VIEW_ENCRYPTED;
            uint64_t base = FOREIGN + s * SIZE_1G + offsets[o];
            void *va = window_map(paddr(base), sizes[s], view);
            assert_non_null(va);
            check_shows(va, base, sizes[s], view);
            uint64_t first = (uintptr_t)va, end = first + npages(sizes[s]) * PAGE_SIZE;
            check_gone(first - PAGE_SIZE, PAGE_SIZE);
            check_gone(end, PAGE_SIZE);
            assert_true(before - rig_pool_free() <= 2);         /* tables for its ends */
            window_unmap(va, sizes[s]);
            check_gone(first, sizes[s]);
            assert_int_equal(rig_pool_free(), before);
        }
    }
}

static void all_but_the_ends_of_a_large_window_are_large_pages(void **state)
{
    (void)state;
    uint64_t base = FOREIGN + SIZE_2M - PAGE_SIZE, size = 3 * SIZE_2M;
    uint8_t *va = window_map(paddr(base), size, VIEW_PLAIN);
    assert_int_equal((uintptr_t)va % SIZE_2M, base % SIZE_2M);
    assert_int_equal(rig_access((uintptr_t)va).level, 1);
    for (uint64_t at = PAGE_SIZE; at < PAGE_SIZE + 2 * SIZE_2M; at += PAGE_SIZE)
        assert_int_equal(rig_access((uintptr_t)va + at).level, 2);
    assert_int_equal(rig_access((uintptr_t)va + size - PAGE_SIZE).level, 1);
    window_unmap(va, size);
}

/* The next window gets the same addresses: who still has the old translation writes into the old memory. */
static void nothing_of_a_closed_window_is_left_in_the_tlb(void **state)
{
    (void)state;
    for (unsigned s = 0; s < COUNT(sizes); s++) {
        void *first = NULL;
        for (uint64_t turn = 0; turn < 3; turn++) {
            uint64_t base = FOREIGN + turn * SIZE_1G + SIZE_2M - PAGE_SIZE;
            enum memory_view view = turn == 1 ? VIEW_ENCRYPTED : VIEW_PLAIN;
            void *va = window_map(paddr(base), sizes[s], view);
            check_shows(va, base, sizes[s], view);
            first = turn == 0 ? va : first;
            assert_ptr_equal(va, first);
            window_unmap(va, sizes[s]);
        }
    }
}

static void windows_that_come_and_go_never_meet(void **state)
{
    (void)state;
    enum { HELD = 12 };
    struct {
        void *va;
        uint64_t base, size;
        enum memory_view view;
    } held[HELD] = {{0}};
    uint64_t seed = 11, before = rig_pool_free();
    for (unsigned step = 0; step < 400; step++) {
        unsigned h = (unsigned)(test_random(&seed) % HELD);
        if (held[h].va != NULL) {
            check_shows(held[h].va, held[h].base, held[h].size, held[h].view);
            window_unmap(held[h].va, held[h].size);
            held[h].va = NULL;
            continue;
        }
        held[h].base = FOREIGN + (test_random(&seed) % (1 << 20)) * PAGE_SIZE;
        held[h].size = 1 + test_random(&seed) % (test_random(&seed) % 2 ? 16 * PAGE_SIZE : 3 * SIZE_2M);
        held[h].view = test_random(&seed) % 2 ? VIEW_PLAIN : VIEW_ENCRYPTED;
        held[h].va = window_map(paddr(held[h].base), held[h].size, held[h].view);
        assert_non_null(held[h].va);
    }
    for (unsigned h = 0; h < HELD; h++) {
        if (held[h].va == NULL)
            continue;
        check_shows(held[h].va, held[h].base, held[h].size, held[h].view);
        window_unmap(held[h].va, held[h].size);
    }
    assert_int_equal(rig_pool_free(), before);
}

/* ---- refusals ---- */

static void all_space_is_free(void)
{
    void *all = window_map(paddr(FOREIGN), WINDOW_SLOTS * SIZE_2M, VIEW_PLAIN), *small[WINDOW_PAGES / 16];
    assert_ptr_equal(all, WINDOW_SLOTS_BASE);
    for (unsigned i = 0; i < COUNT(small); i++)
        assert_non_null(small[i] = window_map(paddr(FOREIGN), 16 * PAGE_SIZE, VIEW_PLAIN));
    assert_null(window_map(paddr(FOREIGN), 17 * PAGE_SIZE, VIEW_PLAIN));
    assert_null(window_map(paddr(FOREIGN), 1, VIEW_PLAIN));
    window_unmap(small[3], 16 * PAGE_SIZE);
    assert_ptr_equal(window_map(paddr(FOREIGN), 16 * PAGE_SIZE, VIEW_PLAIN), small[3]);
    for (unsigned i = 0; i < COUNT(small); i++)
        window_unmap(small[i], 16 * PAGE_SIZE);
    window_unmap(all, WINDOW_SLOTS * SIZE_2M);
}

static void space_that_is_used_up_is_refused_until_some_comes_back(void **state)
{
    (void)state;
    uint64_t before = rig_pool_free();
    assert_null(window_map(paddr(FOREIGN), WINDOW_SLOTS * SIZE_2M + 1, VIEW_PLAIN));
    assert_null(window_map(paddr(FOREIGN), UINT64_MAX, VIEW_PLAIN));
    assert_null(window_map(paddr(FOREIGN + PAGE_SIZE), WINDOW_SLOTS * SIZE_2M, VIEW_PLAIN));    /* one slot more */
    all_space_is_free();
    assert_int_equal(rig_pool_free(), before);
}

static void a_refusal_for_want_of_pool_pages_leaves_nothing(void **state)
{
    (void)state;
    uint64_t size = SIZE_2M + 2 * PAGE_SIZE;        /* a large page, and something at both ends */
    for (uint64_t left = 0; left < 2; left++) {
        unsigned loads = rig_cr3_loads;
        rig_drain_pool(left);
        assert_null(window_map(paddr(FOREIGN + SIZE_2M - PAGE_SIZE), size, VIEW_PLAIN));
        assert_int_equal(rig_cr3_loads, loads + 1);
        assert_int_equal(rig_pool_free(), left);
        check_gone(WINDOW_SLOTS_BASE, 4 * SIZE_2M);
        void *small = window_map(paddr(FOREIGN), PAGE_SIZE, VIEW_PLAIN);     /* needs none */
        void *aligned = window_map(paddr(FOREIGN), 2 * SIZE_2M, VIEW_PLAIN);
        assert_true(small != NULL && aligned != NULL);
        window_unmap(small, PAGE_SIZE);
        window_unmap(aligned, 2 * SIZE_2M);
        rig_refill_pool();
    }
    all_space_is_free();
}

static void a_window_that_is_not_open_is_our_own_bug(void **state)
{
    (void)state;
    void *small = window_map(paddr(FOREIGN), 1, VIEW_PLAIN), *large = window_map(paddr(FOREIGN), SIZE_2M, VIEW_PLAIN);
    window_unmap(small, 1);
    window_unmap(large, SIZE_2M);
    EXPECT_PANIC(window_unmap(small, 1));
    EXPECT_PANIC(window_unmap(large, SIZE_2M));
    EXPECT_PANIC((void)window_map(paddr(FOREIGN + 1), PAGE_SIZE, VIEW_PLAIN));
    EXPECT_PANIC((void)window_map(paddr(FOREIGN), 0, VIEW_PLAIN));
    EXPECT_PANIC((void)window_map(paddr(FOREIGN), PAGE_SIZE, VIEW_GUEST));
}

/* ---- device registers ---- */

static void check_registers(uint64_t va, uint64_t base)
{
    struct translation t = rig_access(va);
    assert_true(t.present && t.uncached && t.writable && !t.executable && !t.encrypted);
    assert_int_equal(t.address, base & ~(PAGE_SIZE - 1));
}

static void registers_are_uncached_and_never_under_a_key(void **state)
{
    (void)state;
    static const struct {
        uint64_t base, size;
    } devices[] = {
        {0xfee00000, 0x1000},   {0xfed80004, 4},        {0xfed80ffc, 8},
        {0xf0200000, 0x100000}, {0xe0000000, 0x400000}, {0xe0001010, 0x300000},
    };
    for (unsigned i = 0; i < COUNT(devices); i++) {
        volatile uint8_t *va = mmio_map(paddr(devices[i].base), devices[i].size);
        assert_non_null(va);
        assert_int_equal((uintptr_t)va % PAGE_SIZE, devices[i].base % PAGE_SIZE);
        for (uint64_t at = 0; at < devices[i].size; at += PAGE_SIZE)
            check_registers((uintptr_t)va + at, devices[i].base + at);
        check_registers((uintptr_t)va + devices[i].size - 1, devices[i].base + devices[i].size - 1);
        mmio_unmap(va, devices[i].size);
        check_gone((uintptr_t)va & ~(PAGE_SIZE - 1), devices[i].size);
    }
    all_space_is_free();
}

static void one_page_of_registers_is_for_all_cpus(void **state)
{
    (void)state;
    volatile void *va = mmio_map_all(paddr(0xfee00000));
    check_registers((uintptr_t)va, 0xfee00000);
    rig_run_on(599);
    check_registers((uintptr_t)va, 0xfee00000);
    rig_run_on(0);
    EXPECT_PANIC((void)mmio_map_all(paddr(0xfee00000)));
    all_space_is_free();
    check_registers((uintptr_t)va, 0xfee00000);
}

/* ---- who has what in its tables ---- */

static void no_other_cpu_has_the_boot_cpus_windows_in_its_tables(void **state)
{
    (void)state;
    uint8_t *small = window_map(paddr(FOREIGN), 3 * PAGE_SIZE, VIEW_PLAIN);
    uint8_t *large = window_map(paddr(FOREIGN + PAGE_SIZE), 3 * SIZE_2M, VIEW_ENCRYPTED);
    volatile uint8_t *registers = mmio_map(paddr(0xf0200000), 0x100000);
    uint64_t share[512] __attribute__((aligned(4096))) = {0};
    hostmap_share(share);
    rig_run_on(1);
    assert_int_not_equal(read_cr3(), 0);
    check_gone((uintptr_t)small, 3 * PAGE_SIZE);
    check_gone((uintptr_t)large, 3 * SIZE_2M);
    check_gone((uintptr_t)registers, 0x100000);
    for (uint64_t slot = 0; slot < WINDOW_SLOTS; slot++)
        check_gone(WINDOW_SLOTS_BASE + slot * SIZE_2M, 1);
    EXPECT_PANIC((void)window_map(paddr(FOREIGN), PAGE_SIZE, VIEW_PLAIN));
    EXPECT_PANIC(window_unmap(small, 3 * PAGE_SIZE));
    rig_run_on(0);
    assert_int_not_equal(read_cr3(), hostmap_cr3());
    check_shows(small, FOREIGN, 3 * PAGE_SIZE, VIEW_PLAIN);
    check_shows(large, FOREIGN + PAGE_SIZE, 3 * SIZE_2M, VIEW_ENCRYPTED);
    window_unmap(small, 3 * PAGE_SIZE);
    window_unmap(large, 3 * SIZE_2M);
    mmio_unmap(registers, 0x100000);
}

static void own_window_twice_is_our_own_bug(void)
{
    EXPECT_PANIC((void)window_map_own(paddr(FOREIGN), VIEW_PLAIN));
}

/* By exit handlers, on any CPU, any number of times. 511 and 512 have their pages in different tables. */
static void each_cpu_has_a_window_of_its_own(void **state)
{
    (void)state;
    static const uint32_t indices[] = {0, 1, 511, 512, 599};
    void *own[COUNT(indices)];
    uint64_t before = rig_pool_free();
    for (uint64_t turn = 0; turn < 3; turn++) {
        enum memory_view view = turn == 1 ? VIEW_ENCRYPTED : VIEW_PLAIN;
        for (unsigned i = 0; i < COUNT(indices); i++) {
            rig_run_on(indices[i]);
            own[i] = window_map_own(paddr(FOREIGN + turn * SIZE_1G + indices[i] * PAGE_SIZE), view);
        }
        for (unsigned i = 0; i < COUNT(indices); i++) {
            rig_run_on(indices[i]);
            check_shows(own[i], FOREIGN + turn * SIZE_1G + indices[i] * PAGE_SIZE, PAGE_SIZE, view);
            own_window_twice_is_our_own_bug();
            window_unmap_own();
            check_gone((uintptr_t)own[i], 1);
        }
    }
    EXPECT_PANIC((void)window_map_own(paddr(FOREIGN + 1), VIEW_PLAIN));
    EXPECT_PANIC((void)window_map_own(paddr(FOREIGN), VIEW_GUEST));
    assert_int_equal(rig_pool_free(), before);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_window_shows_its_memory_and_nothing_beside_it),
        TEST(all_but_the_ends_of_a_large_window_are_large_pages),
        TEST(nothing_of_a_closed_window_is_left_in_the_tlb),
        TEST(windows_that_come_and_go_never_meet),
        TEST(space_that_is_used_up_is_refused_until_some_comes_back),
        TEST(a_refusal_for_want_of_pool_pages_leaves_nothing),
        TEST(a_window_that_is_not_open_is_our_own_bug),
        TEST(registers_are_uncached_and_never_under_a_key),
        TEST(one_page_of_registers_is_for_all_cpus),
        TEST(no_other_cpu_has_the_boot_cpus_windows_in_its_tables),
        TEST(each_cpu_has_a_window_of_its_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
