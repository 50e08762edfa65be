/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv/mm/hostmap.c: what hv can reach, and with which rights, under which key, from which CPU. */
#include "rig.h"

#include "hv/mm/layout.h"
#include "hv/lib/pagetable.h"

#define MANY_CPUS 1024u
#define CPU_STACKS 4u           /* hv/cpu/cpu.c: #DF, NMI, #MC, and the one to run on */
static const uint64_t cpu_stack_pages[CPU_STACKS] = {2, 2, 2, 8};

static int tear_down(void **state)
{
    (void)state;
    rig_stop();
    return 0;
}

static bool expect_encrypted;
static uint64_t leaves, executable_pages;

static void check_leaf(uint64_t va, struct translation t)
{
    (void)va;
    assert_false(t.writable && t.executable);
    assert_int_equal(t.encrypted, expect_encrypted);
    assert_false(t.uncached);
    leaves++;
    executable_pages += t.executable;
}

static void check_roots(void)
{
    leaves = executable_pages = 0;
    rig_each(hostmap_cr3(), check_leaf);
    assert_true(leaves > RIG_IMAGE_END / PAGE_SIZE);
    assert_int_equal(executable_pages, (RIG_DATA - RIG_TEXT) / PAGE_SIZE);
    leaves = 0;
    rig_each(read_cr3(), check_leaf);
    assert_true(leaves > 0);
}

static void nothing_is_writable_and_executable_and_all_is_under_hvs_key(void **state)
{
    (void)state;
    for (unsigned sme = 0; sme < 2; sme++) {
        rig_start((struct rig_options){.no_sme = sme == 0, .cpus = 4});
        expect_encrypted = sme == 1;
        assert_non_null(hostmap_stack(3));
        assert_int_equal(view_c_bit(), sme == 1 ? RIG_C_BIT : 0);
        assert_int_equal(read_cr3() & RIG_C_BIT, view_c_bit());
        assert_int_equal(hostmap_cr3() & RIG_C_BIT, view_c_bit());
        check_roots();
    }
}

static void nothing_of_boot_stays_mapped(void **state)
{
    (void)state;
    rig_start((struct rig_options){.cpus = 2});
    for (unsigned root = 0; root < 2; root++) {
        uint64_t cr3 = root == 0 ? read_cr3() : hostmap_cr3();
        const uint64_t *entries = page_va(paddr(cr3 & ~RIG_C_BIT));
        assert_false(rig_walk(cr3, RIG_TRAMPOLINE).present);
        for (unsigned i = 0; i < 256; i++)
            assert_int_equal(entries[i], 0);
    }
}

static void each_part_of_the_image_has_its_own_rights(void **state)
{
    (void)state;
    rig_start((struct rig_options){0});
    for (uint64_t at = 0; at < RIG_IMAGE_END; at += PAGE_SIZE) {
        struct translation t = rig_walk(hostmap_cr3(), RIG_IMAGE_VA + at);
        assert_true(t.present);
        assert_int_equal(t.level, 1);
        assert_int_equal(t.address, RIG_ARENA + at);
        assert_int_equal(t.executable, at >= RIG_TEXT && at < RIG_DATA);
        assert_int_equal(t.writable, at >= RIG_DATA);
    }
    assert_false(rig_walk(hostmap_cr3(), RIG_IMAGE_VA + RIG_IMAGE_END).present);
    assert_false(rig_walk(hostmap_cr3(), RIG_IMAGE_VA - PAGE_SIZE).present);
}

static void the_arena_is_mapped_whole_and_no_memory_beside_it(void **state)
{
    (void)state;
    const uint64_t size = (UINT64_C(1) << 30) + (UINT64_C(6) << 20);
    rig_start((struct rig_options){.arena_size = size});
    for (uint64_t at = 0; at < size; at += SIZE_2M - PAGE_SIZE) {
        struct translation t = rig_walk(hostmap_cr3(), RIG_ARENA_VA + at);
        assert_true(t.present && t.writable && !t.executable && t.encrypted);
        assert_int_equal(t.address, RIG_ARENA + at);
    }
    assert_false(rig_walk(hostmap_cr3(), RIG_ARENA_VA + size).present);
    assert_ptr_equal(page_va(paddr(RIG_ARENA)), rig_arena_va);
    assert_int_equal(page_pa(page_va(paddr(RIG_ARENA + 0x5123))).raw, RIG_ARENA + 0x5123);
}

static uint64_t arena_first, arena_last;

static void check_area(uint64_t va, struct translation t)
{
    bool arena = va >= RIG_ARENA_VA && va < RIG_ARENA_VA + (UINT64_C(8) << 20);
    assert_true(arena || (va >= RIG_IMAGE_VA && va < RIG_IMAGE_VA + RIG_IMAGE_END) ||
                (va >= HOSTMAP_STACKS && va < HOSTMAP_STACKS_END));
    assert_true(t.address >= arena_first && t.address <= arena_last);
    if (arena)
        assert_int_equal(t.address - arena_first, va - RIG_ARENA_VA);
}

/* At any address that a processor may have: hv's own do not change, and nothing comes to lie upon another. */
static void where_the_arena_lies_changes_no_address_of_hvs(void **state)
{
    static const uint64_t bases[] = {
        SIZE_2M,
        (UINT64_C(512) << 30) - SIZE_2M,
        UINT64_C(512) << 30,
        UINT64_C(513) << 30,
        (UINT64_C(2054) << 28) - SIZE_2M,
        UINT64_C(3) << 40,
        UINT64_C(1) << 46,
        (UINT64_C(1) << 47) - SIZE_2M,
        UINT64_C(1) << 48,
        (UINT64_C(1) << 51) - (UINT64_C(8) << 20),
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(bases) / sizeof(*bases); i++) {
        rig_start((struct rig_options){.cpus = 4, .arena_base = bases[i]});
        arena_first = bases[i];
        arena_last = bases[i] + (UINT64_C(8) << 20) - PAGE_SIZE;
        assert_int_equal((uintptr_t)hostmap_stack(3), HOSTMAP_STACKS + 4 * PAGE_SIZE);
        assert_ptr_equal(page_va(paddr(bases[i] + 0x5000)), rig_arena_va + 0x5000);
        assert_int_equal(page_pa((void *)(rig_arena_va + 0x5123)).raw, bases[i] + 0x5123);
        rig_each(hostmap_cr3(), check_area);
        rig_each(read_cr3(), check_area);
        rig_stop();
    }
}

static void the_operators_uart_is_a_device_for_all_cpus(void **state)
{
    (void)state;
    rig_start((struct rig_options){.cpus = 2});
    assert_false(rig_walk(hostmap_cr3(), HV_UART_PAGE).present);
    rig_stop();
    rig_start((struct rig_options){.cpus = 2, .uart = 0xfedc9020});
    for (unsigned root = 0; root < 2; root++) {
        uint64_t cr3 = root == 0 ? read_cr3() : hostmap_cr3();
        struct translation t = rig_walk(cr3, HV_UART_PAGE);
        assert_true(t.present && t.writable && !t.executable && !t.encrypted && t.uncached);
        assert_int_equal(t.address, 0xfedc9000);
        assert_int_equal(t.level, 1);
        assert_false(rig_walk(cr3, HV_UART_PAGE + PAGE_SIZE).present);
        assert_false(rig_walk(cr3, HV_UART_PAGE - PAGE_SIZE).present);
    }
}

/* Of all CPUs that there can be; those that were started before see them, too. */
static void a_page_below_each_stack_is_not_there(void **state)
{
    (void)state;
    rig_start((struct rig_options){.cpus = MANY_CPUS, .arena_size = UINT64_C(96) << 20});
    uint64_t end = HOSTMAP_STACKS, boot_cr3 = read_cr3();
    for (uint32_t cpu = 0; cpu < MANY_CPUS; cpu++) {
        for (unsigned i = 0; i < CPU_STACKS; i++) {
            uint64_t size = cpu_stack_pages[i] * PAGE_SIZE, top = (uintptr_t)hostmap_stack(cpu_stack_pages[i]);
            assert_int_not_equal(top, 0);
            assert_true(top - size - PAGE_SIZE >= end);
            for (unsigned root = 0; root < 2; root++) {
                uint64_t cr3 = root == 0 ? boot_cr3 : hostmap_cr3();
                assert_false(rig_walk(cr3, top - size - PAGE_SIZE).present);
                assert_false(rig_walk(cr3, top).present);
                for (uint64_t at = top - size; at < top; at += PAGE_SIZE) {
                    struct translation t = rig_walk(cr3, at);
                    assert_true(t.present && t.writable && !t.executable && t.encrypted);
                }
            }
            end = top;
        }
    }
    assert_true(end <= HOSTMAP_STACKS_END);
}

static void no_room_or_no_pages_for_a_stack_is_said(void **state)
{
    (void)state;
    rig_start((struct rig_options){.cpus = 1});
    rig_drain_pool(2);
    assert_null(hostmap_stack(3));
    assert_int_equal(rig_pool_free(), 2);
    uint64_t first = (uintptr_t)hostmap_stack(2);
    assert_int_equal(first, HOSTMAP_STACKS + 3 * PAGE_SIZE);    /* where the refused one would have been */
    rig_refill_pool();
    uint64_t free = rig_pool_free(), top = 0, count = 0;
    for (void *next; (next = hostmap_stack(8)) != NULL; count++)
        top = (uintptr_t)next;
    assert_true(count >= 1 && top <= HOSTMAP_STACKS + SIZE_2M);
    assert_int_equal(rig_pool_free(), free - count * 8);
}

static void the_boot_cpus_root_differs_in_its_windows_alone(void **state)
{
    (void)state;
    rig_start((struct rig_options){.cpus = 2});
    const uint64_t *all = page_va(paddr(hostmap_cr3() & ~RIG_C_BIT)), *boot = page_va(paddr(read_cr3() & ~RIG_C_BIT));
    uint64_t windows = WINDOW_PAGES_BASE >> 39 & 511;
    assert_ptr_not_equal(all, boot);
    for (unsigned i = 256; i < 512; i++)
        assert_int_equal(all[i] == boot[i], i != windows);
    assert_true((all[windows] & PTE_P) != 0 && (boot[windows] & PTE_P) != 0);
}

static void another_root_gets_hvs_half_and_keeps_its_own(void **state)
{
    (void)state;
    static uint64_t root[512];
    rig_start((struct rig_options){.cpus = 2});
    const uint64_t *own = page_va(paddr(hostmap_cr3() & ~RIG_C_BIT));
    for (unsigned i = 0; i < 512; i++)
        root[i] = i;
    hostmap_share(root);
    for (unsigned i = 0; i < 256; i++)
        assert_int_equal(root[i], i);
    assert_memory_equal(root + 256, own + 256, 256 * sizeof(*root));
}

static void only_the_hosts_view_has_the_c_bit(void **state)
{
    (void)state;
    rig_start((struct rig_options){0});
    paddr_t page = paddr(0x123456000);
    assert_int_equal(view_entry_address(page, VIEW_ENCRYPTED), page.raw | RIG_C_BIT);
    assert_int_equal(view_entry_address(page, VIEW_PLAIN), page.raw);
    assert_int_equal(view_entry_address(page, VIEW_GUEST), page.raw);
    assert_int_equal(view_firmware_address(page, VIEW_ENCRYPTED), page.raw | RIG_C_BIT);
    assert_int_equal(view_firmware_address(page, VIEW_PLAIN), page.raw);
}

static void every_line_of_a_range_is_flushed_between_fences(void **state)
{
    (void)state;
    static uint8_t bytes[4 * 4096] __attribute__((aligned(4096)));
    static const struct {
        uint64_t first, size;
    } ranges[] = {{0, 4096}, {0, 1}, {63, 2}, {64, 64}, {64, 65}, {100, 5000}, {127, 1}, {4095, 1}};
    for (uint32_t line = 0; line <= 128; line += 64) {
        rig_line = line;                    /* 0: CPUID does not say */
        uint64_t unit = line == 0 ? 64 : line;
        for (unsigned r = 0; r < sizeof(ranges) / sizeof(*ranges); r++) {
            rig_fences = rig_flushes = 0;
            cache_flush(bytes + ranges[r].first, ranges[r].size);
            uint64_t first = ranges[r].first / unit, last = (ranges[r].first + ranges[r].size - 1) / unit;
            assert_int_equal(rig_flushes, last - first + 1);
            for (unsigned i = 0; i < rig_flushes; i++)
                assert_int_equal((rig_flushed[i] - (uintptr_t)bytes) / unit, first + i);
            assert_int_equal(rig_fences, 2);
        }
    }
    rig_line = 64;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_writable_and_executable_and_all_is_under_hvs_key),
        TEST(nothing_of_boot_stays_mapped),
        TEST(each_part_of_the_image_has_its_own_rights),
        TEST(the_arena_is_mapped_whole_and_no_memory_beside_it),
        TEST(where_the_arena_lies_changes_no_address_of_hvs),

        TEST(the_operators_uart_is_a_device_for_all_cpus),
        TEST(a_page_below_each_stack_is_not_there),
        TEST(no_room_or_no_pages_for_a_stack_is_said),
        TEST(the_boot_cpus_root_differs_in_its_windows_alone),
        TEST(another_root_gets_hvs_half_and_keeps_its_own),
        TEST(only_the_hosts_view_has_the_c_bit),
        TEST(every_line_of_a_range_is_flushed_between_fences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
