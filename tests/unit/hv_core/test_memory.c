/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv/mm/memory.c and page.c on a host: the arena is an array, the caches a counter, windows remember what they showed. */
#include "test.h"

#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/cpu/cpu.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"
#include "hv/mm/window.h"
#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "hv/mm/memory.h"
#include "hv/monitor/monitor.h"

#define ARENA_BASE UINT64_C(0x40000000)
#define ARENA_SIZE (UINT64_C(4) << 20)
#define ARENA_USED UINT64_C(0x21000)

static uint8_t *arena;
uint64_t arena_va;
static struct cpu cpu;
static unsigned wbinvds, windows_open;
static uint64_t zeroed, zeroed_first, zeroed_end; /* bytes; where the first began, where the last ended */
static unsigned small_pieces; /* windows that do not begin and end at a large page */
static bool no_window;
static enum memory_view window_view;
static uint8_t *window_bytes;

void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    if (no_window)
        return NULL;
    if (zeroed == 0)
        zeroed_first = base.raw;
    else
        assert_int_equal(base.raw, zeroed_end);
    zeroed_end = base.raw + size;
    small_pieces += (base.raw | size) % SIZE_2M != 0;
    windows_open++;
    window_view = view;
    window_bytes = malloc(size);
    memset(window_bytes, 0xa5, size);
    return window_bytes;
}

void window_unmap(void *va, uint64_t size)
{
    assert_ptr_equal(va, window_bytes);
    for (uint64_t i = 0; i < size; i++)
        assert_int_equal(window_bytes[i], 0);
    zeroed += size;
    windows_open--;
    free(window_bytes);
}

static jmp_buf panicked;
static bool panic_expected;

void panic(const char *format, ...)
{
    if (!panic_expected)
        print_error("panic: %s\n", format);
    assert_true(panic_expected);
    longjmp(panicked, 1);
}

#define EXPECT_PANIC(statement)         \
    do {                                \
        volatile bool returned = false; \
        panic_expected = true;          \
        if (setjmp(panicked) == 0) {    \
            statement;                  \
            returned = true;            \
        }                               \
        panic_expected = false;         \
        assert_false(returned);         \
    } while (0)

static struct handoff handoff;

static void add_range(uint64_t base, uint64_t bytes, uint32_t kind)
{
    handoff.ranges[handoff.range_count++] = (struct handoff_range){base, bytes / PAGE_SIZE, kind, 0};
}

static int set_up(void **state)
{
    (void)state;
    arena = malloc(ARENA_SIZE);
    arena_va = (uintptr_t)arena;
    memset(arena, 0xa5, ARENA_SIZE);
    memset(&handoff, 0, sizeof(handoff));
    handoff.arena_base = ARENA_BASE;
    handoff.arena_size = ARENA_SIZE;
    handoff.arena_used = ARENA_USED;
    add_range(0x1000, 0x9f000, HANDOFF_USABLE);
    add_range(0x100000, 0x700000, HANDOFF_USABLE);
    add_range(0x800000, 0x8000, HANDOFF_ACPI);
    add_range(0x808000, 0x1000000, HANDOFF_USABLE);
    add_range(ARENA_BASE, ARENA_SIZE, HANDOFF_ARENA);
    add_range(0x80000000, 3 * SIZE_1G, HANDOFF_USABLE);
    handoff.c_bit_mask = UINT64_C(1) << 51;
    wbinvds = 0;
    zeroed = zeroed_first = zeroed_end = 0;
    small_pieces = 0;
    no_window = false;
    memset(&cpu, 0, sizeof(cpu));
    cpu.self = &cpu;
    assert_int_equal(syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu), 0);
    view_init(&handoff);
    page_init(&handoff);
    memory_init(&handoff);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    assert_int_equal(windows_open, 0);
    free(arena);
    return 0;
}

static uint64_t pool_free(void)
{
    return page_free_count();
}

static void pool_pages_come_zeroed_and_go_zeroed(void **state)
{
    (void)state;
    paddr_t page;
    uint64_t before = pool_free();
    assert_true(page_alloc(3, &page));
    assert_true(page.raw >= ARENA_BASE + ARENA_USED);
    uint8_t *va = page_va(page);
    for (uint64_t i = 0; i < 3 * PAGE_SIZE; i++)
        assert_int_equal(va[i], 0);
    memset(va, 0x77, 3 * PAGE_SIZE);
    assert_int_equal(pool_free(), before - 3);
    page_free(page, 3);
    assert_int_equal(pool_free(), before);
    for (uint64_t i = 0; i < 3 * PAGE_SIZE; i++)
        assert_int_equal(va[i], 0);
}

static void exhausted_pool_refuses_and_takes_nothing(void **state)
{
    (void)state;
    paddr_t page;
    uint64_t count = 0;
    assert_false(page_alloc(ARENA_SIZE / PAGE_SIZE, &page));
    uint64_t before = pool_free();
    while (page_alloc(1, &page)) {
        assert_true(page.raw + PAGE_SIZE <= ARENA_BASE + ARENA_SIZE);
        count++;
    }
    assert_int_equal(count, before);
    assert_int_equal(pool_free(), 0);
    paddr_t early = paddr(ARENA_BASE + ARENA_USED + 8 * PAGE_SIZE);
    page_free(early, 1);
    assert_true(page_alloc(1, &page));
    assert_int_equal(page.raw, early.raw);
}

static void random_pool_traffic_never_hands_out_a_page_twice(void **state)
{
    (void)state;
    enum { HELD = 48 };
    struct {
        paddr_t page;
        uint64_t count;
    } held[HELD] = {{{0}, 0}};
    uint64_t seed = 7, before = pool_free();
    for (uint32_t step = 0; step < 5000; step++) {
        uint32_t h = (uint32_t)(test_random(&seed) % HELD);
        if (held[h].count > 0) {
            uint8_t *va = page_va(held[h].page);
            assert_int_equal(va[0], h + 1);
            assert_int_equal(va[held[h].count * PAGE_SIZE - 1], h + 1);
            page_free(held[h].page, held[h].count);
            held[h].count = 0;
        } else {
            uint64_t count = 1 + test_random(&seed) % 40;
            if (page_alloc(count, &held[h].page)) {
                held[h].count = count;
                memset(page_va(held[h].page), (int)h + 1, count * PAGE_SIZE);
            }
        }
    }
    for (uint32_t h = 0; h < HELD; h++)
        if (held[h].count > 0)
            page_free(held[h].page, held[h].count);
    assert_int_equal(pool_free(), before);
}

static void freeing_twice_or_elsewhere_is_our_own_bug(void **state)
{
    (void)state;
    paddr_t page;
    assert_true(page_alloc(2, &page));
    page_free(page, 2);
    EXPECT_PANIC(page_free(page, 2));
    EXPECT_PANIC(page_free(paddr(ARENA_BASE), 1));
    EXPECT_PANIC(page_free(paddr(page.raw + 1), 1));
    EXPECT_PANIC(page_free(paddr(ARENA_BASE + ARENA_SIZE), 1));
}

static void extents_are_whole_units_outside_of_the_arena(void **state)
{
    (void)state;
    /* 0x200000-0x800000, 0xa00000-0x1800000, 3 GiB: nothing of what has a hole in it */
    assert_int_equal(memory_bytes(), 3 * SIZE_2M + 7 * SIZE_2M + 3 * SIZE_1G);
    struct extent small, large;
    assert_true(extent_alloc(SIZE_2M + 1, &small));
    assert_int_equal(small.size, 2 * SIZE_2M);
    assert_int_equal(small.base.raw, 0x200000);
    assert_int_equal(small.view, VIEW_PLAIN);
    assert_true(extent_alloc(SIZE_1G, &large));
    assert_int_equal(large.base.raw % SIZE_1G, 0);
    assert_int_equal(memory_free_bytes(), memory_bytes() - 2 * SIZE_2M - SIZE_1G);
    extent_free(&small);
    extent_free(&large);
    assert_int_equal(memory_free_bytes(), memory_bytes());
    assert_false(extent_alloc(4 * SIZE_1G, &large));
}

/* With a WBINVD where it takes one. */
static void set_view(struct extent *extent, enum memory_view view)
{
    if (extent_set_view(extent, view, false))
        return;
    wbinvds++;
    assert_true(extent_set_view(extent, view, true));
}

static void changing_the_key_flushes_the_caches(void **state)
{
    (void)state;
    struct extent extent;
    assert_true(extent_alloc(SIZE_2M, &extent));
    set_view(&extent, VIEW_PLAIN);
    assert_int_equal(wbinvds, 0);
    set_view(&extent, VIEW_ENCRYPTED);
    assert_int_equal(wbinvds, 1);
    set_view(&extent, VIEW_GUEST);
    assert_int_equal(wbinvds, 2);
    EXPECT_PANIC(extent_free(&extent));
    set_view(&extent, VIEW_PLAIN);
    assert_int_equal(wbinvds, 3);
    extent_free(&extent);
}

static void a_view_changes_no_earlier_than_all_cpus_have_flushed(void **state)
{
    (void)state;
    struct extent extent;
    assert_true(extent_alloc(SIZE_2M, &extent));
    for (unsigned i = 0; i < 3; i++) {
        assert_false(extent_set_view(&extent, VIEW_ENCRYPTED, false));
        assert_int_equal(extent.view, VIEW_PLAIN);
        zeroed = 0;
        assert_true(extent_zero(&extent, 0, PAGE_SIZE));
        assert_int_equal(window_view, VIEW_PLAIN);
    }
    assert_true(extent_set_view(&extent, VIEW_ENCRYPTED, true));
    assert_int_equal(extent.view, VIEW_ENCRYPTED);
    zeroed = 0;
    assert_true(extent_zero(&extent, 0, PAGE_SIZE));
    assert_int_equal(window_view, VIEW_ENCRYPTED);
    set_view(&extent, VIEW_PLAIN);
    extent_free(&extent);
}

static void coherent_parts_flush_for_guests_keys_only(void **state)
{
    (void)state;
    struct extent extent;
    cpu.features.sme_coherent = true;
    assert_true(extent_alloc(SIZE_2M, &extent));
    set_view(&extent, VIEW_ENCRYPTED);
    assert_int_equal(wbinvds, 0);
    set_view(&extent, VIEW_GUEST);
    set_view(&extent, VIEW_PLAIN);
    assert_int_equal(wbinvds, 2);
    extent_free(&extent);
}

static void without_sme_encrypted_is_plain(void **state)
{
    (void)state;
    struct extent extent;
    handoff.c_bit_mask = 0;
    view_init(&handoff);
    assert_true(extent_alloc(SIZE_2M, &extent));
    set_view(&extent, VIEW_ENCRYPTED);
    set_view(&extent, VIEW_PLAIN);
    extent_free(&extent);
    assert_int_equal(wbinvds, 0);
}

static void zeroing_covers_the_extent_under_its_view(void **state)
{
    (void)state;
    struct extent extent;
    assert_true(extent_alloc(UINT64_C(130) << 20, &extent));
    set_view(&extent, VIEW_ENCRYPTED);
    assert_true(extent_zero(&extent, 0, extent.size));
    assert_int_equal(zeroed, UINT64_C(130) << 20);
    assert_int_equal(zeroed_first, extent.base.raw);
    assert_int_equal(window_view, VIEW_ENCRYPTED);
    assert_int_equal(small_pieces, 0); /* such windows take pool pages, of which there may be none */
    set_view(&extent, VIEW_GUEST);
    EXPECT_PANIC((void)extent_zero(&extent, 0, extent.size));
    set_view(&extent, VIEW_PLAIN);
    extent_free(&extent);
}

static void zeroing_a_part_leaves_the_rest_alone(void **state)
{
    (void)state;
    static const struct {
        uint64_t offset, size;
    } parts[] = {
        {0, PAGE_SIZE},
        {PAGE_SIZE, SIZE_2M},
        {SIZE_2M - PAGE_SIZE, 2 * PAGE_SIZE},
        {UINT64_C(15) << 20, UINT64_C(30) << 20},
        {(UINT64_C(130) << 20) - PAGE_SIZE, PAGE_SIZE},
        {3 * PAGE_SIZE, (UINT64_C(130) << 20) - 5 * PAGE_SIZE},
    };
    struct extent extent;
    assert_true(extent_alloc(UINT64_C(130) << 20, &extent));
    for (unsigned i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
        zeroed = small_pieces = 0;
        assert_true(extent_zero(&extent, parts[i].offset, parts[i].size));
        assert_int_equal(zeroed, parts[i].size);
        assert_int_equal(zeroed_first, extent.base.raw + parts[i].offset);
        assert_true(small_pieces <= 2); /* at its ends */
    }
    no_window = true;
    assert_false(extent_zero(&extent, 0, PAGE_SIZE));
    EXPECT_PANIC((void)extent_zero(&extent, 1, PAGE_SIZE));
    EXPECT_PANIC((void)extent_zero(&extent, 0, 1));
    EXPECT_PANIC((void)extent_zero(&extent, extent.size, PAGE_SIZE));
    EXPECT_PANIC((void)extent_zero(&extent, PAGE_SIZE, UINT64_MAX - PAGE_SIZE + 1));
    extent_free(&extent);
}

/* At its start, in its middle, at its end, and all there is of it. */
static void of_a_retired_extent_two_mib_stay_away(void **state)
{
    (void)state;
    static const struct {
        uint64_t size, offset;
    } cases[] = {
        {8 * SIZE_2M, 5 * SIZE_2M + 12345},
        {8 * SIZE_2M, 5},
        {8 * SIZE_2M, 8 * SIZE_2M - 1},
        {SIZE_2M, 4096},
    };
    uint64_t before;
    struct extent extent, next[64];
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        before = memory_free_bytes();
        assert_true(extent_alloc(cases[i].size, &extent));
        uint64_t bad = extent.base.raw + cases[i].offset;
        zeroed = 0;
        extent_retire(&extent, cases[i].offset);
        assert_int_equal(extent.size, 0);
        assert_int_equal(zeroed, 0); /* it is touched by nobody again */
        assert_int_equal(memory_free_bytes(), before - SIZE_2M);
        unsigned count = 0;
        while (count < 64 && extent_alloc(SIZE_2M, &next[count])) {
            assert_true(bad < next[count].base.raw || bad >= next[count].base.raw + SIZE_2M);
            count++;
        }
        assert_true(count > 8);
        while (count > 0)
            extent_free(&next[--count]);
    }
}

static void a_forged_extent_is_our_own_bug(void **state)
{
    (void)state;
    struct extent extent, forged;
    assert_true(extent_alloc(SIZE_2M, &extent));
    forged = extent;
    forged.size += SIZE_2M;
    EXPECT_PANIC(extent_free(&forged));
    EXPECT_PANIC(extent_retire(&extent, SIZE_2M));
    set_view(&extent, VIEW_GUEST);
    EXPECT_PANIC(extent_retire(&extent, 0)); /* it is not scrubbed yet */
    set_view(&extent, VIEW_PLAIN);
    forged = extent;
    extent_free(&extent);
    EXPECT_PANIC(extent_free(&forged));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(pool_pages_come_zeroed_and_go_zeroed),
        TEST(exhausted_pool_refuses_and_takes_nothing),
        TEST(random_pool_traffic_never_hands_out_a_page_twice),
        TEST(freeing_twice_or_elsewhere_is_our_own_bug),
        TEST(extents_are_whole_units_outside_of_the_arena),
        TEST(changing_the_key_flushes_the_caches),
        TEST(a_view_changes_no_earlier_than_all_cpus_have_flushed),
        TEST(coherent_parts_flush_for_guests_keys_only),
        TEST(without_sme_encrypted_is_plain),
        TEST(zeroing_covers_the_extent_under_its_view),
        TEST(zeroing_a_part_leaves_the_rest_alone),
        TEST(of_a_retired_extent_two_mib_stay_away),
        TEST(a_forged_extent_is_our_own_bug),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
