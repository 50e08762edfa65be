/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The address space in which the firmware's runtime services run, and the end of the machine. */
#include "fake_cpu.h"

#include "../alone.h"

#include "../../../hv/firmware.h"
#include "../../../hv/hostmap.h"
#include "../../../hv/pagetable.h"

#define RUNTIME UINT64_C(0x7654321e8)   /* physical, of the table of runtime services */
#define HOST_CR3 UINT64_C(0x1234000)

static struct handoff handoff;
static bool faults;                     /* the firmware does, when it is called */
static _Alignas(4096) uint8_t services[2 * PAGE_SIZE];     /* the two pages that begin at RUNTIME's */

static void __attribute__((ms_abi)) reset_system(uint32_t type, uint64_t status, uint64_t size, void *data)
{
    assert_true(status == 0 && size == 0 && data == NULL);
    note("reset %u", type);
    if (faults)
        longjmp(*fake_out, 1);
}

void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    note("window %lx %lu %d", base.raw, size, view);
    return services;
}

void window_unmap(void *va, uint64_t size)
{
    assert_ptr_equal(va, services);
    note("unmap %lu", size);
}

void hostmap_share(uint64_t *root)
{
    assert_true((uint8_t *)root == page_va(paddr(POOL_BASE)));
    note("share");
}

bool smp_end_begin(void) { note("end begins"); return true; }
void console_break(void) { note("break"); }
void panic_others(void) { note("others"); }
void console_flush(void) { note("flush"); }
void console_print(const char *format, ...) { note("print %s", format); }

static int set_up(void **state)
{
    const uint64_t signature = UINT64_C(0x56524553544e5552), reset = (uintptr_t)reset_system;    /* "RUNTSERV" */
    fake_reset(state);
    fake_cr3 = HOST_CR3;
    memset(&handoff, 0, sizeof handoff);
    memset(services, 0, sizeof services);
    handoff.runtime_services = RUNTIME;
    memcpy(services + 0x1e8, &signature, 8);
    memcpy(services + 0x1e8 + 104, &reset, 8);
    return 0;
}

static void add(uint64_t base, uint64_t pages, uint32_t kind)
{
    handoff.ranges[handoff.range_count++] = (struct handoff_range){base, pages, kind, 0};
}

/* The last entry for an address, 0: none. Tables are encrypted, their addresses say so. */
static uint64_t walk(uint64_t va, uint64_t *size)
{
    uint64_t entry = POOL_BASE | FAKE_C_BIT;
    for (unsigned level = 4; level > 0; level--) {
        assert_int_equal(entry & PTE_ADDRESS & FAKE_C_BIT, FAKE_C_BIT);
        const uint64_t *table = page_va(paddr(entry & PTE_ADDRESS & ~FAKE_C_BIT));
        entry = table[va >> (3 + 9 * level) & 511];
        *size = level == 1 ? PAGE_SIZE : SIZE_2M;
        if ((entry & PTE_P) == 0)
            return 0;
        if (level == 2 && (entry & PTE_PS) != 0)
            break;
    }
    return entry & ~PTE_PS;
}

static void each_kind_of_range_is_one_to_one_with_its_rights(void **state)
{
    static const struct { uint32_t kind; bool mapped; uint64_t bits; } kinds[] = {
        {HANDOFF_RUNTIME_CODE, true, PTE_P | PTE_W}, {HANDOFF_RUNTIME_DATA, true, PTE_P | PTE_W | PTE_NX},
        {HANDOFF_ACPI, true, PTE_P | PTE_W | PTE_NX}, {HANDOFF_MMIO, true, PTE_P | PTE_W | PTE_NX | PTE_PCD | PTE_PWT},
        {HANDOFF_USABLE, false, 0}, {HANDOFF_ARENA, false, 0}, {HANDOFF_MANIFEST, false, 0}, {HANDOFF_RESERVED, false, 0},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++)
        add(0x100000 + i * 0x10000, 2, kinds[i].kind);
    firmware_init(&handoff);
    for (unsigned i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        uint64_t size, at = 0x100000 + i * 0x10000;
        assert_int_equal(walk(at, &size), kinds[i].mapped ? at | kinds[i].bits : 0);
        assert_int_equal(walk(at + 0x1000, &size), kinds[i].mapped ? (at + 0x1000) | kinds[i].bits : 0);
        assert_int_equal(walk(at + 0x2000, &size), 0);
        assert_int_equal(walk(at - 0x1000, &size), 0);
    }
    assert_non_null(strstr(did, "share\n"));
}

/* An address of 48 bits and more would come around to the lower half, or into hv's. */
static void what_lies_above_the_lower_half_is_not_mapped(void **state)
{
    const uint64_t end = UINT64_C(1) << 47;
    uint64_t size;
    (void)state;
    add(end - PAGE_SIZE, 1, HANDOFF_MMIO);
    add(end, 1, HANDOFF_MMIO);
    add(2 * end + 0x5000, 1, HANDOFF_RUNTIME_DATA);
    firmware_init(&handoff);
    assert_int_equal(walk(end - PAGE_SIZE, &size) & PTE_ADDRESS, end - PAGE_SIZE);
    assert_int_equal(walk(end, &size), 0);
    assert_int_equal(walk(0x5000, &size), 0);
}

static void the_pages_for_the_tables_are_enough_at_worst_and_the_rest_goes_back(void **state)
{
    uint64_t size;
    (void)state;
    /* Each at the borders of 1 GiB and 512 GiB pieces, nothing shared with another. */
    const uint64_t base = (UINT64_C(1) << 39) - PAGE_SIZE;
    add(base, 2 + 3 * (SIZE_1G / PAGE_SIZE), HANDOFF_MMIO);
    add(UINT64_C(5) << 39, 1, HANDOFF_RUNTIME_CODE);
    add(UINT64_C(7) << 39, UINT64_C(1) << 40, HANDOFF_USABLE);
    firmware_init(&handoff);
    assert_ptr_equal(strstr(did, "page_alloc 16\n"), did);      /* the root, 6 and 6, one per GiB */
    assert_int_equal(walk(base, &size) & PTE_ADDRESS, base);
    assert_int_equal(size, PAGE_SIZE);
    assert_int_equal(walk(base + PAGE_SIZE, &size) & PTE_ADDRESS, base + PAGE_SIZE);
    assert_int_equal(size, SIZE_2M);
    assert_int_equal(walk(base + 3 * SIZE_1G + PAGE_SIZE, &size) & PTE_ADDRESS, base + 3 * SIZE_1G + PAGE_SIZE);
    /* PML4; 3 + 5 for the first: 2 tables of level 3, 5 of level 2, 2 of level 1; 3 for the second. */
    char expected[64];
    unsigned used = 1 + (2 + 5 + 2) + 3;
    snprintf(expected, sizeof expected, "page_free %lx %u\n", POOL_BASE + used * PAGE_SIZE, 16 - used);
    assert_non_null(strstr(did, expected));
}

static void nothing_to_map_takes_one_page_and_gives_none_back(void **state)
{
    (void)state;
    firmware_init(&handoff);
    assert_string_equal(did, "page_alloc 1\nshare\nwindow 765432000 8192 0\nunmap 8192\n");
}

static void too_few_pages_are_our_own_bug(void **state)
{
    (void)state;
    fake_pages_left = 0;
    assert_true(ENDS(firmware_init(&handoff)));
    assert_non_null(strstr(did, "panic"));
}

static __attribute__((noinline)) bool end(void (*how)(void))
{
    return ENDS(how());
}

static const char halted[] = "print sevisor: the firmware does not end the machine; halted, switch it off\n\nflush\nhlt\n";

static void ends_by(void (*how)(void), unsigned type)
{
    char expected[512];
    add(0x100000, 1, HANDOFF_RUNTIME_CODE);
    firmware_init(&handoff);
    did[0] = '\0';
    assert_true(end(how));
    /* UEFI 2.9, 8.5.1: EfiResetCold 0, EfiResetShutdown 2 */
    snprintf(expected, sizeof expected, "end begins\nbreak\nothers\nflush\ncr3 %lx\nreset %u\ncr3 %lx\n%s",
             POOL_BASE | FAKE_C_BIT, type, HOST_CR3, halted);
    assert_string_equal(did, expected);
}

static void power_off_is_the_firmwares(void **state)
{
    (void)state;
    ends_by(machine_power_off, 2);
}

static void reset_is_a_cold_one(void **state)
{
    (void)state;
    ends_by(machine_reset, 0);
}

static void a_firmware_that_faults_is_not_asked_again(void **state)
{
    char expected[512];
    (void)state;
    faults = true;
    firmware_init(&handoff);
    assert_true(end(machine_power_off));        /* the fault's panic ends the machine again: */
    did[0] = '\0';
    assert_true(end(machine_power_off));
    snprintf(expected, sizeof expected, "end begins\nbreak\nothers\nflush\ncr3 %lx\n%s", HOST_CR3, halted);
    assert_string_equal(did, expected);
}

static void without_runtime_services_it_halts(void **state)
{
    char expected[512];
    (void)state;
    services[0x1e8]++;          /* the signature */
    firmware_init(&handoff);
    assert_non_null(strstr(did, "firmware: no runtime services at 7654321e8; power-off will be a halt\n"));
    did[0] = '\0';
    assert_true(end(machine_power_off));
    snprintf(expected, sizeof expected, "end begins\nbreak\nothers\nflush\n%s", halted);
    assert_string_equal(did, expected);
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_kind_of_range_is_one_to_one_with_its_rights),
        T(what_lies_above_the_lower_half_is_not_mapped),
        T(the_pages_for_the_tables_are_enough_at_worst_and_the_rest_goes_back),
        T(nothing_to_map_takes_one_page_and_gives_none_back), T(too_few_pages_are_our_own_bug),
        T(power_off_is_the_firmwares), T(reset_is_a_cold_one), T(a_firmware_that_faults_is_not_asked_again),
        T(without_runtime_services_it_halts),
    };
    return run_each_alone(tests, sizeof tests / sizeof *tests);
}
