/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The way into hv: memory, page tables, the hand-over; and back to the firmware, if it does not let go. */
#include "machine.h"

#include "hv/lib/pagetable.h"

#define C_BIT (UINT64_C(1) << 51)
#define STACK (32u << 10)

struct mapping {
    uint64_t address, bits;     /* of the last entry, its address apart */
    uint64_t size;              /* 0: not mapped */
};

/* As the CPU walks: tables are at their physical address here, whose C-bit must be `c_bit`. */
static struct mapping walk(uint64_t cr3, uint64_t c_bit, uint64_t va)
{
    for (unsigned level = 4;; level--) {
        assert_int_equal(cr3 & C_BIT, c_bit);
        const uint64_t *table = (const uint64_t *)(uintptr_t)(cr3 & PTE_ADDRESS & ~C_BIT);
        uint64_t entry = table[va >> (3 + 9 * level) & 511];
        if ((entry & PTE_P) == 0)
            return (struct mapping){0, 0, 0};
        if (level == 1 || (level == 2 && (entry & PTE_PS) != 0))
            return (struct mapping){entry & PTE_ADDRESS, entry & ~PTE_ADDRESS & ~PTE_PS,
                                    level == 1 ? PAGE_SIZE : SIZE_2M};
        assert_int_equal(entry & ~PTE_ADDRESS, PTE_W | PTE_P);
        cr3 = entry;
    }
}

/* How many pages of 4 KiB and of 2 MiB a tree has. */
static void count_pages(uint64_t table, unsigned level, unsigned *small, unsigned *large)
{
    const uint64_t *entries = (const uint64_t *)(uintptr_t)(table & PTE_ADDRESS & ~C_BIT);
    for (unsigned i = 0; i < 512; i++) {
        if ((entries[i] & PTE_P) == 0)
            continue;
        if (level == 1)
            ++*small;
        else if ((entries[i] & PTE_PS) != 0)
            ++*large;
        else
            count_pages(entries[i], level - 1, small, large);
    }
}

static void assert_maps(uint64_t cr3, uint64_t c_bit, uint64_t va, uint64_t address, uint64_t bits, uint64_t size)
{
    struct mapping m = walk(cr3, c_bit, va);
    assert_int_equal(m.size, size);
    assert_int_equal(m.address, address & ~(size - 1));
    assert_int_equal(m.bits, bits | PTE_P);
}

/* What happens to the manifest right before and right after it is checked for the first and for the second time. */
static void (*change)(void);
static enum when { BEFORE_SECOND, AFTER_FIRST, AFTER_SECOND } when;

enum manifest_error __real_manifest_check(const void *manifest, uint64_t size, struct manifest_where *where);
enum manifest_error __wrap_manifest_check(const void *manifest, uint64_t size, struct manifest_where *where);

enum manifest_error __wrap_manifest_check(const void *manifest, uint64_t size, struct manifest_where *where)
{
    static unsigned checks;
    checks++;
    assert_int_equal(machine.boot_services_over, checks == 2);
    if (change != NULL && when == BEFORE_SECOND && checks == 2)
        change();
    enum manifest_error error = __real_manifest_check(manifest, size, where);
    if (change != NULL && when == (checks == 1 ? AFTER_FIRST : AFTER_SECOND))
        change();
    return error;
}

static const struct handoff *enter(void)
{
    machine.junk = true;
    assert_int_equal(machine_boot(), ENTERED);
    return (const struct handoff *)machine.handoff;
}

static void hv_gets_its_image_and_what_boot_found_out(void **state)
{
    (void)state;
    uint64_t first_tsc = machine.tsc;
    static uint8_t file[(HV_RODATA + HV_TEXT + HV_DATA) * 4096];
    memcpy(file, machine_hv(), sizeof(file));
    const struct handoff *h = enter();
    assert_int_equal(h->magic, HANDOFF_MAGIC);
    assert_int_equal(h->version, HANDOFF_VERSION);
    assert_int_equal(h->size, sizeof(*h));
    assert_memory_equal(h, &handoff, sizeof(*h));

    const uint8_t *image = (const uint8_t *)(uintptr_t)h->arena_base;
    assert_memory_equal(image, file, sizeof(file));
    for (unsigned i = sizeof(file); i < HV_PAGES * 4096; i++)
        assert_int_equal(image[i], 0);
    for (unsigned i = 0; i < sizeof(file); i++)      /* no plain copy stays behind */
        assert_int_equal(((const uint8_t *)machine_hv())[i], 0);
    assert_int_equal(machine.entry, HV_IMAGE_BASE + HV_RODATA * 4096 + 0x123);

    assert_int_equal(h->manifest_base, IMAGE_BASE + MANIFEST_OFFSET);
    assert_int_equal(h->manifest_size, sizeof(struct good));
    assert_in_range(h->manifest_table, h->arena_base + HV_PAGES * 4096, h->arena_base + h->arena_used - PAGE_SIZE);
    assert_int_equal(h->manifest_table % PAGE_SIZE, 0);
    assert_memory_equal((const void *)(HV_ARENA_BASE + h->manifest_table - h->arena_base), machine_manifest(),
                        machine_manifest()->header.payload_offset);
    assert_int_equal(h->c_bit_mask, C_BIT);
    assert_int_equal(h->phys_bits, 48 - 5);
    assert_int_equal(h->min_sev_asid, 6);
    assert_int_equal(h->max_sev_asid, 15);
    assert_in_range(h->tsc_hz, HZ - HZ / 10000, HZ + HZ / 10000);
    assert_int_equal(h->wall_seconds, 1795955696);
    assert_in_range(h->wall_tsc, first_tsc, machine.tsc);
    assert_int_equal(h->reset_system, (uintptr_t)runtime.ResetSystem);
    assert_int_equal(h->set_variable, (uintptr_t)runtime.SetVariable);
    assert_int_equal(h->boot_next, HANDOFF_NO_OPTION);
    assert_int_equal(h->uart.base, 0x3f8);
    assert_int_equal(h->sev_usable, 1);
    assert_string_equal(h->sev_refusal, "");
    assert_int_equal(h->cpu_count, 1);
    assert_int_equal(machine.watchdog, 0);
}

/* ---- the manifest is checked where nobody else runs, and what hv gets is what was checked ---- */

static void one_guest_less(void)
{
    machine_manifest()->header.guest_count--;
}

static void a_longer_manifest(void)
{
    machine_manifest()->header.total_size++;
}

static void a_longer_table(void)
{
    machine_manifest()->header.payload_offset += PAGE_SIZE;
}

static void another_step(void)
{
    machine_manifest()->steps[GOOD_STEPS - 1].gpa = 0;
}

static void another_owner(void)
{
    machine_manifest()->guests[0].sev_policy ^= 8;
}

/* Sound, too. */
static void another_sound_manifest(void)
{
    another_owner();
    good_seal(machine_manifest());
}

static void other_payload(void)
{
    ((uint8_t *)machine_manifest())[sizeof(struct good) - 1] ^= 1;
}

/* clang-format off */
#define CHANGES(X)                           \
    X(BEFORE_SECOND, another_sound_manifest) \
    X(BEFORE_SECOND, another_owner)          \
    X(BEFORE_SECOND, other_payload)          \
    X(AFTER_FIRST, one_guest_less)           \
    X(AFTER_FIRST, a_longer_table)           \
    X(AFTER_FIRST, other_payload)            \
    X(AFTER_SECOND, one_guest_less)          \
    X(AFTER_SECOND, a_longer_manifest)       \
    X(AFTER_SECOND, a_longer_table)          \
    X(AFTER_SECOND, another_step)            \
    X(AFTER_SECOND, another_owner)           \
    X(AFTER_SECOND, another_sound_manifest)
/* clang-format on */
#define X(at, what)                                    \
    static void changed_##at##_by_##what(void **state) \
    {                                                  \
        (void)state;                                   \
        change = what;                                 \
        when = at;                                     \
        assert_int_equal(enter()->manifest_table, 0);  \
    }
CHANGES(X)
#undef X

static void the_arena_holds_all_of_it_apart_and_the_rest_is_the_pool(void **state)
{
    (void)state;
    const struct handoff *h = enter();
    assert_int_equal(h->arena_base % SIZE_2M, 0);
    assert_int_equal(h->arena_size % SIZE_2M, 0);
    assert_in_range(machine.pages[0].base, 0, h->arena_base);
    assert_true(h->arena_base + h->arena_size <= machine.pages[0].base + machine.pages[0].pages * PAGE_SIZE);
    assert_int_equal(machine.highest_asked, UINT64_C(0xfd00000000) - 1);

    /* Image, tables, the manifest's table, stack, hand-over, in this order. */
    uint64_t tables = h->arena_base + HV_PAGES * 4096, stack = machine.stack - HV_ARENA_BASE + h->arena_base;
    assert_int_equal(machine.final_cr3, tables | C_BIT);
    assert_int_equal(h->manifest_table, tables + 32 * PAGE_SIZE);
    assert_int_equal(stack - STACK, h->manifest_table + machine_manifest()->header.payload_offset);
    assert_int_equal((uintptr_t)h, machine.stack);
    assert_int_equal(h->arena_used, stack + ((sizeof(*h) + 4095) & ~UINT64_C(4095)) - h->arena_base);
    assert_true(h->arena_size - h->arena_used >= 16 * MIB + (96 << 10));
}

static void what_hv_may_do_where_is_in_its_tables_and_nothing_else(void **state)
{
    (void)state;
    const struct handoff *h = enter();
    uint64_t cr3 = machine.final_cr3, page = (uintptr_t)&trampoline & ~(PAGE_SIZE - 1);
    unsigned small = 0, large = 0;
    for (uint64_t i = 0; i < HV_PAGES; i++) {
        uint64_t bits = i < HV_RODATA ? PTE_NX : i < HV_RODATA + HV_TEXT ? 0 : PTE_W | PTE_NX;
        assert_maps(cr3, C_BIT, HV_IMAGE_BASE + i * PAGE_SIZE, (h->arena_base + i * PAGE_SIZE) | C_BIT, bits,
                    PAGE_SIZE);
    }
    for (uint64_t at = h->arena_base; at < h->arena_base + h->arena_size; at += SIZE_2M)
        assert_maps(cr3, C_BIT, HV_ARENA_BASE + at - h->arena_base, at | C_BIT, PTE_W | PTE_NX, SIZE_2M);
    assert_maps(cr3, C_BIT, page, page, 0, PAGE_SIZE);
    count_pages(cr3, 4, &small, &large);
    assert_int_equal(large, h->arena_size / SIZE_2M);
    assert_int_equal(small, HV_PAGES + ((uintptr_t)trampoline_end - page + PAGE_SIZE - 1) / PAGE_SIZE);
}

static void a_uart_in_memory_is_mapped_as_a_device(void **state)
{
    (void)state;
    acpi_build(2, true, true);
    machine_madt(1, (const uint8_t[]){0});
    uint8_t *spcr = acpi_add("SPCR", 80);
    const uint64_t address = UART_BASE;
    memcpy(spcr + 44, &address, 8);
    acpi_seal(spcr);
    const struct handoff *h = enter();
    assert_int_equal(h->uart.base, UART_BASE);
    assert_true(h->uart.in_memory);
    assert_maps(machine.final_cr3, C_BIT, HV_UART_PAGE, UART_BASE, PTE_W | PTE_NX | PTE_PCD | PTE_PWT, PAGE_SIZE);
}

static void nothing_of_hv_is_written_before_its_memory_is_encrypted(void **state)
{
    (void)state;
    const struct handoff *h = enter();
    static const enum event order[] = {EV_OTHERS_WBINVD, EV_CLI, EV_SYSCFG, EV_CR4, EV_EFER, EV_WBINVD, EV_CR3};
    assert_int_equal(machine.event_count, sizeof(order) / sizeof(*order));
    assert_memory_equal(machine.events, order, sizeof(order));
    assert_false(machine.arena_touched_before_cr3);
    assert_int_equal(machine.cr4, CR4_PAE);
    assert_int_equal(machine.efer, EFER_LME | EFER_LMA | EFER_NXE);

    /* The bridge: what the firmware maps, where it maps it, and the arena with the C-bit. */
    assert_maps(machine.cr3, 0, PSP_BAR, PSP_BAR, PTE_W, PAGE_SIZE);
    for (uint64_t at = h->arena_base; at < h->arena_base + h->arena_size; at += SIZE_2M)
        assert_maps(machine.cr3, 0, HV_ARENA_BASE + at - h->arena_base, at | C_BIT, PTE_W | PTE_NX, SIZE_2M);
}

/* What the firmware changes until the end counts, but for what it has where hv's arena will be. Its tables stay as they are. */
static void the_bridge_has_the_firmwares_tables_as_they_are_in_the_end(void **state)
{
    const unsigned arena = HV_ARENA_BASE >> 39 & 511;
    uint64_t before[512], *firmware = (uint64_t *)(uintptr_t)machine.firmware_cr3;
    (void)state;
    machine.maps_in_the_end = UINT64_C(255) << 39;
    firmware[511] = UINT64_C(0x123456789000) | PTE_P;
    firmware[arena] = UINT64_C(0x123456788000) | PTE_P;
    machine.firmware_cr3 |= 0x18; /* PWT, PCD */
    const struct handoff *h = enter();
    assert_maps(machine.cr3, 0, machine.maps_in_the_end, machine.maps_in_the_end, PTE_W, SIZE_2M);
    assert_maps(machine.cr3, 0, HV_ARENA_BASE, h->arena_base | C_BIT, PTE_W | PTE_NX, SIZE_2M);
    assert_int_equal(firmware[arena], UINT64_C(0x123456788000) | PTE_P);
    memcpy(before, firmware, sizeof(before));
    before[arena] = ((const uint64_t *)(uintptr_t)machine.cr3)[arena];
    assert_memory_equal((const void *)(uintptr_t)machine.cr3, before, sizeof(before));
}

static unsigned others_flushed(void)
{
    unsigned count = 0;
    assert_int_equal(machine_boot(), ENTERED);
    for (unsigned i = 0; i < machine.event_count; i++)
        count += machine.events[i] == EV_OTHERS_WBINVD;
    return count;
}

/* By the firmware, as long as it is there: where caches tell keys apart, and there is more than one CPU that it can start. */
static void other_cpus_flush_their_caches_where_they_are_not_coherent(void **state)
{
    (void)state;
    machine.exit_boot_refusals = 3;
    assert_int_equal(others_flushed(), 1);
}

static void coherent_caches_are_not_flushed(void **state)
{
    (void)state;
    machine_leaf(0x8000001f)->regs.eax |= 1 << 10;
    assert_int_equal(others_flushed(), 0);
}

static void a_firmware_without_mp_services_starts_hv_all_the_same(void **state)
{
    (void)state;
    machine.no_mp_services = true;
    assert_int_equal(others_flushed(), 0);
}

/* UEFI PI 1.7, volume 2, 13.4.3: "not started" is a machine with one CPU. */
static void a_flush_that_fails_is_told_and_hv_starts_all_the_same(void **state)
{
    static const struct {
        EFI_STATUS status;
        const char *words;
    } cases[] = {
        {EFI_TIMEOUT, "Sevisor: WBINVD on the other CPUs failed (MP services: status 0x8000000000000012): "},
        {EFI_NOT_READY, "Sevisor: WBINVD on the other CPUs failed (MP services: status 0x8000000000000006): "},
        {EFI_NOT_STARTED, NULL},
        {EFI_SUCCESS, NULL},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        machine_attach();
        handoff.c_bit_mask = C_BIT;
        machine.mp_status = cases[i].status;
        machine.console[0] = '\0';
        cpus_wbinvd();
        if (cases[i].words != NULL)
            assert_ptr_equal(strstr(machine.console, cases[i].words), machine.console);
        else
            assert_string_equal(machine.console, "");
    }
}

/* What the firmware calls RAM is none in the HyperTransport range. */
static void the_arena_lies_below_hypertransport_and_within_the_width(void **state)
{
    static const struct {
        uint32_t width;
        uint64_t limit;
    } cases[] = {
        {36, UINT64_C(1) << 36},
        {39, UINT64_C(1) << 39},
        {40, UINT64_C(0xfd00000000)},
        {52, UINT64_C(0xfd00000000)},
    };
    (void)state;
    machine_attach();
    boot.hv_header.total_size = HV_PAGES * 4096;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        handoff.phys_bits = cases[i].width;
        assert_true(load_allocate());
        assert_int_equal(machine.highest_asked, cases[i].limit - 1);
        memory_free();
    }
}

static void without_sme_there_is_no_c_bit_anywhere(void **state)
{
    (void)state;
    machine_leaf(0x8000001f)->regs.eax = 0;
    machine_manifest()->guests[2].encryption = MANIFEST_ENCRYPTION_NONE;
    good_seal(machine_manifest());
    const struct handoff *h = enter();
    assert_int_equal(h->c_bit_mask, 0);
    assert_int_equal(h->phys_bits, 48);
    assert_maps(machine.final_cr3, 0, HV_IMAGE_BASE, h->arena_base, PTE_NX, PAGE_SIZE);
    assert_maps(machine.final_cr3, 0, HV_ARENA_BASE, h->arena_base, PTE_W | PTE_NX, SIZE_2M);
    assert_maps(machine.cr3, 0, HV_ARENA_BASE, h->arena_base, PTE_W | PTE_NX, SIZE_2M);
}

/* 16 MiB, 8 KiB for each GiB of memory for guests, 96 KiB for each CPU; and 256 KiB for each guest, 12 KiB for each vCPU of the
 * manifest. */
static void the_pool_grows_with_what_the_machine_and_the_manifest_have(void **state)
{
    static const struct {
        uint64_t usable;
        uint32_t cpus;
        uint64_t pool;
        uint32_t guests;
    } cases[] = {
        {0, 1, 16 * MIB, 0},
        {128 * 1024 * MIB, 1, 17 * MIB, 0},
        {4096 * 1024 * MIB, 1, 48 * MIB, 0},
        {128 * 1024 * MIB, 1024, 17 * MIB, 0},
        {128 * 1024 * MIB, 512, 17 * MIB + (3 * 256 + 3 * 64 * 12) * 1024, 3},
        {1126 * 1024 * MIB, 128, 1126 * 8 * 1024 + 16 * MIB + 8 * MIB + 24 * MIB, 32},
        {0, 1, 16 * MIB + 128 * MIB + 384 * MIB, 512},
    };
    static struct {
        struct manifest_header header;
        struct manifest_guest guests[512];
    } manifest;
    (void)state;
    boot.hv_header.total_size = HV_PAGES * 4096;
    for (unsigned i = 0; i < 512; i++)
        manifest.guests[i].vcpus = 64;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t pages = cases[i].usable / 4096;
        handoff.range_count = 4;
        handoff.ranges[0] = (struct handoff_range){0, pages / 2, HANDOFF_USABLE, 0};
        handoff.ranges[1] = (struct handoff_range){pages / 2 * 4096, UINT64_C(1) << 40, HANDOFF_RESERVED, 0};
        handoff.ranges[2] = (struct handoff_range){UINT64_C(1) << 52, pages - pages / 2, HANDOFF_ARENA, 0};
        handoff.ranges[3] = (struct handoff_range){UINT64_C(1) << 53, 1 << 20, HANDOFF_MMIO, 0};
        handoff.cpu_count = cases[i].cpus;
        manifest.header.guest_count = cases[i].guests;
        boot.guests = &manifest.header;
        uint64_t pool = cases[i].pool + cases[i].cpus * (UINT64_C(96) << 10);
        uint64_t tables = (32 + (pool + SIZE_2M) / SIZE_1G) * 4096;
        uint64_t least = pool + HV_PAGES * 4096 + ((sizeof(handoff) + 4095) & ~UINT64_C(4095)) + STACK + tables;
        uint64_t size = load_arena_size();
        assert_int_equal(size % SIZE_2M, 0);
        assert_int_equal(size, (least + SIZE_2M - 1) & ~(SIZE_2M - 1));
    }
}

static void a_map_that_changes_meanwhile_is_read_again(void **state)
{
    (void)state;
    machine.exit_boot_refusals = 7;
    const struct handoff *h = enter();
    assert_int_equal(machine.exit_boot_calls, 8);
    assert_in_range(h->range_count, 5, 12);
}

/* Time to read it, and a reset into the option that follows: UEFI 2.9, 7.4 promises no other service then. */
static void a_firmware_that_does_not_let_go_is_reset_into_the_next_boot_option(void **state)
{
    (void)state;
    memcpy(machine.boot_order, (const uint16_t[]){3, 7, 4, 1}, 8);
    machine.boot_order_bytes = 8;
    machine.boot_current = 3;
    machine.exit_boot_refusals = 100;
    machine.syscfg = 0;
    assert_int_equal(machine_boot(), RESET);
    assert_int_equal(machine.exit_boot_calls, 8);
    assert_non_null(
        strstr(machine.console, "does not let go of the machine (GetMemoryMap or\r\nExitBootServices failed)"));
    assert_non_null(strstr(machine.console,
                           "\r\nSevisor cannot run here; the machine is reset, into the boot option that follows if "
                           "there is one, in 15 seconds, or at a key.\r\n"));
    assert_in_range((machine.tsc - machine.tsc_at_words) / HZ, 15, 16);
    assert_int_equal(machine.boot_next, 7);
    assert_int_equal(machine.syscfg, 0);
    assert_int_equal(machine.pci[0].config[1], 0x0400);
}

static void or_it_gets_everything_back_if_it_does_not_reset_either(void **state)
{
    (void)state;
    machine.exit_boot_refusals = 100;
    machine.no_reset = true;
    assert_int_equal(machine_boot(), REFUSED);
    assert_int_equal(machine.exit_status, EFI_ABORTED);
    assert_int_equal(machine.boot_next, 0);
    assert_true(machine_holds_nothing());
}

static void no_map_no_exit(void **state)
{
    (void)state;
    machine.map_reads_left = 2; /* the preflight's */
    assert_int_equal(machine_boot(), RESET);
    assert_int_equal(machine.exit_boot_calls, 0);
    assert_non_null(strstr(machine.console, "GetMemoryMap"));
}

/* The compiler calls it when a canary has changed. */
extern uint64_t __stack_chk_guard;
_Noreturn void __stack_chk_fail(void);

static void a_damaged_stack_ends_the_application(void **state)
{
    (void)state;
    /* Its first byte in memory ends what is copied as a string. */
    assert_true((__stack_chk_guard & 0xff) == 0 && __stack_chk_guard >> 32 != 0);
    machine_attach();
    assert_int_equal(machine_until(__stack_chk_fail), REFUSED);
    assert_int_equal(machine.exit_status, EFI_ABORTED);
    assert_string_equal(
        machine.console,
        "Sevisor: stack smashed in the boot application (a bug, or bad memory): back to the boot order\r\n");
}

static void text_is_ascii_and_needs_no_console(void **state)
{
    (void)state;
    machine_attach();
    text_print("%s\n", " a~\t\x7f\x1b\xe4");
    assert_string_equal(machine.console, " a~????\r\n");
    machine.console[0] = '\0';
    char long_line[400];
    memset(long_line, 'x', sizeof(long_line) - 1);
    long_line[sizeof(long_line) - 1] = '\0';
    text_print("%s", long_line);
    assert_int_equal(strlen(machine.console), 255);
    memset(long_line, '\n', sizeof(long_line) - 1);
    machine.console[0] = '\0';
    text_print("%s", long_line);
    assert_int_equal(strlen(machine.console), 510);
    system_table.ConOut = NULL;
    text_print("nobody reads this\n");
}

#define T(name) cmocka_unit_test_setup(name, machine_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {T(hv_gets_its_image_and_what_boot_found_out),
                                       T(the_arena_holds_all_of_it_apart_and_the_rest_is_the_pool),
                                       T(what_hv_may_do_where_is_in_its_tables_and_nothing_else),
                                       T(a_uart_in_memory_is_mapped_as_a_device),
                                       T(nothing_of_hv_is_written_before_its_memory_is_encrypted),
                                       T(other_cpus_flush_their_caches_where_they_are_not_coherent),
                                       T(coherent_caches_are_not_flushed),
                                       T(a_firmware_without_mp_services_starts_hv_all_the_same),
                                       T(a_flush_that_fails_is_told_and_hv_starts_all_the_same),
                                       T(the_bridge_has_the_firmwares_tables_as_they_are_in_the_end),
                                       T(the_arena_lies_below_hypertransport_and_within_the_width),
                                       T(without_sme_there_is_no_c_bit_anywhere),
                                       T(the_pool_grows_with_what_the_machine_and_the_manifest_have),
                                       T(a_map_that_changes_meanwhile_is_read_again),
                                       T(a_firmware_that_does_not_let_go_is_reset_into_the_next_boot_option),
                                       T(or_it_gets_everything_back_if_it_does_not_reset_either),
                                       T(no_map_no_exit),
                                       T(a_damaged_stack_ends_the_application),
                                       T(text_is_ascii_and_needs_no_console),
#define X(at, what) T(changed_##at##_by_##what),
                                       CHANGES(X)
#undef X
    };
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
