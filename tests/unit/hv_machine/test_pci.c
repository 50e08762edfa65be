/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The one walk over PCI functions, by ports and as memory. Numbers: PCI 3.0, 6.2.1; PCIe 4.0, 7.2.2. */
#include "fake_cpu.h"

#include "hv/lib/pci.h"

#define BUSES 2u
static _Alignas(4096) uint8_t ecam[BUSES << 20];
static uint16_t at[8];                  /* those that ports have, and their header types */
static uint8_t headers[8];
static unsigned count, reads;

static uint32_t config(uint32_t address, const uint32_t *value)
{
    assert_null(value);
    assert_true((address & 0xff) == 0 || (address & 0xff) == 0x0c);
    reads++;
    for (unsigned i = 0; i < count; i++)
        if (at[i] == (address >> 8 & 0xffff))
            return (address & 0xff) == 0 ? 0x14561022 : (uint32_t)headers[i] << 16;
    return UINT32_MAX;
}

static int set_up(void **state)
{
    fake_reset(state);
    fake_config = config;
    memset(ecam, 0xff, sizeof ecam);
    count = reads = 0;
    return 0;
}

static void add(uint16_t bdf, uint8_t header)
{
    at[count] = bdf;
    headers[count++] = header;
}

static void add_ecam(uint32_t number, uint8_t header)
{
    uint32_t *f = (uint32_t *)&ecam[(uint64_t)number << 12];
    f[0] = 0x14561022;
    f[3] = (uint32_t)header << 16;
}

static const struct pci_space whole = {NULL, 0, 0x10000};

static void assert_walk(const struct pci_space *space, unsigned n, const uint32_t *expected)
{
    uint32_t sbdf = space->first;
    for (unsigned i = 0; i < n; i++, sbdf++) {
        assert_true(pci_next(space, &sbdf));
        assert_int_equal(sbdf, expected[i]);
    }
    assert_false(pci_next(space, &sbdf));
}
#define WALK(space, ...) assert_walk(space, sizeof(const uint32_t[]){__VA_ARGS__} / 4, (const uint32_t[]){__VA_ARGS__})

/* An interrupt's handler may use them as well: it comes before or after, and finds its address. */
static void ports_are_used_with_interrupts_off_and_left_as_they_were(void **state)
{
    (void)state;
    fake_config = NULL;                 /* fake_cpu.c's, which wants interrupts off */
    for (unsigned on = 0; on < 2; on++) {
        out32(0xcf8, 0x80fff8a4);
        fake_if = on != 0;
        did[0] = '\0';
        assert_int_equal(pci_read32(&whole, 0x4101, 0x19), ~UINT32_C(0x80410118));
        pci_write32(&whole, 0x4101, 4, 7);
        assert_string_equal(did, on != 0 ? "cli\npci 80410118 read\nsti\ncli\npci 80410104 write 7\nsti\n"
                                         : "cli\npci 80410118 read\ncli\npci 80410104 write 7\n");
        assert_int_equal(fake_if, on);
        assert_int_equal(in32(0xcf8), 0x80fff8a4);
    }
}

static void where_nothing_is_each_device_is_asked_once(void **state)
{
    (void)state;
    assert_walk(&whole, 0, NULL);
    assert_int_equal(reads, 256 * 32);
}

static void functions_1_to_7_count_where_function_0_says_so(void **state)
{
    (void)state;
    add(0x0000, 0x80);
    add(0x0003, 0x00);
    add(0x0007, 0x80);
    add(0x0100, 0x01);                  /* one function: 2 is its echo */
    add(0x0102, 0x80);
    add(0x0201, 0x80);                  /* without function 0 */
    add(0xfff8, 0xff);
    add(0xffff, 0x00);
    WALK(&whole, 0, 3, 7, 0x100, 0xfff8, 0xffff);
    uint32_t sbdf = 0x0101;             /* from anywhere */
    assert_true(pci_next(&whole, &sbdf));
    assert_int_equal(sbdf, 0xfff8);
    assert_int_equal(pci_layout(&whole, 0xfff8), 0x7f);
    assert_int_equal(pci_layout(&whole, 0x0100), 1);
}

static void buses_as_memory_are_walked_from_their_first_to_their_last(void **state)
{
    static const uint32_t firsts[] = {0, 0x10000, 0x24000, 0xfffffe00}; /* the last ends with all that there can be */
    (void)state;
    add_ecam(0x000, 0x00);
    add_ecam(0x001, 0x00);
    add_ecam(0x0f8, 0x81);
    add_ecam(0x0ff, 0x00);
    add_ecam(0x1f8, 0x80);
    add_ecam(0x1ff, 0x00);
    for (unsigned i = 0; i < sizeof firsts / sizeof *firsts; i++) {
        uint32_t f = firsts[i];
        const struct pci_space space = {ecam, f, BUSES << 8}, half = {ecam, f, 1 << 8},
                               one = {ecam + 0xff000, f + 0xff, 1};
        WALK(&space, f, f + 0xf8, f + 0xff, f + 0x1f8, f + 0x1ff);
        WALK(&half, f, f + 0xf8, f + 0xff);
        assert_int_equal(pci_layout(&space, f + 0xf8), 1);
        pci_write32(&space, f + 0x1ff, 0xfc, 0x12345678);
        assert_int_equal(*(uint32_t *)&ecam[0x1ff0fc], 0x12345678);
        assert_int_equal(pci_read32(&space, f + 0x1ff, 0xff), 0x12345678); /* the dword that it lies in */
        assert_int_equal(pci_read32(&one, f + 0xff, 0), 0x14561022);
    }
}

static void a_name_has_its_segment_where_that_is_not_0(void **state)
{
    char name[PCI_NAME];
    (void)state;
    assert_string_equal(pci_name(0x0000, name), "00:00.0");
    assert_string_equal(pci_name(0x410a, name), "41:01.2");
    assert_string_equal(pci_name(0x14102, name), "0001:41:00.2");
    assert_string_equal(pci_name(0xffffffff, name), "ffff:ff:1f.7");
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(ports_are_used_with_interrupts_off_and_left_as_they_were, set_up),
        T(where_nothing_is_each_device_is_asked_once),
        T(functions_1_to_7_count_where_function_0_says_so),
        T(buses_as_memory_are_walked_from_their_first_to_their_last),
        T(a_name_has_its_segment_where_that_is_not_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
