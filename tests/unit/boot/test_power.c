/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* How ACPI ends the machine, by tables that are as they should be and by others. Numbers: ACPI 6.4, tables 5.9 and 5.1, 20.2.
 * And where a reset leads: UEFI 2.9, 3.1.3 and 3.3. */
#include "machine.h"

#include <stdlib.h>

#include "hv/lib/text.h"

static uint8_t *fadt, *dsdt;
#define RESET_SUPPORTED (1u << 10)
#define HW_REDUCED (1u << 20)
#define S5 0x08, '_', 'S', '5', '_', 0x12

static void put(uint32_t at, uint64_t value, unsigned bytes)
{
    memcpy(fadt + at, &value, bytes);
}

static void gas(uint32_t at, uint8_t space, uint64_t address)
{
    put(at, space, 1);
    put(at + 4, address, 8);
}

/* A table of exactly these bytes, and nothing behind it. */
static uint8_t *aml_table(const char *signature, const uint8_t *aml, uint32_t size)
{
    uint8_t *table = acpi_add(signature, 36 + size);
    memcpy(table + 36, aml, size);
    acpi_seal(table);
    return table;
}

static void tables(const uint8_t *aml, uint32_t size)
{
    machine_attach();
    memset(&handoff.off, 0, sizeof(handoff.off));
    memset(&handoff.reset, 0, sizeof(handoff.reset));
    acpi_build(2, true, true);
    memcpy((uint8_t *)(uintptr_t)acpi_find("FACP", 244, 0), "OTHR", 4);
    fadt = acpi_add("FACP", 276);
    dsdt = aml_table("DSDT", aml, size);
    put(140, (uintptr_t)dsdt, 8);
    put(112, RESET_SUPPORTED, 4);
    gas(116, 1, 0xcf9);
    put(128, 6, 1);
    put(64, 0x804, 4);
    gas(172, 1, 0x804);
}
#define TABLES(...) tables((const uint8_t[]){__VA_ARGS__}, sizeof(const uint8_t[]){__VA_ARGS__})

static void look(void)
{
    memset(&handoff.off, 0, sizeof(handoff.off));
    memset(&handoff.reset, 0, sizeof(handoff.reset));
    acpi_seal(fadt);
    power_find();
}

static void assert_register(const struct handoff_register *r, uint64_t address, bool port, uint32_t bytes,
                            uint32_t keep, uint32_t value)
{
    assert_int_equal(r->address, address);
    if (address == 0)
        return;
    assert_int_equal(r->port, port);
    assert_int_equal(r->bytes, bytes);
    assert_int_equal(r->keep, keep);
    assert_int_equal(r->value, value);
}

/* The types of \_S5 in PM1a and PM1b; -1: it was not found. */
static void assert_types(int a, int b)
{
    put(68, 0x904, 4);
    look();
    assert_register(&handoff.off[0], a < 0 ? 0 : 0x804, true, 2, 0xc3ff, (uint32_t)(a * 1024 | 0x2000));
    assert_register(&handoff.off[1], a < 0 ? 0 : 0x904, true, 2, 0xc3ff, (uint32_t)(b * 1024 | 0x2000));
}

static void s5_is_found_as_a_package_of_numbers(void **state)
{
    (void)state;
    TABLES(S5, 6, 4, 0, 0, 0, 0, 0xa3);
    assert_types(0, 0); /* QEMU's */
    TABLES(S5, 10, 4, 0x0a, 5, 0x0a, 5, 0, 0, 0xa3);
    assert_types(5, 5); /* AMD's chipsets */
    TABLES(S5, 8, 4, 0x0a, 7, 1, 0, 0, 0xa3);
    assert_types(7, 1);
    TABLES(S5, 7, 2, 1, 0x0a, 6, 0xa3, 0xa3);
    assert_types(1, 6);
    TABLES(0x08, 0x5c, '_', 'S', '5', '_', 0x12, 6, 4, 1, 0, 0, 0, 0xa3);
    assert_types(1, 0);
    TABLES(S5, 0x47, 0, 4, 1, 0, 0, 0, 0xa3);
    assert_types(1, 0); /* lengths of 2, 3 and 4 bytes */
    TABLES(S5, 0x88, 0, 0, 4, 1, 0, 0, 0, 0xa3);
    assert_types(1, 0);
    TABLES(S5, 0xc9, 0, 0, 0, 4, 1, 0, 0, 0, 0xa3);
    assert_types(1, 0);
    TABLES('_', 'S', '5', '_', 0x12, 9, 9, 9, S5, 6, 4, 1, 0, 0, 0, 0xa3);
    assert_types(1, 0); /* a use, then the name */
    TABLES(S5, 6, 4, 1, 0, 0, 0, S5, 6, 4, 0, 0, 0, 0, 0xa3);
    assert_types(1, 0); /* a second Name is an error: the first counts */
}

/* ACPI 6.4, 7.4.2 and 20.2.3. ACPICA (hwxface.c) and uACPI (sleep.c) take both from one element, and the low byte of each
 * otherwise. */
static void s5_may_have_one_element_and_integers_of_any_size(void **state)
{
    (void)state;
    TABLES(S5, 3, 1, 0x01, 0xa3);
    assert_types(1, 0);
    TABLES(S5, 3, 1, 0x00);
    assert_types(0, 0); /* the table ends here */
    TABLES(S5, 4, 1, 0x0a, 5, 0xa3);
    assert_types(5, 0);
    TABLES(S5, 5, 1, 0x0b, 5, 6, 0xa3);
    assert_types(5, 6);
    TABLES(S5, 0x46, 0, 1, 0x0b, 5, 6, 0xa3);
    assert_types(5, 6);
    TABLES(S5, 7, 1, 0x0c, 7, 3, 0xee, 0xff);
    assert_types(7, 3);
    TABLES(S5, 11, 1, 0x0e, 2, 1, 0, 0, 0, 0, 0, 0, 0x0a, 5);
    assert_types(2, 1); /* what follows is another's */
    TABLES(S5, 9, 2, 0x0b, 5, 0, 0x0b, 6, 0, 0xa3);
    assert_types(5, 6);
    TABLES(S5, 15, 4, 0x0c, 4, 0, 0, 0, 0x0c, 3, 0, 0, 0, 0, 0, 0xa3);
    assert_types(4, 3);
    TABLES(S5, 13, 2, 0x0e, 7, 0, 0, 0, 0, 0, 0, 0, 1, 0xa3);
    assert_types(7, 1);
    TABLES(S5, 9, 2, 0x0b, 5, 1, 0x0b, 6, 1, 0xa3);
    assert_types(5, 6);
    TABLES(S5, 5, 1, 0x0b, 8, 0);
    assert_types(-1, 0);
    TABLES(S5, 5, 1, 0x0b, 0, 8);
    assert_types(-1, 0);
    TABLES(S5, 3, 1, 0xff);
    assert_types(-1, 0);
    TABLES(S5, 4, 1, 0x0d, '5', 0);
    assert_types(-1, 0); /* a string */
}

static void what_is_no_package_of_small_numbers_is_passed_over(void **state)
{
    (void)state;
    TABLES(0xa3);
    assert_types(-1, 0);
    TABLES('_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0);
    assert_types(-1, 0); /* a use of it */
    TABLES(0x14, '_', 'S', '5', '_', 0x12, 6, 4, 0, 0, 0, 0);
    assert_types(-1, 0); /* a method's name */
    TABLES(0x08, '_', 'S', '4', '_', 0x12, 6, 4, 0, 0, 0, 0);
    assert_types(-1, 0);
    TABLES(0x08, '_', 'S', '5', '_', 0x11, 6, 4, 0, 0, 0, 0);
    assert_types(-1, 0); /* a buffer */
    TABLES(S5, 6, 4, 0x0a, 8, 0, 0, 0);
    assert_types(-1, 0); /* three bits */
    TABLES(S5, 6, 4, 0, 0x0a, 8, 0, 0);
    assert_types(-1, 0);
    TABLES(S5, 6, 4, 0xff, 0, 0, 0, 0);
    assert_types(-1, 0); /* Ones */
    TABLES(S5, 9, 4, 'S', 'L', 'P', '5', 0, 0, 0);
    assert_types(-1, 0); /* another name */
    TABLES(S5, 6, 4, 0x0a, 9, 0, 0, S5, 6, 4, 1, 1, 0, 0);
    assert_types(1, 1); /* the next may be it */
}

/* Behind the table is nothing: no byte of it is read. */
static void nothing_is_read_beyond_a_table(void **state)
{
    static const uint8_t bytes[] = {S5, 0xca, 0, 0, 0, 4, 0x0a, 5, 0x0a, 5, 0, 0},
                         wide[] = {S5, 8, 1, 0x0c, 5, 0, 0, 0};
    (void)state;
    for (uint32_t i = 0; i <= sizeof(bytes) + sizeof(wide) + 1; i++) {
        const uint8_t *whole = i <= sizeof(bytes) ? bytes : wide;
        uint32_t size = i <= sizeof(bytes) ? i : i - (uint32_t)sizeof(bytes) - 1,
                 least = whole == bytes ? 15 : sizeof(wide);
        uint8_t *table = malloc(36 + size);
        uint32_t length = 36 + size;
        tables(whole, 0);
        memset(table, 0, 36);
        memcpy(table, "DSDT", 4);
        memcpy(table + 4, &length, 4);
        memcpy(table + 36, whole, size);
        acpi_seal(table);
        put(140, (uintptr_t)table, 8);
        look();
        assert_int_equal(handoff.off[0].address, size >= least ? 0x804 : 0);
        free(table);
    }
}

static void s5_may_be_in_any_ssdt(void **state)
{
    static const uint8_t none[] = {0xa3}, some[] = {S5, 6, 4, 1, 0, 0, 0};
    (void)state;
    for (unsigned which = 0; which < 3; which++) {
        tables(none, sizeof(none));
        for (unsigned i = 0; i < 3; i++)
            aml_table("SSDT", i == which ? some : none, i == which ? sizeof(some) : sizeof(none));
        assert_types(1, 0);
    }
    tables(none, sizeof(none));
    aml_table("SSDT", some, sizeof(some))[9]++; /* checksum: told, and used all the same */
    assert_types(1, 0);
    assert_string_equal(boot.acpi_wrong_sums, "SSDT ");
    tables(none, sizeof(none));
    acpi_list(aml_table("SSDT", none, sizeof(none))); /* twice, and others behind it */
    assert_types(-1, 0);
    aml_table("SSDT", some, sizeof(some));
    assert_types(1, 0);
    tables(none, sizeof(none));
    put(140, 0, 8); /* no DSDT at all */
    aml_table("SSDT", some, sizeof(some));
    assert_types(1, 0);
    tables(some, sizeof(some));
    put(140, 0, 8);
    put(40, (uintptr_t)dsdt, 4); /* as old tables have it */
    assert_types(1, 0);
    tables(some, sizeof(some));
    memcpy(dsdt, "DSDX", 4);
    acpi_seal(dsdt);
    assert_types(-1, 0);
    tables(some, sizeof(some));
    const uint32_t enormous = 0x40000000;
    memcpy(dsdt + 4, &enormous, 4);
    assert_types(-1, 0);
}

static void registers_that_no_port_can_be_are_refused(void **state)
{
    static const struct {
        uint8_t space;
        uint64_t address, narrow, port;
    } cases[] = {
        {1, 0x804, 0, 0x804},          {1, 0, 0x404, 0x404},     {1, 0x804, 0x404, 0x804},
        {0, 0xfed80804, 0x404, 0x404}, {2, 0x804, 0x404, 0x404}, {0x7f, 0x804, 0x404, 0x404},
        {1, 0x10804, 0x404, 0x404},    {1, UINT64_MAX, 0, 0},    {0, 0xfed80804, 0, 0},
        {0xff, 0x804, 0, 0},           {1, 0, 0x10404, 0},       {0, 0, 0, 0},
        {1, 0xffff, 0, 0xffff},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        TABLES(S5, 6, 4, 0, 0, 0, 0, 0xa3);
        gas(172, cases[i].space, cases[i].address);
        put(64, cases[i].narrow, 4);
        gas(184, cases[i].space, cases[i].address);
        put(68, cases[i].narrow, 4);
        look();
        assert_register(&handoff.off[0], cases[i].port, true, 2, 0xc3ff, 0x2000);
        assert_register(&handoff.off[1], cases[i].port, true, 2, 0xc3ff, 0x2000);
    }
}

static void a_reset_register_is_a_port_or_in_memory(void **state)
{
    static const struct {
        uint8_t space;
        uint64_t address, found;
        uint32_t flags;
    } cases[] = {
        {1, 0xcf9, 0xcf9, RESET_SUPPORTED},
        {1, 0xcf9, 0, 0},
        {0, 0xfed80300, 0xfed80300, RESET_SUPPORTED},
        {0, UINT64_C(1) << 32, 0, RESET_SUPPORTED},
        {1, 0x10cf9, 0, RESET_SUPPORTED},
        {2, 0xcf9, 0, RESET_SUPPORTED},
        {3, 0xcf9, 0, RESET_SUPPORTED},
        {0x0a, 0xcf9, 0, RESET_SUPPORTED},
        {1, 0, 0, RESET_SUPPORTED},
        {1, 0xcf9, 0xcf9, RESET_SUPPORTED | HW_REDUCED},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        TABLES(0xa3);
        put(112, cases[i].flags, 4);
        put(128, 0x60 + i, 1);
        gas(116, cases[i].space, cases[i].address);
        boot.row_count = 0;
        look();
        assert_register(&handoff.reset, cases[i].found, cases[i].space == 1, 1, 0, 0x60 + i);
        /* One that there is, but that is not used, is told. */
        bool told = (cases[i].flags & RESET_SUPPORTED) != 0 && cases[i].found == 0;
        assert_int_equal(boot.row_count, told);
        if (told) {
            char found[28];
            text_format(found, sizeof(found), "in address space %u", cases[i].space);
            assert_string_equal(machine_row("ACPI reset register")->found, found);
            assert_int_equal(boot.rows[0].verdict, PREFLIGHT_NOTE);
        }
        assert_int_equal(handoff.off[0].address, 0);
    }
}

/* ACPI 6.4, 4.8.3.7: hardware-reduced machines have a sleep control register of 8 bits. */
static void a_machine_of_reduced_hardware_has_one_register(void **state)
{
    static const struct {
        uint8_t space;
        uint64_t address, found;
    } cases[] = {
        {1, 0x600, 0x600}, {0, 0xfed80600, 0xfed80600}, {2, 0x600, 0},
        {1, 0x10600, 0},   {0, UINT64_C(1) << 40, 0},   {1, 0, 0},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        TABLES(S5, 8, 4, 0x0a, 5, 0, 0, 0);
        put(112, HW_REDUCED, 4);
        gas(244, cases[i].space, cases[i].address);
        look();
        assert_register(&handoff.off[0], cases[i].found, cases[i].space == 1, 1, 0, 5 << 2 | 0x20);
        assert_int_equal(handoff.off[1].address, 0);
    }
}

/* A field that the table is too short for is as if it were 0. */
static void an_old_fadt_has_what_it_has(void **state)
{
    static const struct {
        uint32_t length;
        uint64_t off, reset;
    } cases[] = {
        {115, 0, 0},         {116, 0x404, 0},     {127, 0x404, 0},     {128, 0x404, 0xcf9},
        {132, 0x404, 0xcf9}, {183, 0x404, 0xcf9}, {184, 0x804, 0xcf9}, {276, 0x804, 0xcf9},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        TABLES(S5, 6, 4, 0, 0, 0, 0, 0xa3);
        put(40, (uintptr_t)dsdt, 4);
        put(64, 0x404, 4);
        put(4, cases[i].length, 4);
        look();
        assert_int_equal(handoff.off[0].address, cases[i].off);
        assert_int_equal(handoff.reset.address, cases[i].reset);
        if (cases[i].reset != 0)
            assert_int_equal(handoff.reset.value, cases[i].length > 128 ? 6 : 0);
    }
}

static void hv_gets_them(void **state)
{
    (void)state;
    TABLES(S5, 6, 4, 1, 1, 0, 0, 0xa3);
    put(76, PM_PORT, 4);
    acpi_seal(fadt);
    machine_madt(1, (const uint8_t[]){0});
    assert_int_equal(machine_boot(), ENTERED);
    const struct handoff *h = (const struct handoff *)machine.handoff;
    assert_register(&h->off[0], 0x804, true, 2, 0xc3ff, 0x2400);
    assert_register(&h->reset, 0xcf9, true, 1, 0, 6);
}

/* ---- the boot option that follows ---- */

static uint32_t find_next(void)
{
    handoff.boot_next = 0;
    bootnext_find();
    return handoff.boot_next;
}

static void boot_order_goes_on_behind_this_boot_option(void **state)
{
    static const struct {
        uint16_t current, count, order[4];
        uint32_t next;
    } cases[] = {
        {1, 3, {1, 7, 0x2001}, 7},
        {7, 3, {1, 7, 0x2001}, 0x2001},
        {0x2001, 3, {1, 7, 0x2001}, HANDOFF_NO_OPTION}, /* the last */
        {9, 3, {1, 7, 0x2001}, HANDOFF_NO_OPTION}, /* chosen by hand, or by BootNext */
        {1, 3, {1, 0xFFFF, 7}, 0xFFFF},
        {1, 1, {1}, HANDOFF_NO_OPTION},
        {1, 0, {0}, HANDOFF_NO_OPTION},
    };
    (void)state;
    machine_attach();
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        machine.boot_current = cases[i].current;
        memcpy(machine.boot_order, cases[i].order, sizeof(cases[i].order));
        machine.boot_order_bytes = cases[i].count * 2u;
        assert_int_equal(find_next(), cases[i].next);
        machine.boot_next = 0;
        bootnext_set();
        assert_int_equal(machine.boot_next, cases[i].next == HANDOFF_NO_OPTION ? 0 : cases[i].next);
    }
    machine.boot_order_bytes = 6;
    machine.no_boot_current = true;
    assert_int_equal(find_next(), HANDOFF_NO_OPTION);
    machine.no_boot_current = false;
    machine.boot_order_bytes = sizeof(machine.boot_order); /* more than there is room for */
    assert_int_equal(find_next(), HANDOFF_NO_OPTION);
}

/* What is not active, and applications; what BootNext names the boot manager does not judge. */
static void what_the_boot_manager_would_pass_over_is_not_next(void **state)
{
    static const uint32_t passed_over[] = {0, 8, 0x101, 0x109, 0x201, NO_OPTION};
    (void)state;
    machine_attach();
    machine.boot_current = 3;
    for (uint16_t at = 0; at < 5; at++)
        machine.boot_order[at] = (uint16_t)(at + 2); /* 2 3 4 5 6 */
    machine.boot_order_bytes = 10;
    for (unsigned i = 0; i < sizeof(passed_over) / sizeof(*passed_over); i++) {
        machine.boot_attributes[4] = machine.boot_attributes[5] = passed_over[i];
        assert_int_equal(find_next(), 6);
    }
    machine.boot_attributes[4] = 9;
    assert_int_equal(find_next(), 4); /* one that is hidden is started */
    machine.boot_attributes[4] = machine.boot_attributes[6] = 0;
    assert_int_equal(find_next(), HANDOFF_NO_OPTION);
}

static void hv_gets_it(void **state)
{
    (void)state;
    memcpy(machine.boot_order, (const uint16_t[]){3, 7}, 4);
    machine.boot_order_bytes = 4;
    machine.boot_current = 3;
    assert_int_equal(machine_boot(), ENTERED);
    assert_int_equal(((const struct handoff *)machine.handoff)->boot_next, 7);
    assert_int_equal(machine.boot_next, 0); /* hv makes it so, if no guest runs */
}

#define T(name) cmocka_unit_test_setup(name, machine_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(s5_is_found_as_a_package_of_numbers),
        T(s5_may_have_one_element_and_integers_of_any_size),
        T(what_is_no_package_of_small_numbers_is_passed_over),
        T(nothing_is_read_beyond_a_table),
        T(s5_may_be_in_any_ssdt),
        T(registers_that_no_port_can_be_are_refused),
        T(a_reset_register_is_a_port_or_in_memory),
        T(a_machine_of_reduced_hardware_has_one_register),
        T(an_old_fadt_has_what_it_has),
        T(hv_gets_them),
        T(boot_order_goes_on_behind_this_boot_option),
        T(what_the_boot_manager_would_pass_over_is_not_next),
        T(hv_gets_it),
    };
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
