/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A change counts the table pages that it will need, and begins if the pool has them: it succeeds whole or leaves no trace, unless
 * other CPUs take those pages meanwhile.
 */
#include "hv/svm/npt.h"

#include "hv/cpu/cpu.h"
#include "hv/lib/pagetable.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"

/* pagetable.h has the other bits. */
#define NPT_U (UINT64_C(1) << 2)        /* APM2 15.25.5: nested walks are user accesses */
#define NPT_TABLE (PTE_P | PTE_W | NPT_U | NPT_A)
#define NPT_LEAF (PTE_P | PTE_W | NPT_U)
#define NPT_LEAF_READONLY (PTE_P | NPT_U | NPT_A | PTE_NX)

#define ENTRIES 512u
#define LEVELS 4u
#define GPA_LIMIT (UINT64_C(1) << 48)

/* Level 1 maps 4 KiB, 2: 2 MiB, 3: 1 GiB. */
static uint64_t level_size(unsigned level)
{
    return UINT64_C(1) << (PAGE_SHIFT + 9 * (level - 1));
}

static unsigned level_index(uint64_t gpa, unsigned level)
{
    return (unsigned)(gpa / level_size(level) % ENTRIES);
}

static bool is_leaf(uint64_t entry, unsigned level)
{
    return level == 1 || (entry & PTE_PS) != 0;
}

static paddr_t entry_address(uint64_t entry)
{
    return paddr(entry & PTE_ADDRESS & ~view_c_bit());
}

static uint64_t table_entry(paddr_t table)
{
    return view_entry_address(table, VIEW_ENCRYPTED) | NPT_TABLE;
}

/* Where the walk for `gpa` ends, going down no further than `level`. */
struct walk {
    uint64_t *path[LEVELS + 1];     /* by level: the entry passed there */
    unsigned level;                 /* of the last one */
};

static struct walk npt_walk(const struct npt *npt, uint64_t gpa, unsigned level)
{
    struct walk walk = {.level = LEVELS};
    uint64_t *table = page_va(npt->root);
    for (;;) {
        uint64_t *entry = &table[level_index(gpa, walk.level)];
        walk.path[walk.level] = entry;
        if (walk.level == level || (*entry & PTE_P) == 0 || is_leaf(*entry, walk.level))
            return walk;
        table = page_va(entry_address(*entry));
        walk.level--;
    }
}

static bool take_table(struct npt *npt, paddr_t *table)
{
    if (!page_alloc(1, table))
        return false;
    npt->pages++;
    return true;
}

bool npt_create(struct npt *npt)
{
    *npt = (struct npt){0};
    return take_table(npt, &npt->root);
}

static bool range_valid(uint64_t gpa, uint64_t size)
{
    uint64_t end;
    return size > 0 && (gpa | size) % PAGE_SIZE == 0 && !__builtin_add_overflow(gpa, size, &end) && end <= GPA_LIMIT;
}

/* The largest page that fits. */
static unsigned leaf_level(uint64_t gpa, uint64_t base, uint64_t size)
{
    unsigned level = this_cpu()->features.one_gib_pages ? 3 : 2;
    while (level > 1 && ((gpa | base) % level_size(level) != 0 || size < level_size(level)))
        level--;
    return level;
}

/* Counts the tables that are missing for the range; false: something is mapped there. */
static bool map_count(const struct npt *npt, uint64_t gpa, uint64_t base, uint64_t size, uint64_t *count)
{
    uint64_t counted[LEVELS + 1] = {0};     /* by level: end of the last table counted */
    uint64_t end = gpa + size;
    *count = 0;
    while (gpa < end) {
        unsigned leaf = leaf_level(gpa, base, end - gpa);
        struct walk walk = npt_walk(npt, gpa, leaf);
        if ((*walk.path[walk.level] & PTE_P) != 0)
            return false;
        for (unsigned level = walk.level; level > leaf; level--) {
            if (gpa >= counted[level - 1]) {
                (*count)++;
                counted[level - 1] = (gpa / level_size(level) + 1) * level_size(level);
            }
        }
        base += level_size(leaf);
        gpa += level_size(leaf);
    }
    return true;
}

static bool map(struct npt *npt, gpaddr_t gpa, paddr_t base, uint64_t size, enum memory_view view, uint64_t bits)
{
    uint64_t count, last;
    paddr_t table;
    if (!range_valid(gpa.raw, size) || base.raw % PAGE_SIZE != 0 || __builtin_add_overflow(base.raw, size - 1, &last) ||
        (last & ~(PTE_ADDRESS | (PAGE_SIZE - 1))) != 0)
        return false;
    if (!map_count(npt, gpa.raw, base.raw, size, &count) || count > page_free_count())
        return false;

    for (uint64_t done = 0; done < size;) {
        unsigned leaf = leaf_level(gpa.raw + done, base.raw + done, size - done);
        struct walk walk = npt_walk(npt, gpa.raw + done, leaf);
        while (walk.level > leaf) {
            if (!take_table(npt, &table))
                return false;
            *walk.path[walk.level] = table_entry(table);
            walk = npt_walk(npt, gpa.raw + done, leaf);
        }
        *walk.path[leaf] = view_entry_address(paddr_add(base, done), view) | bits | (leaf > 1 ? PTE_PS : 0);
        done += level_size(leaf);
    }
    return true;
}

bool npt_map(struct npt *npt, gpaddr_t gpa, paddr_t base, uint64_t size, enum memory_view view)
{
    return map(npt, gpa, base, size, view, NPT_LEAF);
}

bool npt_map_readonly(struct npt *npt, gpaddr_t gpa, paddr_t page)
{
    return map(npt, gpa, page, PAGE_SIZE, VIEW_PLAIN, NPT_LEAF_READONLY);
}

/* ---- A and D ---- */

/* The processor may set A or D in the leaf meanwhile. */
static void split_leaf(uint64_t *entry, unsigned level, paddr_t page)
{
    uint64_t *table = page_va(page), old = __atomic_load_n(entry, __ATOMIC_RELAXED);
    do {
        uint64_t first = level == 2 ? old & ~PTE_PS : old;
        for (unsigned i = 0; i < ENTRIES; i++)
            table[i] = first + i * level_size(level - 1);
    } while (!__atomic_compare_exchange_n(entry, &old, table_entry(page), false, __ATOMIC_SEQ_CST, __ATOMIC_RELAXED));
}

static bool is_large(const struct walk *walk)
{
    return walk->level > 1 && (*walk->path[walk->level] & PTE_P) != 0;
}

bool npt_split(struct npt *npt, gpaddr_t gpa, uint64_t size)
{
    paddr_t page;
    uint64_t first = gpa.raw & ~(SIZE_2M - 1), end = gpa.raw + size, count = 0;
    for (uint64_t at = first; at < end; at += SIZE_2M) {
        struct walk walk = npt_walk(npt, at, 1);
        count += is_large(&walk) ? 1 : 0;
        count += is_large(&walk) && walk.level == 3 && (at == first || at % SIZE_1G == 0) ? 1 : 0;
    }
    if (count > page_free_count())
        return false;
    for (uint64_t at = first; at < end; at += SIZE_2M)
        for (struct walk walk = npt_walk(npt, at, 1); is_large(&walk); walk = npt_walk(npt, at, 1)) {
            if (!take_table(npt, &page))
                return false;
            split_leaf(walk.path[walk.level], walk.level, page);
        }
    return true;
}

uint64_t npt_usage(const struct npt *npt, gpaddr_t gpa, bool clear)
{
    struct walk walk = npt_walk(npt, gpa.raw, 1);
    uint64_t *entry = walk.path[walk.level];
    uint64_t was =
        clear ? __atomic_fetch_and(entry, ~NPT_D, __ATOMIC_SEQ_CST) : __atomic_load_n(entry, __ATOMIC_RELAXED);
    return was & (NPT_A | NPT_D);
}

void npt_mark(const struct npt *npt, gpaddr_t gpa, uint64_t size)
{
    for (uint64_t at = gpa.raw & ~(PAGE_SIZE - 1); at < gpa.raw + size; at += PAGE_SIZE) {
        struct walk walk;
        uint64_t was;
        do {
            walk = npt_walk(npt, at, 1);
            if ((*walk.path[walk.level] & PTE_P) == 0)
                return;
            was = __atomic_fetch_or(walk.path[walk.level], NPT_A | NPT_D, __ATOMIC_SEQ_CST);
        } while (!is_leaf(was, walk.level)); /* it has been split: a table ignores D */
    }
}

bool npt_lookup(const struct npt *npt, gpaddr_t gpa, paddr_t *out)
{
    if (gpa.raw >= GPA_LIMIT)
        return false;
    struct walk walk = npt_walk(npt, gpa.raw, 1);
    uint64_t entry = *walk.path[walk.level];
    if ((entry & PTE_P) == 0)
        return false;
    *out = paddr_add(entry_address(entry), gpa.raw % level_size(walk.level));
    return true;
}

void npt_destroy(struct npt *npt)
{
    /* Depth first without recursion: each table's place in its parent is where the walk goes on. */
    uint64_t *table[LEVELS + 1];
    unsigned next[LEVELS + 1], level = LEVELS;
    paddr_t page[LEVELS + 1];
    if (npt->pages == 0)
        return;
    page[LEVELS] = npt->root;
    table[LEVELS] = page_va(npt->root);
    next[LEVELS] = 0;
    for (;;) {
        if (next[level] == ENTRIES) {
            page_free(page[level], 1);
            if (level == LEVELS)
                break;
            level++;
            continue;
        }
        uint64_t entry = table[level][next[level]++];
        if ((entry & PTE_P) == 0 || is_leaf(entry, level))
            continue;
        level--;
        page[level] = entry_address(entry);
        table[level] = page_va(page[level]);
        next[level] = 0;
    }
    *npt = (struct npt){0};
}
