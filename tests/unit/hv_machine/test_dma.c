/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* PCI functions in three segments, and IOAPICs: what dma_stop() does to them, and in which order. */
#include "fake_cpu.h"

#include "hv/io/dma.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/window.h"
#include "hv/lib/mmio.h"

#define BUSES 2u                        /* of each segment that has ECAM */
#define ECAM_SIZE ((uint64_t)BUSES << 20)
#define FIRST_ECAM UINT64_C(0x3ffb00000000)
#define SECOND_ECAM UINT64_C(0xd4000000)
#define IOAPIC UINT64_C(0xfec00000)
#define ENTRIES 24u
#define FUNCTIONS 16u

static struct handoff handoff;
static struct function {
    uint16_t bdf;
    uint32_t config[64];
} ports[FUNCTIONS];
static _Alignas(4096) uint8_t ecam[2][ECAM_SIZE];
static uint32_t ioapic, entries[2 * ENTRIES];      /* the index; low and high halves */
static unsigned mapped;
static bool no_room, no_ioapic;

static struct function *function_at(uint16_t bdf)
{
    for (unsigned i = 0; i < FUNCTIONS; i++)
        if (ports[i].config[0] != 0 && ports[i].bdf == bdf)
            return &ports[i];
    return NULL;
}

static struct function *add(uint16_t bdf, uint32_t header, uint32_t command, uint32_t buses)
{
    struct function *f = ports;
    while (f->config[0] != 0)
        f++;
    f->bdf = bdf;
    f->config[0] = 0x14501022;
    f->config[1] = command;
    f->config[3] = header << 16;
    f->config[6] = buses;
    return f;
}

static uint32_t *ecam_at(unsigned segment, uint32_t bdf)
{
    return (uint32_t *)&ecam[segment][(uint64_t)bdf << 12];
}

static void add_ecam(unsigned segment, uint32_t bdf, uint32_t header, uint32_t command)
{
    ecam_at(segment, bdf)[0] = 0x14501022;
    ecam_at(segment, bdf)[1] = command;
    ecam_at(segment, bdf)[3] = header << 16;
}

static uint32_t config(uint32_t address, const uint32_t *value)
{
    struct function *f = function_at((uint16_t)(address >> 8));
    assert_true(address >> 31 == 1 && address % 4 == 0);
    if (value == NULL)
        return f == NULL ? UINT32_MAX : f->config[address / 4 & 63];
    assert_int_equal(address & 0xff, 4);
    assert_int_equal(*value >> 16, 0);          /* ones there would clear status bits */
    note("%04x %x", f->bdf, *value);
    f->config[1] = (f->config[1] & 0xffff0000) | *value;
    return 0;
}

static uint32_t *register_at(const volatile void *registers, uint64_t offset)
{
    static uint32_t version;
    uint64_t at = (uintptr_t)registers + offset - (uintptr_t)ecam;
    if (registers != &ioapic) {
        assert_true(at < sizeof(ecam));
        return (uint32_t *)((uint8_t *)ecam + at);
    }
    assert_true(offset == 0 || offset == 16);
    version = no_ioapic ? UINT32_MAX : (ENTRIES - 1) << 16 | 0x20;
    if (offset == 0)
        return &ioapic;
    assert_true(ioapic == 1 || (ioapic >= 0x10 && ioapic < 0x10 + 2 * ENTRIES));
    return ioapic == 1 ? &version : &entries[ioapic - 0x10];
}

uint32_t mmio_read32(const volatile void *registers, uint64_t offset)
{
    return *register_at(registers, offset);
}

void mmio_write32(volatile void *registers, uint64_t offset, uint32_t value)
{
    uint64_t at = (uintptr_t)registers + offset - (uintptr_t)ecam;
    if (registers != &ioapic) {
        assert_int_equal(at % 4096, 4);
        assert_int_equal(value >> 16, 0);
        note("%lx %lx %x", at / ECAM_SIZE, at % ECAM_SIZE >> 12, value);
    }
    *register_at(registers, offset) = value;
}

volatile void *mmio_map(paddr_t base, uint64_t size)
{
    if (base.raw == IOAPIC) {
        assert_int_equal(size, 32);
        mapped++;
        return &ioapic;
    }
    if (no_room)
        return NULL;
    assert_int_equal(size, ECAM_SIZE);
    assert_true(base.raw == FIRST_ECAM || base.raw == SECOND_ECAM);
    mapped++;
    return ecam[base.raw == SECOND_ECAM];
}

void mmio_unmap(volatile void *va, uint64_t size)
{
    assert_true(va == &ioapic || va == ecam[0] || va == ecam[1]);
    assert_int_equal(size, va == &ioapic ? 32 : ECAM_SIZE);
    mapped--;
}

static int set_up(void **state)
{
    fake_reset(state);
    fake_config = config;
    memset(&handoff, 0, sizeof(handoff));
    memset(ports, 0, sizeof(ports));
    memset(ecam, 0xff, sizeof(ecam));
    handoff.registers[0] = (struct handoff_registers){0, UINT64_C(256) << 20, HANDOFF_PCI, 0};
    handoff.register_count = 1;
    mapped = 0;
    no_room = no_ioapic = false;
    return 0;
}

static void stop(void)
{
    dma_stop(&handoff);
    assert_int_equal(mapped, 0);
}

static void ecam_handed_over(void)
{
    handoff.registers[1] = (struct handoff_registers){FIRST_ECAM, ECAM_SIZE, HANDOFF_PCI, 0x10000};
    handoff.registers[2] = (struct handoff_registers){SECOND_ECAM, ECAM_SIZE, HANDOFF_PCI, 0x24000};
    handoff.register_count = 3;
}

static void every_function_loses_bus_mastering_and_nothing_else(void **state)
{
    static const struct {
        uint16_t bdf;
        uint32_t header, before, after;
        bool written;
    } cases[] = {
        {0x0000, 0x00, 0x00100003, 0x00100003, false},     /* never had it */
        {0x0008, 0x00, 0xf9100407, 0xf9100403, true},
        {0x0009, 0x00, 0x00000007, 0x00000007, false},     /* of a device with one function: an echo */
        {0x0010, 0x81, 0x00000004, 0x00000000, true},
        {0x0017, 0x00, 0x00000006, 0x00000002, true},      /* its eighth function */
        {0x0019, 0x00, 0x00000004, 0x00000000, true},      /* without function 0: by ARI */
        {0x001a, 0x00, 0x00100406, 0x00100402, true},      /* a virtual one, which has no id */
        {0xfff8, 0x80, 0x00000000, 0x00000000, false},
        {0xffff, 0x00, 0x0000ffff, 0x0000fffb, true},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        add(cases[i].bdf, cases[i].header, cases[i].before, 0);
    ports[6].config[0] = UINT32_MAX;
    stop();
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        char line[16];
        snprintf(line, sizeof(line), "%04x ", cases[i].bdf);
        assert_int_equal(ports[i].config[1], cases[i].after);
        assert_int_equal(strstr(did, line) != NULL, cases[i].written);
    }
}

/* A bridge that forwards nothing may leave a device below it with a request that never ends. */
static void devices_stop_before_bridges_in_all_segments(void **state)
{
    (void)state;
    add(0x0008, 0x01, 7, 0x020100);             /* a bridge; CardBus has a layout of its own */
    add(0x0010, 0x02, 7, 0x030300);
    add(0x0100, 0x00, 7, 0);                    /* below the first */
    ecam_handed_over();
    add_ecam(0, 0, 0x01, 7);
    add_ecam(0, 8, 0x00, 7);
    add_ecam(1, 0x1ff, 0x00, 0xabcd0007);       /* no function 0 */
    add_ecam(1, 0x1f8, 0x80, 7);
    stop();
    assert_string_equal(did, "0100 3\n0 8 3\n1 1f8 3\n1 1ff 3\n0008 3\n0010 3\n0 0 3\n");
    assert_int_equal(ecam_at(0, 0)[1], 3);
    assert_int_equal(ecam_at(0, 8)[1], 3);
    assert_int_equal(ecam_at(1, 0x1f8)[1], 3);
    assert_int_equal(ecam_at(1, 0x1ff)[1] & 0xffff, 3);
}

/* Linux' driver for it calls pci_set_master(), and pci_enable_device() has switched the bridges above on. */
static void the_way_of_the_secure_processor_stays_open(void **state)
{
    (void)state;
    handoff.psp = (struct psp_location){.bar = 0x100000, .function.sbdf = 0x4201};
    add(0x0008, 0x01, 7, 0x00434100);           /* above it: buses 41 to 43 */
    add(0x0010, 0x01, 7, 0x00504400);           /* buses beside it */
    add(0x0018, 0x01, 7, 0x00403f00);
    add(0x0020, 0x01, 7, 0x00000000);           /* not set up */
    add(0x4100, 0x01, 3, 0x00424241);           /* above it, and off */
    add(0x4200, 0x80, 7, 0);
    add(0x4201, 0x00, 3, 0);
    stop();
    static const uint32_t after[] = {7, 3, 3, 3, 7, 3, 7};
    for (unsigned i = 0; i < sizeof(after) / sizeof(*after); i++)
        assert_int_equal(ports[i].config[1], after[i]);
}

/* The same in a segment whose configuration space begins with bus 0x40, at 24000; and what has those numbers in others is not it. */
static void so_it_does_in_its_own_segment_alone(void **state)
{
    (void)state;
    handoff.psp = (struct psp_location){.bar = 0x100000, .function.sbdf = 0x24102};
    add(0x0008, 0x01, 7, 0x00434100);
    add(0x4100, 0x80, 7, 0);
    add(0x4102, 0x00, 7, 0);
    ecam_handed_over();
    add_ecam(0, 0x0, 0x01, 7);
    ecam_at(0, 0x0)[6] = 0x00434100;
    add_ecam(0, 0x100, 0x80, 7);
    add_ecam(0, 0x102, 0x00, 7);
    add_ecam(1, 0x8, 0x01, 3); /* 40:01.0 is above it, 40:02.0 beside */
    ecam_at(1, 0x8)[6] = 0x00424140;
    add_ecam(1, 0x0, 0x80, 0);
    add_ecam(1, 0x10, 0x01, 7);
    ecam_at(1, 0x10)[6] = 0x00444340;
    add_ecam(1, 0x100, 0x80, 7);
    add_ecam(1, 0x102, 0x00, 3);
    stop();
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ports[i].config[1], 3);
    static const struct {
        unsigned segment;
        uint32_t at, after;
    } cases[] = {
        {0, 0x0, 3}, {0, 0x100, 3}, {0, 0x102, 3}, {1, 0x8, 7}, {1, 0x10, 3}, {1, 0x100, 3}, {1, 0x102, 7},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++)
        assert_int_equal(ecam_at(cases[i].segment, cases[i].at)[1], cases[i].after);
}

static void without_one_nothing_stays_open(void **state)
{
    (void)state;
    handoff.psp.function.sbdf = 0x4201;
    add(0x0008, 0x01, 7, 0x00434100);
    add(0x4200, 0x80, 7, 0);
    add(0x4201, 0x00, 7, 0);
    ecam_handed_over();
    add_ecam(0, 0, 0x00, 7);
    stop();
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(ports[i].config[1], 3);
}

static void a_segment_that_cannot_be_mapped_is_said(void **state)
{
    (void)state;
    ecam_handed_over();
    no_room = true;
    add(0x0008, 0x00, 7, 0);
    stop();
    assert_non_null(strstr(did, "configuration space of segment 0001: devices there keep their DMA"));
    assert_non_null(strstr(did, "configuration space of segment 0002: devices there keep their DMA"));
    assert_int_equal(ports[0].config[1], 3);
}

/* ---- IOAPICs ---- */

static void every_entry_is_masked_but_the_firmwares_smis(void **state)
{
    (void)state;
    handoff.registers[0] = (struct handoff_registers){IOAPIC, 32, HANDOFF_IOAPIC, 0};
    handoff.register_count = 1;
    for (unsigned i = 0; i < ENTRIES; i++)
        entries[2 * i] = 0x30 + i, entries[2 * i + 1] = i << 24;
    entries[2 * 3] = 0x00018031; /* masked already; level */
    entries[2 * 5] = 0x00000200; /* SMI */
    entries[2 * 6] = 0x00000700; /* ExtINT */
    stop();
    for (unsigned i = 0; i < ENTRIES; i++) {
        uint32_t before = i == 3 ? 0x00018031 : i == 5 ? 0x200 : i == 6 ? 0x700 : 0x30 + i;
        assert_int_equal(entries[2 * i], i == 5 ? before : before | 0x10000);
        assert_int_equal(entries[2 * i + 1], i << 24);
    }
    entries[2] = 0x31;
    no_ioapic = true;
    stop();
    assert_int_equal(entries[2], 0x31);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        T(every_function_loses_bus_mastering_and_nothing_else),
        T(devices_stop_before_bridges_in_all_segments),
        T(the_way_of_the_secure_processor_stays_open),
        T(without_one_nothing_stays_open),
        T(so_it_does_in_its_own_segment_alone),
        T(a_segment_that_cannot_be_mapped_is_said),
        T(every_entry_is_masked_but_the_firmwares_smis),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
