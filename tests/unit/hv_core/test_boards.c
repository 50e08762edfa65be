/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What boot/ makes of the memory maps and of the CPUs of real machines (tests/unit/boards), and hv of its ranges. */
#include "test.h"

#include "boot/boot.h"
#include "hv/lib/runs.h"
#include "../boards/boards.h"

#define PAGE UINT64_C(4096)
#define WB UINT64_C(8)
#define WIDEST 52u

struct handoff handoff;
static struct handoff_range *const storage = handoff.ranges;
static uint64_t withheld_bytes;
static struct runs runs;

/* ---- memory ---- */

/* A board's descriptors as the firmware hands them out: `order` 0 as they are, 1 from the last to the first, else shuffled. */
static void convert(const struct board *board, uint64_t stride, uint64_t order, uint64_t limit)
{
    uint32_t *index = malloc((board->map_count + 1) * sizeof(*index));
    uint8_t *map = calloc(board->map_count + 1, stride);
    for (uint32_t i = 0; i < board->map_count; i++)
        index[i] = order == 1 ? board->map_count - 1 - i : i;
    for (uint32_t i = 0; i < board->map_count && order > 1; i++) {
        uint32_t other = (uint32_t)(test_random(&order) % board->map_count), kept = index[i];
        index[i] = index[other];
        index[other] = kept;
    }
    for (uint32_t i = 0; i < board->map_count; i++) {
        const struct board_range *r = &board->map[index[i]];
        memset(map + i * stride, 0xee, stride);
        memcpy(map + i * stride, (uint64_t[]){r->type, r->base, 0, r->pages, r->attribute}, 40);
    }
    assert_true(ranges_from_uefi(map, board->map_count * stride, stride, limit, &withheld_bytes));
    free(map);
    free(index);
}

/* The rules again, for one page, without painting (UEFI 2.10, 7.2; Linux arch/x86/platform/efi). */
enum { NOTHING, USABLE, WITHHELD, RESERVED, OWNED };

static int page_rule(const struct board *board, uint64_t page, uint64_t limit, uint32_t *kinds)
{
    bool ram = false, other = false;
    *kinds = 0; /* a bit for each owner that it may be known by */
    for (uint32_t i = 0; i < board->map_count; i++) {
        const struct board_range *r = &board->map[i];
        if (page < r->base || (page - r->base) / PAGE >= r->pages)
            continue;
        bool runtime = r->attribute >> 63 != 0, wb = (r->attribute & WB) != 0;
        bool plain_ram = ((r->type >= 1 && r->type <= 4) || r->type == 7) && wb && !runtime &&
                         (r->attribute & (0x40000 | 0x8000)) == 0;
        ram |= plain_ram;
        other |= !plain_ram;
        if (plain_ram)
            continue;
        *kinds |= r->type == 5                     ? 1u << HANDOFF_RUNTIME_CODE
                  : r->type == 6                   ? 1u << HANDOFF_RUNTIME_DATA
                  : r->type == 9 || r->type == 10  ? 1u << HANDOFF_ACPI
                  : r->type == 11 || r->type == 12 ? 1u << HANDOFF_MMIO
                  : !runtime                       ? 0
                  : wb                             ? 1u << HANDOFF_RUNTIME_DATA
                                                   : 1u << HANDOFF_MMIO;
    }
    if (other)
        return page >= limit ? NOTHING : *kinds != 0 ? OWNED : RESERVED;
    if (!ram)
        return NOTHING;
    /* The last 12 GiB below 1 TiB are HyperTransport's. */
    return page >= limit || (page >= UINT64_C(1012) << 30 && page < UINT64_C(1) << 40) ? WITHHELD : USABLE;
}

static const struct handoff_range *range_at(uint64_t page)
{
    for (uint32_t i = 0; i < handoff.range_count; i++)
        if (page >= storage[i].base && (page - storage[i].base) / PAGE < storage[i].pages)
            return &storage[i];
    return NULL;
}

static int compare(const void *a, const void *b)
{
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Between two neighbouring borders all pages are alike: one speaks for all of them. */
static void each_page_is_what_its_descriptors_say(const struct board *board, uint64_t limit)
{
    uint32_t count = 0;
    uint64_t *borders = malloc((2 * board->map_count + 5) * sizeof(*borders)), withheld = 0;
    const uint64_t fixed[] = {0, UINT64_C(1012) << 30, UINT64_C(1) << 40, limit, UINT64_C(1) << 53};
    memcpy(borders, fixed, sizeof(fixed));
    count = 5;
    for (uint32_t i = 0; i < board->map_count; i++) {
        borders[count++] = board->map[i].base;
        borders[count++] = board->map[i].base + board->map[i].pages * PAGE;
    }
    qsort(borders, count, sizeof(*borders), compare);
    for (uint32_t i = 0; i + 1 < count; i++) {
        if (borders[i] == borders[i + 1])
            continue;
        uint32_t kinds;
        int rule = page_rule(board, borders[i], limit, &kinds);
        const uint64_t ends[] = {borders[i], borders[i + 1] - PAGE};
        for (unsigned e = 0; e < 2; e++) {
            const struct handoff_range *r = range_at(ends[e]);
            uint32_t kind = r == NULL ? 0 : r->kind;
            if (rule == NOTHING || (rule == WITHHELD && borders[i] >= limit))
                assert_int_equal(kind, 0);
            else if (rule == OWNED)
                assert_true((kinds >> kind & 1) != 0);
            else
                assert_int_equal(kind, rule == USABLE ? HANDOFF_USABLE : HANDOFF_RESERVED);
        }
        withheld += rule == WITHHELD ? borders[i + 1] - borders[i] : 0;
    }
    assert_int_equal(withheld_bytes, withheld);
    free(borders);
}

static void ranges_are_sorted_disjoint_and_merged(void)
{
    for (uint32_t i = 0; i < handoff.range_count; i++) {
        assert_true(storage[i].pages > 0 && storage[i].base % PAGE == 0 && storage[i].kind != 0);
        if (i == 0)
            continue;
        uint64_t end = storage[i - 1].base + storage[i - 1].pages * PAGE;
        assert_true(end <= storage[i].base);
        assert_true(end < storage[i].base || storage[i - 1].kind != storage[i].kind);
    }
}

/* In pages of 2 MiB, since memory for guests and for hv is mapped in those. */
static void assert_apart(uint64_t base, uint64_t size, uint64_t first, uint64_t last)
{
    assert_true(base % SIZE_2M == 0 && size % SIZE_2M == 0);
    assert_true(base + size <= (first & ~(SIZE_2M - 1)) || base > last);
}

static void assert_for_guests(const struct board *board, uint64_t base, uint64_t size, uint64_t limit)
{
    const struct handoff_range *r = range_at(base);
    assert_non_null(r);
    assert_int_equal(r->kind, HANDOFF_USABLE);
    assert_true(base + size <= r->base + r->pages * PAGE && base + size <= limit);
    assert_apart(base, size, UINT64_C(0xfd00000000), UINT64_C(0xffffffffff));
    for (uint32_t i = 0; i < board->rmp_count; i++)
        assert_apart(base, size, board->rmp[i].first, board->rmp[i].last);
}

static void what_guests_get_is_ram_and_nothing_of_it_is_lost_unsaid(const struct board *board, uint64_t limit)
{
    uint64_t usable = 0, crumbs = 0, total, base;
    static const uint64_t sizes[] = {SIZE_1G + SIZE_2M, 16 * SIZE_2M, SIZE_1G, SIZE_2M};
    runs.count = 0;
    for (uint32_t i = 0; i < handoff.range_count; i++) {
        if (storage[i].kind != HANDOFF_USABLE)
            continue;
        uint64_t first = storage[i].base, end = first + storage[i].pages * PAGE;
        uint64_t up = (first + SIZE_2M - 1) & ~(SIZE_2M - 1), down = end & ~(SIZE_2M - 1);
        usable += end - first;
        crumbs += up >= down ? end - first : (up - first) + (end - down);
        assert_true(runs_give(&runs, first, end - first));
    }
    total = runs_total(&runs);
    assert_int_equal(total + crumbs, usable);
    for (uint32_t i = 0; i < runs.count; i++)
        assert_for_guests(board, runs.run[i].base, runs.run[i].size, limit);
    for (unsigned i = 0; i < 4 * 64; i++) {
        uint64_t size = sizes[i % 4];
        if (!runs_take(&runs, size, &base))
            continue;
        assert_for_guests(board, base, size, limit);
        total -= size;
        assert_int_equal(runs_total(&runs), total);
    }
}

static void every_boards_memory_is_known_for_what_it_is(void **state)
{
    static const uint64_t strides[] = {40, 48, 56};
    static const uint32_t widths[] = {WIDEST, 46, 43};
    uint32_t maps = 0;
    (void)state;
    for (uint32_t b = 0; b < board_count; b++) {
        const struct board *board = &boards[b];
        maps += board->map_count > 0;
        for (uint64_t i = 0; board->map_count > 0 && i < 3 * 3 * 3; i++) {
            uint64_t limit = UINT64_C(1) << widths[i / 9];
            print_message(i == 0 ? "%s\n" : "", board->name);
            convert(board, strides[i % 3], i / 3 % 3, limit);
            ranges_are_sorted_disjoint_and_merged();
            each_page_is_what_its_descriptors_say(board, limit);
            what_guests_get_is_ram_and_nothing_of_it_is_lost_unsaid(board, limit);
        }
    }
    assert_true(maps >= 10);
}

/* Of these the sources tell that the firmware leaves RAM in the range usable: 12 GiB of it. */
static void the_hypertransport_range_is_nobodys(void **state)
{
    (void)state;
    const struct board *board = board_named("supermicro-2023us-tr4-7601x2-1tib");
    assert_non_null(board);
    convert(board, 48, 0, UINT64_C(1) << 43);
    assert_int_equal(withheld_bytes, UINT64_C(12) << 30);
    assert_int_equal(range_at(UINT64_C(0xfd00000000))->kind, HANDOFF_RESERVED);
    assert_int_equal(range_at(UINT64_C(0xfcfffff000))->kind, HANDOFF_USABLE);
    assert_int_equal(range_at(UINT64_C(0xfffffff000))->kind, HANDOFF_RESERVED);
    assert_int_equal(range_at(UINT64_C(0x10000000000))->kind, HANDOFF_USABLE);
}

/* ---- CPUs ---- */

/* How a firmware may write the ids down. ACPI 6.4, 5.2.12.12: from 255 on by x2APIC entries; boards differ about the others. */
enum form { BY_RULE, ALL_WIDE, BOTH, BOTH_WIDE_FIRST, ID_255_NARROW, FORMS };

static uint8_t *table;
static uint32_t size;

static void entry(bool wide, uint32_t id, uint32_t flags)
{
    const uint8_t narrow[8] = {0, 8, 7, (uint8_t)id, (uint8_t)flags};
    const uint32_t broad[4] = {9 | 16 << 8, id, flags, 7};
    memcpy(table + size, wide ? (const void *)broad : narrow, wide ? 16 : 8);
    size += wide ? 16 : 8;
}

static void write_madt(const struct board *board, enum form form)
{
    uint32_t limit = form == ID_255_NARROW ? 256 : 255, padding = board->disabled;
    size = MADT_ENTRIES;
    for (uint32_t pass = 0; pass < 2; pass++) {
        bool wide = (pass == 0) == (form == BOTH_WIDE_FIRST);
        for (uint32_t i = 0; i < board->cpus; i++) {
            uint32_t id = board->apic_ids[i];
            bool both = form == BOTH || form == BOTH_WIDE_FIRST;
            if (wide ? both || form == ALL_WIDE || id >= limit : form != ALL_WIDE && id < limit)
                entry(wide, id, 1);
        }
        /* What may come one day, and what never will: neither is a CPU. */
        for (uint32_t i = 0; i < padding || size + 24 < board->madt_length / 2 * (pass + 1); i++)
            entry(wide, i % 2 == 0 ? wide ? UINT32_MAX : 255 : 0x40 + i, i % 3 == 0 ? 2 : 0);
    }
}

static void every_cpu_counts_once_or_is_told(void **state)
{
    uint32_t with_cpus = 0;
    (void)state;
    for (uint32_t b = 0; b < board_count; b++) {
        const struct board *board = &boards[b];
        if (board->cpus == 0)
            continue;
        print_message("%s: %u CPUs\n", board->name, board->cpus);
        with_cpus++;
        for (enum form form = BY_RULE; form < FORMS; form++) {
            table = calloc(1, 1 << 20);
            write_madt(board, form);
            uint8_t *exact = malloc(size);
            memcpy(exact, table, size);
            free(table);
            for (uint32_t own = 0; own < board->cpus; own += 1 + board->cpus / 3) {
                handoff.cpu_count = handoff.cpus_left_out = 0;
                madt_add(board->apic_ids[own]);
                madt_read(exact, size);
                assert_int_equal(handoff.apic_ids[0], board->apic_ids[own]);
                assert_int_equal(handoff.cpu_count + handoff.cpus_left_out, board->cpus);
                assert_int_equal(handoff.cpu_count, board->cpus < HANDOFF_MAX_CPUS ? board->cpus : HANDOFF_MAX_CPUS);
                for (uint32_t i = 0; i < handoff.cpu_count; i++)
                    for (uint32_t j = i + 1; j < handoff.cpu_count; j++)
                        assert_true(handoff.apic_ids[i] != handoff.apic_ids[j]);
            }
            free(exact);
        }
    }
    assert_true(with_cpus >= 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_boards_memory_is_known_for_what_it_is),
        cmocka_unit_test(the_hypertransport_range_is_nobodys),
        cmocka_unit_test(every_cpu_counts_once_or_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
