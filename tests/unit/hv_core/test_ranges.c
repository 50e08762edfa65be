/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "test.h"

#include "boot/boot.h"

#define PAGE UINT64_C(4096)
#define MAX HANDOFF_MAX_RANGES
#define STRIDE 48u      /* firmware's descriptors are longer than version 1's */
#define NO_LIMIT (UINT64_C(1) << 52)

/* EFI_MEMORY_TYPE, second source: edk2's numbers */
enum {
    RESERVED = 0,
    LOADER_DATA = 2,
    BOOT_DATA = 4,
    RUNTIME_CODE = 5,
    RUNTIME_DATA = 6,
    CONVENTIONAL = 7,
    ACPI_RECLAIM = 9,
    ACPI_NVS = 10,
    MMIO = 11,
    PERSISTENT = 14
};
#define WB UINT64_C(0xf)

struct handoff handoff;
static struct handoff_range *const storage = handoff.ranges;
static uint64_t withheld;
static uint8_t *map;
static uint64_t map_bytes;

static void map_start(void)
{
    free(map);
    map = NULL;
    map_bytes = 0;
    handoff.range_count = 0;
}

static void map_add(uint32_t type, uint64_t base, uint64_t pages, uint64_t attribute)
{
    uint64_t d[STRIDE / 8] = {type, base, 0, pages, attribute, 0};
    map = realloc(map, map_bytes + STRIDE);
    memcpy(map + map_bytes, d, STRIDE);
    map_bytes += STRIDE;
}

static void expect(uint32_t i, uint64_t base, uint64_t pages, uint32_t kind)
{
    assert_true(i < handoff.range_count);
    assert_int_equal(storage[i].base, base);
    assert_int_equal(storage[i].pages, pages);
    assert_int_equal(storage[i].kind, kind);
}

static void types_become_kinds(void **state)
{
    (void)state;
    map_start();
    map_add(CONVENTIONAL, 0x0, 1, WB);
    map_add(RUNTIME_CODE, 0x1000, 1, WB);
    map_add(RUNTIME_DATA, 0x2000, 1, WB);
    map_add(ACPI_NVS, 0x3000, 1, WB);
    map_add(ACPI_RECLAIM, 0x4000, 1, WB);
    map_add(MMIO, 0x5000, 1, 1);
    map_add(RESERVED, 0x6000, 1, WB);
    map_add(PERSISTENT, 0x7000, 1, WB);
    map_add(99, 0x8000, 1, WB);
    assert_true(ranges_from_uefi(map, map_bytes, STRIDE, NO_LIMIT, &withheld));
    assert_int_equal(handoff.range_count, 6);
    expect(0, 0x0, 1, HANDOFF_USABLE);
    expect(1, 0x1000, 1, HANDOFF_RUNTIME_CODE);
    expect(2, 0x2000, 1, HANDOFF_RUNTIME_DATA);
    expect(3, 0x3000, 2, HANDOFF_ACPI);
    expect(4, 0x5000, 1, HANDOFF_MMIO);
    expect(5, 0x6000, 3, HANDOFF_RESERVED);
}

static void unsorted_neighbours_merge(void **state)
{
    (void)state;
    map_start();
    map_add(BOOT_DATA, 0x5000, 3, WB);
    map_add(CONVENTIONAL, 0x2000, 3, WB);
    map_add(LOADER_DATA, 0x8000, 1, WB);
    assert_true(ranges_from_uefi(map, map_bytes, STRIDE, NO_LIMIT, &withheld));
    assert_int_equal(handoff.range_count, 1);
    expect(0, 0x2000, 7, HANDOFF_USABLE);
}

static void where_descriptors_disagree_memory_is_not_usable(void **state)
{
    (void)state;
    map_start();
    map_add(RUNTIME_DATA, 0x4000, 2, WB);
    map_add(CONVENTIONAL, 0x1000, 8, WB);       /* later and larger: must not win */
    assert_true(ranges_from_uefi(map, map_bytes, STRIDE, NO_LIMIT, &withheld));
    assert_int_equal(handoff.range_count, 3);
    expect(0, 0x1000, 3, HANDOFF_USABLE);
    expect(1, 0x4000, 2, HANDOFF_RUNTIME_DATA);
    expect(2, 0x6000, 3, HANDOFF_USABLE);
}

#define RUNTIME (UINT64_C(1) << 63)

/* The firmware's power-off may use it: cached, or not, as it says. */
static void memory_of_runtime_services_is_theirs_whatever_its_type(void **state)
{
    (void)state;
    map_start();
    map_add(RESERVED, 0x1000, 1, WB | RUNTIME);
    map_add(RESERVED, 0x2000, 1, 1 | RUNTIME);
    map_add(CONVENTIONAL, 0x3000, 1, WB | RUNTIME);
    map_add(RUNTIME_CODE, 0x4000, 1, WB | RUNTIME);
    map_add(ACPI_NVS, 0x5000, 1, WB | RUNTIME);
    map_add(MMIO, 0x6000, 1, 1 | RUNTIME);
    map_add(RESERVED, 0x7000, 1, WB);
    map_add(RESERVED, 0x0000, 8, WB);           /* says less: does not hide the others */
    assert_true(ranges_from_uefi(map, map_bytes, STRIDE, NO_LIMIT, &withheld));
    assert_int_equal(handoff.range_count, 8);
    expect(0, 0x0000, 1, HANDOFF_RESERVED);
    expect(1, 0x1000, 1, HANDOFF_RUNTIME_DATA);
    expect(2, 0x2000, 1, HANDOFF_MMIO);
    expect(3, 0x3000, 1, HANDOFF_RUNTIME_DATA);
    expect(4, 0x4000, 1, HANDOFF_RUNTIME_CODE);
    expect(5, 0x5000, 1, HANDOFF_ACPI);
    expect(6, 0x6000, 1, HANDOFF_MMIO);
    expect(7, 0x7000, 1, HANDOFF_RESERVED);
}

static void memory_that_cannot_be_cached_or_has_an_owner_is_not_usable(void **state)
{
    (void)state;
    map_start();
    map_add(CONVENTIONAL, 0x1000, 1, 1);                    /* UC only */
    map_add(CONVENTIONAL, 0x2000, 1, WB | 0x40000);         /* specific purpose */
    assert_true(ranges_from_uefi(map, map_bytes, STRIDE, NO_LIMIT, &withheld));
    assert_int_equal(handoff.range_count, 1);
    expect(0, 0x1000, 2, HANDOFF_RESERVED);
}

static void what_the_cpu_cannot_reach_is_left_out(void **state)
{
    (void)state;
    map_start();
    map_add(CONVENTIONAL, 0, 16, WB);
    map_add(CONVENTIONAL, 0x100000, 16, WB);
    assert_true(ranges_from_uefi(map, map_bytes, STRIDE, 0x8000, &withheld));
    assert_int_equal(handoff.range_count, 1);
    expect(0, 0, 8, HANDOFF_USABLE);
    assert_int_equal(withheld, 24 * PAGE);
}

static void absurd_sizes_do_not_wrap(void **state)
{
    (void)state;
    map_start();
    map_add(MMIO, UINT64_MAX - 0x1fff, UINT64_MAX, 1);
    map_add(CONVENTIONAL, 0x1000, 0, WB);
    map_add(CONVENTIONAL, 0x3000, 1, WB);
    assert_true(ranges_from_uefi(map, map_bytes, STRIDE, UINT64_MAX & ~UINT64_C(0xfff), &withheld));
    assert_int_equal(handoff.range_count, 2);
    expect(0, 0x3000, 1, HANDOFF_USABLE);
    assert_true(storage[1].base + storage[1].pages * PAGE > storage[1].base);
}

static void short_descriptors_and_cut_maps_are_not_read_past_their_end(void **state)
{
    (void)state;
    map_start();
    map_add(CONVENTIONAL, 0x1000, 1, WB);
    map_add(CONVENTIONAL, 0x3000, 1, WB);
    assert_false(ranges_from_uefi(map, map_bytes, 39, NO_LIMIT, &withheld));
    assert_false(ranges_from_uefi(map, map_bytes, 0, NO_LIMIT, &withheld));
    uint8_t *cut = malloc(map_bytes - 1);
    memcpy(cut, map, map_bytes - 1);
    assert_true(ranges_from_uefi(cut, map_bytes - 1, STRIDE, NO_LIMIT, &withheld));
    assert_int_equal(handoff.range_count, 1);
    free(cut);
}

static void too_many_ranges_are_refused_without_damage(void **state)
{
    (void)state;
    map_start();
    for (uint64_t i = 0; i <= MAX; i++)
        map_add(CONVENTIONAL, i * 2 * PAGE, 1, WB);
    assert_false(ranges_from_uefi(map, map_bytes, STRIDE, NO_LIMIT, &withheld));
    assert_int_equal(handoff.range_count, MAX);
    /* Painting into the middle of a range wants two more; there is no room for one. */
    storage[MAX - 1].pages = 3;
    uint32_t before = handoff.range_count;
    assert_false(ranges_paint(storage[MAX - 1].base + PAGE, 1, HANDOFF_ARENA));
    assert_int_equal(handoff.range_count, before);
    expect(MAX - 1, (MAX - 1) * 2 * PAGE, 3, HANDOFF_USABLE);
    assert_true(ranges_paint(storage[MAX - 1].base, 3, HANDOFF_ARENA));
}

static void a_range_begins_with_the_page_of_its_first_byte(void **state)
{
    (void)state;
    map_start();
    assert_true(ranges_paint(10 * PAGE + 0x801, 2, HANDOFF_ACPI));
    expect(0, 10 * PAGE, 2, HANDOFF_ACPI);
    assert_true(ranges_paint(11 * PAGE + PAGE - 1, 1, HANDOFF_MMIO));
    expect(0, 10 * PAGE, 1, HANDOFF_ACPI);
    expect(1, 11 * PAGE, 1, HANDOFF_MMIO);
}

/* Against one kind per page. */
static void random_painting_agrees_with_a_plain_table(void **state)
{
    (void)state;
    enum { PAGES = 48 };
    uint32_t page[PAGES];
    uint64_t seed = 99;
    for (uint32_t round = 0; round < 400; round++) {
        map_start();
        memset(page, 0, sizeof(page));
        for (uint32_t step = 0; step < 30; step++) {
            uint64_t base = test_random(&seed) % PAGES, count = test_random(&seed) % (PAGES - base + 1);
            uint32_t kind = 1 + (uint32_t)(test_random(&seed) % 3);
            assert_true(ranges_paint(base * PAGE, count, kind));
            for (uint64_t i = base; i < base + count; i++)
                page[i] = kind;
            uint64_t next = 0;
            for (uint32_t r = 0; r < handoff.range_count; r++) {
                uint64_t first = storage[r].base / PAGE;
                assert_true(first >= next && storage[r].pages > 0);
                assert_true(storage[r].base % PAGE == 0 && storage[r].reserved == 0);
                assert_true(r == 0 || first > next || storage[r - 1].kind != storage[r].kind);
                for (; next < first; next++)
                    assert_int_equal(page[next], 0);
                for (; next < first + storage[r].pages; next++)
                    assert_int_equal(page[next], storage[r].kind);
            }
            for (; next < PAGES; next++)
                assert_int_equal(page[next], 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_become_kinds),
        cmocka_unit_test(unsorted_neighbours_merge),
        cmocka_unit_test(where_descriptors_disagree_memory_is_not_usable),
        cmocka_unit_test(memory_of_runtime_services_is_theirs_whatever_its_type),
        cmocka_unit_test(memory_that_cannot_be_cached_or_has_an_owner_is_not_usable),
        cmocka_unit_test(what_the_cpu_cannot_reach_is_left_out),
        cmocka_unit_test(absurd_sizes_do_not_wrap),
        cmocka_unit_test(short_descriptors_and_cut_maps_are_not_read_past_their_end),
        cmocka_unit_test(too_many_ranges_are_refused_without_damage),
        cmocka_unit_test(a_range_begins_with_the_page_of_its_first_byte),
        cmocka_unit_test(random_painting_agrees_with_a_plain_table),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    free(map);
    return failed;
}
