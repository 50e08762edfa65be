/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The one walk over PCI functions, by ports and as memory. Numbers: PCI 3.0, 6.2.1; PCIe 4.0, 7.2.2. */
#include "fake_cpu.h"

#include "hv/lib/pci.h"

#define BUSES 2u
static _Alignas(4096) uint8_t ecam[BUSES << 20];
static uint16_t at[16];                 /* those that ports have, and their header types */
static uint8_t headers[16];
static bool is_virtual[16];             /* they have no id: PCIe 4.0, 9.3.4.1.1 */
static unsigned count, reads;

static uint32_t config(uint32_t address, const uint32_t *value)
{
    assert_null(value);
    assert_true((address & 0xff) == 0 || (address & 0xff) == 4 || (address & 0xff) == 0x0c);
    reads++;
    for (unsigned i = 0; i < count; i++)
        if (at[i] == (address >> 8 & 0xffff))
            return (address & 0xff) == 0   ? is_virtual[i] ? UINT32_MAX : 0x14561022
                   : (address & 0xff) == 4 ? 0x00100406
                                           : (uint32_t)headers[i] << 16;
    return UINT32_MAX;
}

static int set_up(void **state)
{
    fake_reset(state);
    fake_config = config;
    memset(ecam, 0xff, sizeof(ecam));
    memset(is_virtual, 0, sizeof(is_virtual));
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
    f[1] = 0x00100406;
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

/* And eight functions, whether the bus is in use. */
static void where_nothing_is_each_device_is_asked_once(void **state)
{
    (void)state;
    assert_walk(&whole, 0, NULL);
    assert_int_equal(reads, 256 * (32 + 8) + 255 * 8);
    add(0x0100, 0x00);
    reads = 0;
    WALK(&whole, 0x100);
    assert_true(reads < 256 * (32 + 8) + 255 * 8 + 3 * 256);  /* two buses more, function by function */
}

/* A device with ARI has the bus for itself: its functions, up to 256, need not come in eights (PCIe 4.0, 6.13). */
static void functions_by_ari_are_found_without_a_function_0(void **state)
{
    (void)state;
    add(0x4100, 0x80);
    add(0x4101, 0x00);
    add(0x4108, 0x00);                  /* says nothing of 9 */
    add(0x4109, 0x00);
    add(0x411d, 0x00);
    add(0x41ff, 0x00);
    WALK(&whole, 0x4100, 0x4101, 0x4108, 0x4109, 0x411d, 0x41ff);
}

static void virtual(uint16_t bdf)
{
    is_virtual[count] = true;
    add(bdf, 0x00);
}

/* ... that the firmware has switched on: beside a function that is alone, further on, and on the next bus. */
static void virtual_functions_are_found_by_their_command_register(void **state)
{
    (void)state;
    add(0x4100, 0x00);
    add(0x4101, 0x00);                  /* an echo: it has the id */
    virtual(0x4102);
    virtual(0x4110);
    virtual(0x41fe);
    virtual(0x4206);
    virtual(0x42ff);
    WALK(&whole, 0x4100, 0x4102, 0x4110, 0x41fe, 0x4206, 0x42ff);
    assert_int_equal(pci_layout(&whole, 0x4110), 0);
}

/* Their first one may be up to some hundred functions behind theirs, as 384 of Intel's 82576, I350 with four ports: so
 * nothing is in the first place of the next bus, nor at any function 0. */
static void virtual_functions_on_the_next_bus_need_nothing_in_its_first_place(void **state)
{
    (void)state;
    add(0x4100, 0x80);
    add(0x4101, 0x00);
    virtual(0x4281);
    virtual(0x4285);
    virtual(0x4289);
    WALK(&whole, 0x4100, 0x4101, 0x4281, 0x4285, 0x4289);
    const struct pci_space behind = {NULL, 0x4200, 0x100}; /* alone: nothing tells of them */
    assert_walk(&behind, 0, NULL);
}

static void functions_1_to_7_count_where_function_0_says_so(void **state)
{
    (void)state;
    add(0x0000, 0x80);
    add(0x0003, 0x00);
    add(0x0007, 0x80);
    add(0x0100, 0x01);                  /* one function: 2 is its echo */
    add(0x0102, 0x80);
    add(0x0220, 0x80);                  /* where nothing is in the first place */
    add(0x0223, 0x00);
    add(0xfff8, 0xff);
    add(0xffff, 0x00);
    WALK(&whole, 0, 3, 7, 0x100, 0x220, 0x223, 0xfff8, 0xffff);
    uint32_t sbdf = 0x0101;             /* from anywhere */
    assert_true(pci_next(&whole, &sbdf));
    assert_int_equal(sbdf, 0x0220);
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
    for (unsigned i = 0; i < sizeof(firsts) / sizeof(*firsts); i++) {
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
        T(functions_by_ari_are_found_without_a_function_0),
        T(virtual_functions_are_found_by_their_command_register),
        T(virtual_functions_on_the_next_bus_need_nothing_in_its_first_place),
        T(buses_as_memory_are_walked_from_their_first_to_their_last),
        T(a_name_has_its_segment_where_that_is_not_0),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
