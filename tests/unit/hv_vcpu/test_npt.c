/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The nested page tables against a walker of the test's own (APM2 5.3), and against a flat model. */
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "rig.h"

#define ABSENT UINT64_MAX
#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

struct leaf {
    uint64_t address, size, entry;
};

/* Where the hardware would get to. */
static struct leaf walk(const struct npt *npt, uint64_t gpa)
{
    uint64_t table = npt->root.raw;
    for (int shift = 39; shift >= 12; shift -= 9) {
        uint64_t entry = ((const uint64_t *)page_va(paddr(table)))[gpa >> shift & 511];
        if ((entry & 1) == 0)
            return (struct leaf){ABSENT, UINT64_C(1) << shift, entry};
        assert_int_equal(entry & 6, 6);     /* writable, user: nested walks are user accesses */
        assert_int_equal(entry >> 63, 0);
        uint64_t address = entry & UINT64_C(0x0007fffffffff000);
        if (shift == 12 || (shift <= 30 && (entry & 0x80) != 0)) {
            assert_int_equal(address & ((UINT64_C(1) << shift) - 1), 0);
            return (struct leaf){address + (gpa & ((UINT64_C(1) << shift) - 1)), UINT64_C(1) << shift, entry};
        }
        assert_int_equal(entry & 0x80, 0);
        assert_true((entry & RIG_C_BIT) != 0);      /* tables are hv's own, under its key */
        table = address;
    }
    return (struct leaf){ABSENT, 0, 0};
}

static struct npt fresh(void)
{
    struct npt npt;
    assert_true(npt_create(&npt));
    return npt;
}

static void the_largest_pages_that_fit_are_used(void **state)
{
    (void)state;
    struct npt npt = fresh();
    assert_true(npt_map(&npt, gpaddr(0), paddr(4 * GIB), 3 * GIB + 4 * MIB + 8 * KIB, VIEW_PLAIN));
    assert_int_equal(walk(&npt, 0).size, GIB);
    assert_int_equal(walk(&npt, 3 * GIB - 1).size, GIB);
    assert_int_equal(walk(&npt, 3 * GIB).size, 2 * MIB);
    assert_int_equal(walk(&npt, 3 * GIB + 4 * MIB).size, 4 * KIB);
    assert_int_equal(walk(&npt, 3 * GIB + 4 * MIB + 4 * KIB).address, 7 * GIB + 4 * MIB + 4 * KIB);
    assert_int_equal(walk(&npt, 3 * GIB + 4 * MIB + 8 * KIB).address, ABSENT);
    assert_int_equal(npt.pages, 4);         /* root, a table of 1 GiB, of 2 MiB, of 4 KiB */
    npt_destroy(&npt);

    npt = fresh();                          /* bases that are not aligned alike */
    assert_true(npt_map(&npt, gpaddr(0), paddr(4 * GIB + 2 * MIB), 2 * GIB, VIEW_PLAIN));
    assert_int_equal(walk(&npt, 0).size, 2 * MIB);
    npt_destroy(&npt);

    rig_cpu.features.one_gib_pages = false;
    npt = fresh();
    assert_true(npt_map(&npt, gpaddr(0), paddr(4 * GIB), GIB, VIEW_PLAIN));
    assert_int_equal(walk(&npt, 0).size, 2 * MIB);
    npt_destroy(&npt);
}

static void the_c_bit_follows_the_view(void **state)
{
    (void)state;
    static const struct {
        enum memory_view view;
        bool c;
    } views[] = {
        {VIEW_PLAIN, false},
        {VIEW_ENCRYPTED, true},
        {VIEW_GUEST, false},
    };
    for (size_t i = 0; i < 3; i++) {
        struct npt npt = fresh();
        paddr_t found;
        assert_true(npt_map(&npt, gpaddr(0), paddr(4 * GIB), 2 * MIB, views[i].view));
        assert_int_equal((walk(&npt, 0).entry & RIG_C_BIT) != 0, views[i].c);
        assert_true(npt_map(&npt, gpaddr(2 * MIB), paddr(8 * GIB), 4 * KIB, views[i].view));
        assert_int_equal((walk(&npt, 2 * MIB).entry & RIG_C_BIT) != 0, views[i].c);
        assert_true(npt_lookup(&npt, gpaddr(8 * KIB + 5), &found));
        assert_int_equal(found.raw, 4 * GIB + 8 * KIB + 5);         /* an address has none */
        npt_destroy(&npt);
    }
}

/* All table pages, as bytes. */
static size_t snapshot(uint64_t *words)
{
    size_t count = 0;
    for (uint64_t i = 0; i < 64; i++, count += 512)
        memcpy(words + count, page_va(paddr(RIG_POOL_BASE + i * PAGE_SIZE)), PAGE_SIZE);
    return count * 8;
}

static uint64_t before[64 * 512], after[64 * 512];

static void a_map_without_enough_pages_leaves_no_trace(void **state)
{
    (void)state;
    struct npt npt = fresh();
    assert_true(npt_map(&npt, gpaddr(0), paddr(4 * GIB), 2 * MIB, VIEW_PLAIN));
    uint64_t taken = rig_pages_taken(), pages = npt.pages;
    snapshot(before);
    bool done = false;
    for (uint64_t budget = 0; !done; budget++) {
        rig_leave_pages(budget);
        done = npt_map(&npt, gpaddr(2 * GIB - 4 * KIB), paddr(8 * GIB - 4 * KIB), GIB + 2 * MIB + 8 * KIB, VIEW_PLAIN);
        if (!done) {
            assert_int_equal(rig_pages_taken(), taken);
            assert_int_equal(page_free_count(), budget);
            assert_int_equal(npt.pages, pages);
            rig_leave_pages(UINT64_MAX);
            assert_memory_equal(before, after, snapshot(after));
        } else {
            assert_int_equal(page_free_count(), 0);    /* it had asked for no more than it needs */
            assert_int_equal(npt.pages - pages, budget);
            assert_true(budget >= 3);
        }
        assert_true(budget < 20);
    }
    rig_leave_pages(UINT64_MAX);
    npt_destroy(&npt);
}

static void what_is_mapped_is_not_mapped_over(void **state)
{
    (void)state;
    struct npt npt = fresh();
    assert_true(npt_map(&npt, gpaddr(4 * MIB), paddr(4 * GIB), 2 * MIB, VIEW_PLAIN));
    uint64_t taken = rig_pages_taken();
    snapshot(before);
    assert_false(npt_map(&npt, gpaddr(0), paddr(8 * GIB), 8 * MIB, VIEW_PLAIN));
    assert_false(npt_map(&npt, gpaddr(6 * MIB - 4 * KIB), paddr(8 * GIB), 4 * KIB, VIEW_PLAIN));
    assert_false(npt_map(&npt, gpaddr(0), paddr(8 * GIB), GIB, VIEW_PLAIN));
    assert_int_equal(rig_pages_taken(), taken);
    assert_memory_equal(before, after, snapshot(after));
}

static void a_readonly_page_cannot_be_written_or_executed(void **state)
{
    (void)state;
    struct npt npt = fresh();
    assert_true(npt_map(&npt, gpaddr(0), paddr(4 * GIB), 16 * MIB, VIEW_GUEST));
    uint64_t pages = npt.pages, taken = rig_pages_taken();
    assert_true(npt_map_readonly(&npt, gpaddr(0xfed80000), paddr(RIG_POOL_BASE)));
    /* P, U, A; not W, not D; NX; without the C-bit */
    assert_int_equal(rig_leaf_entry(&npt, 0xfed80000), RIG_POOL_BASE | 0x25 | UINT64_C(1) << 63);
    assert_int_equal(npt.pages - pages, 2);
    assert_int_equal(rig_pages_taken() - taken, 2);
    assert_true(npt_map_readonly(&npt, gpaddr(0xfed81000), paddr(RIG_POOL_BASE)));
    assert_int_equal(npt.pages - pages, 2);
    assert_false(npt_map_readonly(&npt, gpaddr(0xfed80000), paddr(RIG_POOL_BASE)));
    assert_false(npt_map_readonly(&npt, gpaddr(8 * MIB), paddr(RIG_POOL_BASE)));
    rig_leave_pages(0);
    assert_false(npt_map_readonly(&npt, gpaddr(0xc0000000), paddr(RIG_POOL_BASE)));
    npt_destroy(&npt);
    assert_int_equal(rig_pages_taken(), taken - pages);       /* but not the page itself */
}

static void hostile_ranges_are_refused(void **state)
{
    (void)state;
    struct npt npt = fresh();
    paddr_t found;
    static const struct {
        uint64_t gpa, base, size;
    } bad[] = {
        {0, 0, 0},
        {1, 0, 4096},
        {0, 1, 4096},
        {0, 0, 4095},
        {UINT64_MAX - 4095, 0, 8192},
        {0, UINT64_MAX - 4095, 4096},
        {UINT64_C(1) << 48, 0, 4096},
        {(UINT64_C(1) << 48) - 4096, 0, 8192},
        {0, 0, UINT64_MAX - 4095},
        {0, UINT64_C(1) << 52, 4096},
        {0, (UINT64_C(1) << 52) - 4096, 8192},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(npt_map(&npt, gpaddr(bad[i].gpa), paddr(bad[i].base), bad[i].size, VIEW_PLAIN));
    assert_false(npt_lookup(&npt, gpaddr(UINT64_C(1) << 48), &found));
    assert_false(npt_lookup(&npt, gpaddr(UINT64_MAX), &found));
    assert_int_equal(npt.pages, 1);
    assert_true(npt_map(&npt, gpaddr((UINT64_C(1) << 48) - 4096), paddr(0), 4096, VIEW_PLAIN));
}

#define MODEL_PAGES (3 * 262144u)       /* 3 GiB */
static uint64_t model[MODEL_PAGES];

static uint64_t pick(uint64_t below)
{
    return (uint64_t)rand() % below;
}

static void check(const struct npt *npt, uint64_t page)
{
    paddr_t found;
    bool there = npt_lookup(npt, gpaddr(page * PAGE_SIZE), &found);
    assert_int_equal(walk(npt, page * PAGE_SIZE).address, model[page]);
    assert_int_equal(there ? found.raw : ABSENT, model[page]);
}

static struct npt fresh_model(void)
{
    for (uint64_t i = 0; i < MODEL_PAGES; i++)
        model[i] = ABSENT;
    return fresh();
}

static void any_order_of_maps_is_what_a_flat_array_says(void **state)
{
    (void)state;
    struct npt npt = fresh_model();
    srand(1);
    static const uint64_t units[] = {1, 1, 512, 512, 262144};
    for (int step = 0; step < 600; step++) {
        uint64_t unit = units[pick(5)], first = pick(MODEL_PAGES / unit) * unit;
        uint64_t count = (1 + pick(unit == 1 ? 2000 : 3)) * unit, base = (1 << 20) + pick(1000) * units[pick(5)];
        if (first + count > MODEL_PAGES)
            count = MODEL_PAGES - first;
        rig_leave_pages(pick(8) == 0 ? pick(4) : 3000);
        bool free = true;
        for (uint64_t i = first; i < first + count; i++)
            free &= model[i] == ABSENT;
        if (npt_map(&npt, gpaddr(first * PAGE_SIZE), paddr(base * PAGE_SIZE), count * PAGE_SIZE, VIEW_ENCRYPTED)) {
            assert_true(free);
            for (uint64_t i = 0; i < count; i++)
                model[first + i] = (base + i) * PAGE_SIZE;
        } else {
            assert_true(!free || page_free_count() < 8);
        }
        assert_int_equal(npt.pages, rig_pages_taken() - 9);   /* of the rig: a VMCB, two IOPMs, MSRPM */
        for (int i = 0; i < 200; i++)
            check(&npt, pick(MODEL_PAGES));
        check(&npt, first);
        check(&npt, first + count - 1);
        if (first > 0)
            check(&npt, first - 1);
        if (first + count < MODEL_PAGES)
            check(&npt, first + count);
        if (step % 20 == 19) {
            rig_leave_pages(UINT64_MAX);
            npt_destroy(&npt);
            assert_int_equal(rig_pages_taken(), 9);
            npt = fresh_model();
        }
    }
}

static void destroy_returns_every_page(void **state)
{
    (void)state;
    uint64_t taken = rig_pages_taken();
    struct npt npt = fresh();
    assert_true(npt_map(&npt, gpaddr(0), paddr(4 * GIB), GIB, VIEW_GUEST));
    assert_true(npt_map(&npt, gpaddr(UINT64_C(1) << 40), paddr(4 * GIB + 4 * KIB), 4 * MIB, VIEW_GUEST));
    npt_destroy(&npt);
    assert_int_equal(rig_pages_taken(), taken);
    npt_destroy(&npt);                      /* of nothing: nothing */
    assert_int_equal(rig_pages_taken(), taken);
    rig_leave_pages(0);
    assert_false(npt_create(&npt));
}

/* ---- accessed, written ---- */

/* What the hardware does at a write: A on the way, A and D in the leaf. */
static uint64_t *leaf_of(const struct npt *npt, uint64_t gpa)
{
    uint64_t table = npt->root.raw;
    for (int shift = 39;; shift -= 9) {
        uint64_t *entry = (uint64_t *)page_va(paddr(table)) + (gpa >> shift & 511);
        assert_int_equal(*entry & 1, 1);
        if (shift == 12 || (*entry & 0x80) != 0)
            return entry;
        assert_int_equal(*entry & 0x20, 0x20);
        table = *entry & UINT64_C(0x0007fffffffff000);
    }
}

static void a_new_page_is_neither_accessed_nor_written(void **state)
{
    (void)state;
    struct npt npt = fresh();
    static const uint64_t sizes[] = {GIB, 2 * MIB, 4 * KIB};
    for (unsigned i = 0; i < 3; i++) {
        gpaddr_t gpa = gpaddr(i * GIB);
        assert_true(npt_map(&npt, gpa, paddr(i * GIB), sizes[i], VIEW_ENCRYPTED));
        assert_int_equal(walk(&npt, gpa.raw).size, sizes[i]);
        assert_int_equal(*leaf_of(&npt, gpa.raw) & 0x60, 0);
        assert_int_equal(npt_usage(&npt, gpa, true), 0);
        *leaf_of(&npt, gpa.raw) |= 0x60;
        gpaddr_t last = gpaddr(gpa.raw + sizes[i] - 1);
        assert_int_equal(npt_usage(&npt, last, false), NPT_A | NPT_D);
        assert_int_equal(npt_usage(&npt, last, true), NPT_A | NPT_D);
        assert_int_equal(npt_usage(&npt, last, false), NPT_A); /* cleared: D alone, and in no other way */
        assert_int_equal(*leaf_of(&npt, gpa.raw), (i * GIB) | RIG_C_BIT | 0x27 | (i < 2 ? 0x80u : 0));
    }
    npt_destroy(&npt);
}

static void what_others_write_is_marked_page_by_page(void **state)
{
    (void)state;
    struct npt npt = fresh();
    assert_true(npt_map(&npt, gpaddr(0), paddr(4 * GIB), 4 * MIB, VIEW_GUEST) && npt_split(&npt, gpaddr(0), 2 * MIB));
    static const struct {
        uint64_t gpa, size, first, count;
    } writes[] = {{0x3000, 0x1000, 3, 1}, {0x5fff, 2, 5, 2}, {0x8001, 1, 8, 1}, {0xa800, 0x2000, 10, 3}};
    for (unsigned i = 0; i < sizeof(writes) / sizeof(*writes); i++) {
        for (uint64_t page = 0; page < 512; page++)
            *leaf_of(&npt, page * PAGE_SIZE) &= ~UINT64_C(0x60);
        npt_mark(&npt, gpaddr(writes[i].gpa), writes[i].size);
        for (uint64_t page = 0; page < 512; page++)
            assert_int_equal(npt_usage(&npt, gpaddr(page * PAGE_SIZE), false) != 0,
                             page >= writes[i].first && page < writes[i].first + writes[i].count);
    }
    npt_mark(&npt, gpaddr(3 * MIB), 1); /* a large page is one */
    assert_int_equal(npt_usage(&npt, gpaddr(2 * MIB), false), NPT_A | NPT_D);
    uint64_t taken = rig_pages_taken();
    npt_mark(&npt, gpaddr(8 * MIB), PAGE_SIZE); /* where nothing is */
    assert_true(rig_pages_taken() == taken && walk(&npt, 8 * MIB).address == ABSENT);
    npt_destroy(&npt);
}

/* Of 2 GiB + 4 MiB + 4 KiB from 0 to 4 GiB: two pages of 1 GiB, two of 2 MiB, one of 4 KiB. */
static struct npt mixed(void)
{
    struct npt npt = fresh();
    assert_true(npt_map(&npt, gpaddr(0), paddr(4 * GIB), 2 * GIB + 4 * MIB + 4 * KIB, VIEW_ENCRYPTED));
    assert_int_equal(walk(&npt, GIB).size, GIB);
    return npt;
}

static void a_split_changes_the_size_of_pages_in_its_range_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        uint64_t gpa, size, tables;
    } ranges[] = {
        {4 * MIB, 4 * MIB, 1 + 2},           {GIB - 4 * KIB, 8 * KIB, 2 + 2},
        {2 * MIB + 4 * KIB, 4 * KIB, 1 + 1}, {0, 2 * GIB + 4 * MIB + 4 * KIB, 2 + 2 * 512 + 2},
        {2 * GIB + 4 * MIB, 4 * KIB, 0},
    };
    for (unsigned i = 0; i < sizeof(ranges) / sizeof(*ranges); i++) {
        struct npt npt = mixed();
        uint64_t pages = npt.pages, taken = rig_pages_taken(), gpa = ranges[i].gpa, end = gpa + ranges[i].size;
        *leaf_of(&npt, 0) |= 0x20;
        *leaf_of(&npt, GIB) |= 0x60;
        assert_true(npt_split(&npt, gpaddr(gpa), ranges[i].size));
        assert_true(npt.pages - pages == ranges[i].tables && rig_pages_taken() - taken == ranges[i].tables);
        for (uint64_t at = 0; at < 2 * GIB + 4 * MIB; at += 512 * KIB) {
            struct leaf leaf = walk(&npt, at + 5);
            assert_int_equal(leaf.address, 4 * GIB + at + 5);
            assert_int_equal(leaf.entry & (RIG_C_BIT | 0x67), RIG_C_BIT | 7 |
                                                                  (at < GIB       ? 0x20
                                                                   : at < 2 * GIB ? 0x60
                                                                                  : 0));
            if (at >= (gpa & ~(2 * MIB - 1)) && at < ((end + 2 * MIB - 1) & ~(2 * MIB - 1)))
                assert_int_equal(leaf.size, 4 * KIB);
            else
                assert_true(leaf.size >= 2 * MIB);
        }
        for (uint64_t at = gpa; at < end && at < gpa + 4 * MIB; at += 4 * KIB)
            assert_true(walk(&npt, at).address == 4 * GIB + at && walk(&npt, at).size == 4 * KIB &&
                        (walk(&npt, at).entry & 0x80) == 0); /* there it is a bit of PAT's */
        assert_int_equal(walk(&npt, 2 * GIB + 4 * MIB).address, 6 * GIB + 4 * MIB);
        assert_int_equal(walk(&npt, 2 * GIB + 4 * MIB + 4 * KIB).address, ABSENT);
        assert_true(npt_split(&npt, gpaddr(gpa), ranges[i].size)); /* again: there is nothing to do */
        assert_int_equal(npt.pages - pages, ranges[i].tables);
        npt_destroy(&npt);
        assert_int_equal(rig_pages_taken(), taken - pages);
    }
}

static void a_split_without_enough_pages_leaves_no_trace(void **state)
{
    (void)state;
    struct npt npt = mixed();
    uint64_t taken = rig_pages_taken(), pages = npt.pages;
    rig_leave_pages(0);
    rig_leave_pages(UINT64_MAX); /* the free ones are zero */
    snapshot(before);
    for (uint64_t budget = 0; budget < 5; budget++) {
        rig_leave_pages(budget);
        assert_false(npt_split(&npt, gpaddr(GIB - 2 * MIB), 4 * MIB + 2 * MIB));
        assert_true(rig_pages_taken() == taken && npt.pages == pages && page_free_count() == budget);
        rig_leave_pages(UINT64_MAX);
        assert_memory_equal(before, after, snapshot(after));
    }
    rig_leave_pages(5);
    assert_true(npt_split(&npt, gpaddr(GIB - 2 * MIB), 4 * MIB + 2 * MIB));
    assert_int_equal(page_free_count(), 0);
    rig_leave_pages(UINT64_MAX);
    npt_destroy(&npt);
    assert_int_equal(rig_pages_taken(), taken - pages);
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_largest_pages_that_fit_are_used),
        TEST(the_c_bit_follows_the_view),
        TEST(a_map_without_enough_pages_leaves_no_trace),
        TEST(what_is_mapped_is_not_mapped_over),
        TEST(a_readonly_page_cannot_be_written_or_executed),
        TEST(hostile_ranges_are_refused),
        TEST(any_order_of_maps_is_what_a_flat_array_says),
        TEST(destroy_returns_every_page),
        TEST(a_new_page_is_neither_accessed_nor_written),
        TEST(what_others_write_is_marked_page_by_page),
        TEST(a_split_changes_the_size_of_pages_in_its_range_and_nothing_else),
        TEST(a_split_without_enough_pages_leaves_no_trace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
