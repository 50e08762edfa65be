/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "test.h"

#include "hv/lib/pagetable.h"

#define C_BIT (UINT64_C(1) << 51)
#define TABLES UINT64_C(0x7000000)      /* where the pages for tables pretend to be */

static uint8_t *pages;
static struct pagetable table;

static void set_up(uint64_t npages, uint64_t c_bit)
{
    pages = aligned_alloc(PAGE_SIZE, npages * PAGE_SIZE);
    memset(pages, 0xff, npages * PAGE_SIZE);
    pagetable_init(&table, TABLES, TABLES + npages * PAGE_SIZE, (uintptr_t)pages - TABLES, c_bit);
}

/* The walk as APM2 5.3 describes it; true and the final entry, its level, when there is one. Every pointer to a table must
 * carry the C-bit. */
static bool walk(uint64_t va, uint64_t *out, unsigned *level)
{
    uint64_t at = table.root;
    for (unsigned l = 4; l > 0; l--) {
        const uint64_t *entries = (const uint64_t *)(uintptr_t)(at + table.alias);
        uint64_t entry = entries[va >> (12 + 9 * (l - 1)) & 511];
        if ((entry & PTE_P) == 0)
            return false;
        if (l == 1 || (entry & PTE_PS) != 0) {
            *out = entry;
            *level = l;
            return true;
        }
        assert_int_equal(entry & table.c_bit, table.c_bit);
        assert_true((entry & PTE_W) != 0 && (entry & PTE_NX) == 0);
        at = entry & PTE_ADDRESS & ~table.c_bit;
    }
    return false;
}

static void large_pages_are_used_where_both_sides_are_aligned(void **state)
{
    (void)state;
    uint64_t entry;
    unsigned level;
    set_up(16, C_BIT);
    uint64_t va = UINT64_C(0xffff800000000000) + SIZE_2M - PAGE_SIZE, address = SIZE_1G + SIZE_2M - PAGE_SIZE;
    assert_true(pagetable_map(&table, va, address | C_BIT, SIZE_2M + 2 * PAGE_SIZE, PTE_W | PTE_NX));
    assert_true(walk(va, &entry, &level) && level == 1);
    assert_int_equal(entry, address | C_BIT | PTE_W | PTE_NX | PTE_P);
    assert_true(walk(va + PAGE_SIZE, &entry, &level) && level == 2);
    assert_int_equal(entry, (address + PAGE_SIZE) | C_BIT | PTE_W | PTE_NX | PTE_PS | PTE_P);
    assert_true(walk(va + PAGE_SIZE + SIZE_2M, &entry, &level) && level == 1);
    assert_false(walk(va - PAGE_SIZE, &entry, &level));
    assert_false(walk(va + SIZE_2M + 2 * PAGE_SIZE, &entry, &level));
    free(pages);
}

static void unlike_alignment_falls_back_to_small_pages(void **state)
{
    (void)state;
    uint64_t entry;
    unsigned level;
    set_up(16, 0);
    assert_true(pagetable_map(&table, SIZE_2M, PAGE_SIZE, 2 * SIZE_2M, 0));
    assert_true(walk(SIZE_2M, &entry, &level) && level == 1);
    assert_int_equal(entry, PAGE_SIZE | PTE_P);
    assert_true(walk(3 * SIZE_2M - 1, &entry, &level) && level == 1);
    assert_int_equal(pagetable_cr3(&table), table.root);
    free(pages);
}

static void cr3_carries_the_c_bit(void **state)
{
    (void)state;
    set_up(1, C_BIT);
    assert_int_equal(pagetable_cr3(&table), TABLES | C_BIT);
    free(pages);
}

static void running_out_of_pages_is_reported(void **state)
{
    (void)state;
    for (uint64_t npages = 1; npages < 4; npages++) {
        set_up(npages, C_BIT);
        assert_false(pagetable_map(&table, 0, 0, PAGE_SIZE, 0));
        assert_null(pagetable_entry(&table, 0, 1));
        free(pages);
    }
    set_up(4, C_BIT);
    assert_true(pagetable_map(&table, 0, 0, PAGE_SIZE, 0));
    assert_non_null(pagetable_entry(&table, SIZE_2M - 1, 1));
    assert_null(pagetable_entry(&table, SIZE_2M, 1));
    free(pages);
}

/* A second root that shares all tables with the first, until it gets those on one way for itself. */
static void unshared_tables_are_copies_and_the_rest_stays_in_common(void **state)
{
    (void)state;
    uint64_t entry, way = SIZE_1G + 5 * SIZE_2M, beside = SIZE_1G + 7 * SIZE_2M;
    unsigned level;
    set_up(16, C_BIT);
    struct pagetable first = table;
    assert_true(pagetable_map(&first, way, 0x5000, PAGE_SIZE, PTE_W));
    assert_true(pagetable_map(&first, beside, 0x7000, PAGE_SIZE, PTE_W));
    struct pagetable second;
    pagetable_init(&second, first.next, first.end, first.alias, C_BIT);
    memcpy((void *)(uintptr_t)(second.root + second.alias), (void *)(uintptr_t)(first.root + first.alias), PAGE_SIZE);

    uint64_t next = second.next;
    assert_true(pagetable_unshare(&second, way, 2));
    assert_int_equal(second.next, next + 2 * PAGE_SIZE); /* below the root, a table of 512 GiB and one of 1 GiB */
    *pagetable_entry(&second, way, 2) = 0;
    *pagetable_entry(&second, way + SIZE_1G, 2) = 0x40000000 | PTE_PS | PTE_P;
    *pagetable_entry(&second, beside, 1) = 0x8000 | PTE_P; /* in a table that both have */
    table = second;
    assert_false(walk(way, &entry, &level));
    assert_true(walk(way + SIZE_1G, &entry, &level));
    table = first;
    assert_true(walk(way, &entry, &level));
    assert_int_equal(entry, 0x5000 | PTE_W | PTE_P);
    assert_false(walk(way + SIZE_1G, &entry, &level));
    assert_true(walk(beside, &entry, &level));
    assert_int_equal(entry, 0x8000 | PTE_P);

    second.end = second.next + PAGE_SIZE;
    assert_false(pagetable_unshare(&second, way, 2));
    free(pages);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_pages_are_used_where_both_sides_are_aligned),
        cmocka_unit_test(unlike_alignment_falls_back_to_small_pages),
        cmocka_unit_test(cr3_carries_the_c_bit),
        cmocka_unit_test(running_out_of_pages_is_reported),
        cmocka_unit_test(unshared_tables_are_copies_and_the_rest_stays_in_common),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
