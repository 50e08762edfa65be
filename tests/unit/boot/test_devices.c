/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* PCI segments, IOAPICs, the Secure Processor's function, and the map of memory. */
#include "machine.h"

#include "hv/lib/pci.h"
#include "psp/platform.h"

/* ---- registers ---- */

static void put(uint8_t *at, uint64_t value, unsigned size)
{
    memcpy(at, &value, size);
}

/* So many rows there are, the last of which is this one. */
static void assert_last_row(uint32_t count, const char *feature, const char *found, const char *remedy)
{
    assert_int_equal(boot.row_count, count);
    const struct preflight_row *row = &boot.rows[count - 1];
    assert_string_equal(row->feature, feature);
    assert_string_equal(row->found, found);
    assert_string_equal(row->remedy, remedy);
    assert_int_equal(row->verdict, PREFLIGHT_NOTE);
}

#define OUT_OF_REACH(from)                                                                                               \
    "from " from                                                                                                         \
    "on: beyond the address width, in RAM, or too many pieces. Devices there keep their DMA, into guests' memory, too. " \
    "BIOS: a lower MMIO limit"
#define NOT_MAPPED(from) \
    "from " from "on: the UEFI firmware does not map it: no BAR is checked there, and no Secure Processor looked for"
#define LEFT_OUT                                                                                                   \
    "in RAM by the MADT, or more than this version has room for: their interrupts stay as the UEFI firmware left " \
    "them. Update the BIOS"

/* PCI Firmware 3.2, table 4-3: the base is that of bus 0, whichever comes first. Segment 0 is reached by ports. */
static void mcfg_tells_of_all_segments_that_ports_do_not_reach(void **state)
{
    static const struct {
        uint64_t base;
        uint16_t segment;
        uint8_t first, last;
        uint64_t found, size;
    } cases[] = {
        {0xe0000000, 0, 0, 255, 0, 0},
        {0x3ffb00000000, 1, 0, 255, 0x3ffb00000000, 256 * MIB},
        {0xd0000000, 2, 0x40, 0x7f, 0xd4000000, 64 * MIB},
        {0xc0000000, 0x300, 9, 9, 0xc0900000, MIB},
        {0xb0000000, 4, 5, 4, 0, 0},
        {(UINT64_C(1) << 46) - 255 * MIB, 5, 0, 255, 0, 0},
        {(UINT64_C(1) << 46) - 256 * MIB, 5, 0, 255, (UINT64_C(1) << 46) - 256 * MIB, 256 * MIB},
        {UINT64_MAX - 0xfffff, 6, 0, 255, 0, 0},
        {UINT64_MAX - 0xfffff, 0xfff6, 1, 255, 0, 0},
        {0, 7, 1, 255, 0, 0},
    };
    const unsigned count = sizeof(cases) / sizeof(*cases);
    (void)state;
    machine_attach();
    acpi_build(2, true, true);
    uint8_t *mcfg = acpi_add("MCFG", 44 + 16 * count + 15);     /* what is no whole entry is none */
    for (unsigned i = 0; i < count; i++) {
        put(mcfg + 44 + 16 * i, cases[i].base, 8);
        put(mcfg + 52 + 16 * i, cases[i].segment, 2);
        mcfg[54 + 16 * i] = cases[i].first;
        mcfg[55 + 16 * i] = cases[i].last;
    }
    acpi_seal(mcfg);
    handoff.phys_bits = 46;
    registers_find();
    assert_int_equal(handoff.registers[0].base, 0);
    assert_int_equal(handoff.registers[0].size, 256 * MIB);
    assert_int_equal(handoff.registers[0].kind, HANDOFF_PCI);
    assert_int_equal(handoff.registers[0].first, 0);
    uint32_t at = 1;
    for (unsigned i = 0; i < count; i++) {
        if (cases[i].size == 0)
            continue;
        assert_int_equal(handoff.registers[at].base, cases[i].found);
        assert_int_equal(handoff.registers[at].size, cases[i].size);
        assert_int_equal(handoff.registers[at].first, (uint32_t)cases[i].segment << 16 | cases[i].first << 8);
        assert_int_equal(handoff.registers[at++].kind, HANDOFF_PCI);
    }
    assert_int_equal(handoff.register_count, at);
    assert_true(boot.pci_unseen);
    assert_last_row(2, "PCI segments", "some cannot be read here",
                    NOT_MAPPED("0001:00:00.0 0002:40:00.0 0300:09:00.0 "));      /* as many as there is room for */
    boot.row_count = 1;
    assert_last_row(1, "PCI segments", "some out of reach", OUT_OF_REACH("0005:00:00.0 0006:00:00.0 fff6:01:00.0 "));
}

static unsigned spaces(uint32_t *last)
{
    struct pci_space space;
    unsigned n = 0;
    for (uint32_t i = 0; registers_space(&i, &space); n++)
        *last = space.first;
    return n;
}

static uint64_t *entry_of(uint64_t at, unsigned level)
{
    uint64_t *entry = (uint64_t *)(uintptr_t)machine.firmware_cr3 + (at >> 39 & 511);
    for (unsigned l = 4; l > level; l--)
        entry = (uint64_t *)(uintptr_t)(*entry & ~UINT64_C(0xfff)) + (at >> (12 + 9 * (l - 2)) & 511);
    return entry;
}

static const uint64_t far = UINT64_C(0x123c0200000), whole = 4 * MIB;
static void nothing_missing(void)
{
}
static void no_pml4e(void)
{
    *entry_of(far, 4) &= ~UINT64_C(1);
}
static void no_pdpe(void)
{
    *entry_of(far, 3) &= ~UINT64_C(1);
}
static void no_pde(void)
{
    *entry_of(far + 2 * MIB, 2) &= ~UINT64_C(1);
}
static void no_pte(void)
{
    *entry_of(far, 2) = 0;
    machine_maps(far, whole - 2 * MIB - 4096);
}
static void no_last_pte(void)
{
    *entry_of(far + 2 * MIB, 2) = 0;
    machine_maps(far + 2 * MIB, 2 * MIB - 4096);
}
static void all_ptes(void)
{
    *entry_of(far, 2) = 0;
    machine_maps(far, 4096);
    machine_maps(far + 4096, 2 * MIB - 4096);
}
static void another_page(void)
{
    all_ptes();
    *entry_of(far + 77 * 4096, 1) += 4096;
}
static void another_large_page(void)
{
    *entry_of(far + 2 * MIB, 2) += 2 * MIB;
}
static void large_page_with_pat(void)
{
    *entry_of(far, 2) |= 0x1000;
}
static void rights_and_kind(void)
{
    *entry_of(far, 2) |= UINT64_C(1) << 63 | 0x7e;
    *entry_of(far + 2 * MIB, 2) &= ~UINT64_C(2);
}
static void huge_page(void)
{
    *entry_of(far, 3) = (far & ~((UINT64_C(1) << 30) - 1)) | 0x83;
}
static void another_huge_page(void)
{
    *entry_of(far, 3) = ((far & ~((UINT64_C(1) << 30) - 1)) + (UINT64_C(1) << 30)) | 0x83;
}
static void table_beyond_the_width(void)
{
    *entry_of(far, 3) |= UINT64_C(1) << 46;
}
static void page_with_c_bit(void)
{
    *entry_of(far, 2) |= UINT64_C(1) << 47;
}

/* A firmware may map less than all: what it does not map would fault. */
static void a_segment_is_read_where_the_firmware_maps_it_one_to_one(void **state)
{
    static const struct {
        void (*spoil)(void);
        bool read;
    } cases[] = {
        {nothing_missing, true},
        {no_pml4e, false},
        {no_pdpe, false},
        {no_pde, false},
        {no_pte, false},
        {no_last_pte, false},
        {all_ptes, true},
        {another_page, false},
        {another_large_page, false},
        {large_page_with_pat, true},
        {rights_and_kind, true},
        {huge_page, true},
        {another_huge_page, false},
        {table_beyond_the_width, false},
        {page_with_c_bit, false},
    };
    uint32_t last = 7;
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        machine_reset(NULL);
        machine_attach();
        memset(&handoff, 0, sizeof(handoff));
        handoff.phys_bits = 46;
        machine_mcfg(far, 0x1234, 0, 3);
        machine_maps(far, whole);
        cases[i].spoil();
        registers_find();
        assert_int_equal(handoff.register_count, 2);        /* hv maps it itself */
        assert_int_equal(boot.pci_unseen, !cases[i].read);
        assert_int_equal(spaces(&last), cases[i].read ? 2 : 1);
        assert_int_equal(last, cases[i].read ? 0x12340000 : 0);
        if (cases[i].read)
            assert_int_equal(boot.row_count, 0);
        else
            assert_last_row(1, "PCI segments", "some cannot be read here", NOT_MAPPED("1234:00:00.0 "));
    }
    /* In the upper half an address is another one. */
    machine_reset(NULL);
    machine_attach();
    memset(&handoff, 0, sizeof(handoff));
    handoff.phys_bits = 52;
    machine_mcfg(UINT64_C(1) << 47, 1, 0, 0);
    machine_maps(UINT64_C(1) << 47, MIB);
    registers_find();
    assert_int_equal(spaces(&last), 1);
}

static void the_madt_tells_of_ioapics_as_many_as_there_is_room_for(void **state)
{
    (void)state;
    machine_attach();
    for (unsigned count = 0; count <= HANDOFF_MAX_REGISTERS; count += count < 2    ? 1
                                                                      : count == 2 ? HANDOFF_MAX_REGISTERS - 3
                                                                                   : 1) {
        acpi_build(2, true, true);
        uint8_t *madt = acpi_add("APIC", 44 + 8 + 12 * count + 8);
        memcpy(madt + 44, (const uint8_t[]){0, 8, 0, 3, 1}, 5);                 /* a CPU */
        for (unsigned i = 0; i < count; i++) {
            uint8_t *entry = madt + 52 + 12 * i;
            entry[0] = 1;
            entry[1] = 12;
            put(entry + 4, 0xfec00000 + i * UINT64_C(0x10000), 4);
        }
        memcpy(madt + 52 + 12 * count, (const uint8_t[]){1, 8, 0, 0, 0x78}, 5);    /* too short for one */
        acpi_seal(madt);
        handoff.register_count = boot.row_count = 0;
        handoff.phys_bits = 43;
        registers_find();
        assert_int_equal(handoff.register_count, count < HANDOFF_MAX_REGISTERS ? 1 + count : HANDOFF_MAX_REGISTERS);
        for (uint32_t i = 1; i < handoff.register_count; i++) {
            assert_int_equal(handoff.registers[i].base, 0xfec00000 + (i - 1) * 0x10000);
            assert_int_equal(handoff.registers[i].kind, HANDOFF_IOAPIC);
        }
        if (count < HANDOFF_MAX_REGISTERS)
            assert_int_equal(boot.row_count, 0);
        else
            assert_last_row(1, "IOAPICs", "some left out", LEFT_OUT);
    }
    acpi_build(2, true, true);
    uint8_t *madt = acpi_add("APIC", 44 + 12);
    memcpy(madt + 44, (const uint8_t[]){1, 13}, 2);     /* passes the table's end */
    acpi_seal(madt);
    handoff.register_count = 0;
    registers_find();
    assert_int_equal(handoff.register_count, 1);
}

/* Its registers would be written to. Another one is masked all the same, and the row stays. */
static void ioapic_in_ram_is_left_out(void **state)
{
    static const struct {
        uint32_t address;
        bool wrong;
    } cases[] = {{0, true},
                 {1, true},
                 {RAM_BASE, true},
                 {RAM_BASE + RAM_SIZE - 32, true},
                 {RAM_BASE + RAM_SIZE, false},
                 {RAM_BASE - 16, true},
                 {RAM_BASE - 32, false},
                 {0xfec00000, false}};
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        machine_reset(NULL);
        machine_attach();
        memset(&handoff, 0, sizeof(handoff));
        handoff.phys_bits = 43;
        handoff.ranges[handoff.range_count++] =
            (struct handoff_range){RAM_BASE, RAM_SIZE / 4096, HANDOFF_RUNTIME_DATA, 0};
        acpi_build(2, true, true);
        uint8_t *madt = acpi_add("APIC", 44 + 2 * 12);
        memcpy(madt + 44, (const uint8_t[]){1, 12}, 2);
        memcpy(madt + 48, &cases[i].address, 4);
        memcpy(madt + 56, (const uint8_t[]){1, 12, 0, 0, 0, 0, 0xc1, 0xfe}, 8);
        acpi_seal(madt);
        registers_find();
        assert_int_equal(handoff.register_count, cases[i].wrong ? 2 : 3);
        assert_int_equal(handoff.registers[handoff.register_count - 1].base, 0xfec10000);
        if (cases[i].wrong)
            assert_last_row(1, "IOAPICs", "some left out", LEFT_OUT);
        else
            assert_int_equal(boot.row_count, 0);
    }
}

/* Nor are they dropped in silence if segments have taken all the room. */
static void more_segments_than_there_is_room_for_are_told_as_are_ioapics_then(void **state)
{
    (void)state;
    machine_attach();
    acpi_build(2, true, true);
    uint8_t *mcfg = acpi_add("MCFG", 44 + 16 * HANDOFF_MAX_REGISTERS), *madt = acpi_add("APIC", 44 + 12);
    for (uint32_t i = 0; i < HANDOFF_MAX_REGISTERS; i++) {
        put(mcfg + 44 + 16 * i, ECAM, 8);
        put(mcfg + 52 + 16 * i, i + 1, 2);
    }
    memcpy(madt + 44, (const uint8_t[]){1, 12, 0, 0, 0, 0, 0xc0, 0xfe}, 8);
    acpi_seal(mcfg);
    acpi_seal(madt);
    machine_maps(ECAM, MIB);
    handoff.phys_bits = 43;
    registers_find();
    assert_int_equal(handoff.register_count, HANDOFF_MAX_REGISTERS);
    assert_last_row(2, "IOAPICs", "some left out", LEFT_OUT);
    boot.row_count = 1;
    assert_last_row(1, "PCI segments", "some out of reach", OUT_OF_REACH("0040:00:00.0 "));
}

/* A table that is wrong there would have devices' registers written to memory. */
static void what_the_mcfg_has_in_ram_is_not_there(void **state)
{
    static const struct {
        uint32_t kind;
        bool ram;
    } kinds[] = {
        {HANDOFF_USABLE, true},       {HANDOFF_ARENA, true}, {HANDOFF_MANIFEST, true}, {HANDOFF_RUNTIME_CODE, true},
        {HANDOFF_RUNTIME_DATA, true}, {HANDOFF_ACPI, true},  {HANDOFF_MMIO, false},    {HANDOFF_RESERVED, false},
    };
    /* Beside it, its last page, its first, all around. */
    const struct {
        uint64_t base, pages;
        bool touches;
    } places[] = {
        {ECAM - MIB, MIB / 4096, false},    {ECAM + MIB, 1, false},
        {ECAM + MIB - 4096, 1, true},       {ECAM - MIB, MIB / 4096 + 1, true},
        {ECAM - MIB, 8 * MIB / 4096, true},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(kinds) / sizeof(*kinds); i++) {
        for (unsigned k = 0; k < sizeof(places) / sizeof(*places); k++) {
            machine_reset(NULL);
            machine_attach();
            memset(&handoff, 0, sizeof(handoff));
            handoff.phys_bits = 46;
            handoff.ranges[handoff.range_count++] = (struct handoff_range){0x1000, 1, HANDOFF_USABLE, 0};
            handoff.ranges[handoff.range_count++] =
                (struct handoff_range){places[k].base, places[k].pages, kinds[i].kind, 0};
            machine_mcfg(ECAM, 9, 0, 0);
            machine_maps(ECAM, MIB);
            registers_find();
            bool refused = kinds[i].ram && places[k].touches;
            assert_int_equal(handoff.register_count, refused ? 1 : 2);
            if (refused)
                assert_last_row(1, "PCI segments", "some out of reach", OUT_OF_REACH("0009:00:00.0 "));
            else
                assert_int_equal(boot.row_count, 0);
        }
    }
}

/* ---- the Secure Processor ---- */

static void registers_out_of_reach_are_not_touched(void **state)
{
    static const char wide[] = "beyond address width", unmapped[] = "not mapped by UEFI";
    const uint64_t limit = UINT64_C(1) << 40;
    const struct {
        uint64_t at, size;
        const char *words;
    } cases[] = {
        {limit - 0x1000, 0x1000, "in RAM"},
        {limit - 0x2000, 0x1000, NULL},
        {limit - 0x2000, 0x1001, "in RAM"},
        {limit - 0xfff, 0x1000, wide},
        {limit, 0, wide},
        {limit, 1, wide},
        {2 * limit, 1, wide},
        {limit - 2 * MIB, 2 * MIB - 4096, NULL},
        {limit - 2 * MIB, 2 * MIB + 1, wide},
        {limit - 2 * MIB - 1, 1, unmapped},
        {limit - 2 * MIB - 1, 2, unmapped},
    };
    (void)state;
    handoff.phys_bits = 40;
    handoff.ranges[handoff.range_count++] = (struct handoff_range){limit - 4096, 1, HANDOFF_ACPI, 0};
    machine_maps(limit - 2 * MIB, 2 * MIB);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        const char *fault = registers_fault(cases[i].at, cases[i].size);
        volatile void *mapped = psp_platform_map_mmio(cases[i].at, cases[i].size);
        assert_ptr_equal((void *)(uintptr_t)mapped, cases[i].words == NULL ? (void *)(uintptr_t)cases[i].at : NULL);
        assert_int_equal(fault != NULL, cases[i].words != NULL);
        if (cases[i].words != NULL)
            assert_string_equal(fault, cases[i].words);
        psp_platform_unmap_mmio(mapped, cases[i].size);
    }
}

/* ---- the map ---- */

static unsigned ranges_of(uint32_t kind, uint64_t *base, uint64_t *pages)
{
    unsigned found = 0;
    for (uint32_t i = 0; i < handoff.range_count; i++) {
        const struct handoff_range *r = &handoff.ranges[i];
        if (i > 0)
            assert_true(r->base >= handoff.ranges[i - 1].base + handoff.ranges[i - 1].pages * 4096);
        if (r->kind == kind && found++ == 0) {
            *base = r->base;
            *pages = r->pages;
        }
    }
    return found;
}

static void what_hv_must_not_give_away_is_painted_over_free_memory(void **state)
{
    uint64_t base = 0, pages = 0;
    (void)state;
    acpi_build(2, true, true);
    machine_madt(2, (const uint8_t[]){0, 1});
    machine_descriptor(EfiConventionalMemory, (UINT64_C(1) << 43) - 4096, 2,
                       EFI_MEMORY_WB);     /* the second is out of reach */
    machine_manifest()->header.total_size -= 100;       /* not a whole number of pages */
    good_seal(machine_manifest());
    assert_int_equal(machine_boot(), ENTERED);
    assert_true(machine.pages[1].pages > 0 && machine.pages[2].pages == 0); /* none for the map */

    assert_int_equal(ranges_of(HANDOFF_MANIFEST, &base, &pages), 1);
    assert_int_equal(base, IMAGE_BASE + MANIFEST_OFFSET);
    assert_int_equal(pages, sizeof(struct good) / 4096);
    assert_int_equal(ranges_of(HANDOFF_ARENA, &base, &pages), 1);
    assert_int_equal(base, handoff.arena_base);
    assert_int_equal(pages, handoff.arena_size / 4096);
    assert_int_equal(ranges_of(HANDOFF_RESERVED, &base, &pages), 1);
    assert_int_equal(base, 0x9c000);
    assert_int_equal(pages, HANDOFF_STARTUP_PAGES);
    assert_int_equal(ranges_of(HANDOFF_RUNTIME_DATA, &base, &pages), 1);
    assert_int_equal(base, RAM_BASE + 3 * MIB);
    assert_int_equal(handoff.ranges[handoff.range_count - 1].base, (UINT64_C(1) << 43) - 4096);
    assert_int_equal(handoff.ranges[handoff.range_count - 1].pages, 1);
}

static void the_manifest_is_kept_to_its_last_page(void **state)
{
    static const struct {
        uint64_t size, pages;
    } cases[] = {{1, 1}, {4095, 1}, {4096, 1}, {4097, 2}, {UINT64_C(1) << 32, 1 << 20}};
    UINTN key;
    (void)state;
    machine_attach();
    handoff.phys_bits = 48;
    handoff.manifest_base = RAM_BASE + 16 * MIB;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint64_t base = 0, pages = 0;
        handoff.manifest_size = cases[i].size;
        assert_true(memory_map_read(&key));
        assert_int_equal(ranges_of(HANDOFF_MANIFEST, &base, &pages), 1);
        assert_int_equal(pages, cases[i].pages);
    }
    memory_free();
}

static void a_map_with_more_ranges_than_there_is_room_for_is_refused(void **state)
{
    UINTN key;
    (void)state;
    machine_attach();
    handoff.phys_bits = 48;
    for (unsigned paints = 0; paints < 4; paints++) {
        handoff.manifest_size = paints == 1 ? 4096 : 0;
        handoff.manifest_base = RAM_BASE + 100 * 4096;
        handoff.arena_size = paints == 2 ? 4096 : 0;
        handoff.arena_base = RAM_BASE + 100 * 4096;
        handoff.startup_base = paints == 3 ? RAM_BASE + 100 * 4096 : 0;
        /* As many as fit; one more does not. */
        for (unsigned more = 0; more < 2; more++) {
            machine.map_count = 0;
            machine.wide_map_count = HANDOFF_MAX_RANGES - (paints > 0 ? 2 : 0) + more;
            assert_int_equal(memory_map_read(&key), more == 0);
            assert_true(more != 0 || handoff.range_count == HANDOFF_MAX_RANGES);
            memory_free();
        }
    }
    memory_free();
    assert_true(machine_holds_nothing());
}

#define T(name) cmocka_unit_test_setup(name, machine_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(mcfg_tells_of_all_segments_that_ports_do_not_reach),
        T(what_the_mcfg_has_in_ram_is_not_there),
        T(the_madt_tells_of_ioapics_as_many_as_there_is_room_for),
        T(ioapic_in_ram_is_left_out),
        T(a_segment_is_read_where_the_firmware_maps_it_one_to_one),
        T(more_segments_than_there_is_room_for_are_told_as_are_ioapics_then),
        T(registers_out_of_reach_are_not_touched),
        T(what_hv_must_not_give_away_is_painted_over_free_memory),
        T(the_manifest_is_kept_to_its_last_page),
        T(a_map_with_more_ranges_than_there_is_room_for_is_refused),
    };
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
