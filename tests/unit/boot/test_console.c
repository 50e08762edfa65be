/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which UART is the operator's, by hostile tables and honest ones, and what its row says. */
#include "machine.h"

#include "hv/lib/text.h"
#include "hv/lib/uart.h"

#define SILENT "no output, no keys: BIOS: Console Redirection = Enabled"
#define DELL_R7625 {0x01, 8, 0, 0}          /* space, bits, offset, access: "uart,io,0x2f8" */

static const char *found, *remedy; /* of its row */

static void look(void)
{
    memset(&handoff.uart, 0xa5, sizeof(handoff.uart));
    handoff.uart.base = 0;
    handoff.phys_bits = 43;
    boot.row_count = 0;
    machine.console[0] = '\0';
    console_find();
    assert_int_equal(boot.row_count, 1);
    found = boot.rows[0].found;
    remedy = boot.rows[0].remedy;
}

static uint8_t *spcr_of(uint32_t size, uint8_t revision, uint8_t type, const uint8_t gas[4], uint64_t address)
{
    machine_attach();
    acpi_build(2, true, true);
    uint8_t *spcr = acpi_add("SPCR", size);
    spcr[8] = revision;
    spcr[36] = type;
    memcpy(spcr + 40, gas, 4);
    memcpy(spcr + 44, &address, 8);
    spcr[58] = 7;
    acpi_seal(spcr);
    return spcr;
}

static void uart_at(unsigned i, uint16_t port)
{
    machine.uarts[i].port = port;
    machine.uarts[i].scratch = (uint8_t)(0x77 + i);
}

/* ---- SPCR ---- */

static void the_console_is_where_spcr_says_if_a_uart_answers_there(void **state)
{
    static const struct {
        uint8_t type, gas[4];
        uint64_t address, base;         /* base: what is found */
        uint8_t in_memory, stride, width;
        const char *found, *remedy;
    } cases[] = {
        {0x00, DELL_R7625, 0x2f8, 0x2f8, 0, 1, 1, "port 0x2f8 (SPCR), 115200", ""},
        {0x01, DELL_R7625, 0x2f8, 0x2f8, 0, 1, 1, "port 0x2f8 (SPCR), 115200", ""},
        {0x12, DELL_R7625, 0x2f8, 0x2f8, 0, 1, 1, "port 0x2f8 (SPCR), 115200", ""},
        {0x00, {1, 0, 0, 1}, 0x2f8, 0x2f8, 0, 1, 1, "port 0x2f8 (SPCR), 115200", ""},
        /* Not a 16550: PL011, NVIDIA's, ARM SBSA, DCC. */
        {0x03, DELL_R7625, 0x2f8, 0x3f8, 0, 1, 0, "port 0x3f8 (probed), 115200 (default)",
         "SPCR: type 0x3 is no 16550"},
        {0x05, DELL_R7625, 0x2f8, 0x3f8, 0, 1, 0, "port 0x3f8 (probed), 115200 (default)",
         "SPCR: type 0x5 is no 16550"},
        {0x0d, DELL_R7625, 0x2f8, 0x3f8, 0, 1, 0, "port 0x3f8 (probed), 115200 (default)",
         "SPCR: type 0xd is no 16550"},
        {0xff, DELL_R7625, 0x2f8, 0x3f8, 0, 1, 0, "port 0x3f8 (probed), 115200 (default)",
         "SPCR: type 0xff is no 16550"},
        /* Redirection is off. */
        {0x00, DELL_R7625, 0, 0x3f8, 0, 1, 0, "port 0x3f8 (probed), 115200 (default)", "SPCR: no UART can be at 0x0"},
        {0x00, DELL_R7625, 0x2e8, 0x3f8, 0, 1, 0, "port 0x3f8 (probed), 115200 (default)", "SPCR: no answer at 0x2e8"},
        {0x00, DELL_R7625, 0xfff8, 0xfff8, 0, 1, 1, "port 0xfff8 (SPCR), 115200", ""},
        {0x00, DELL_R7625, 0xfff9, 0x3f8, 0, 1, 0, "port 0x3f8 (probed), 115200 (default)",
         "SPCR: no UART can be at 0xfff9"},
        {0x00, DELL_R7625, 0x102f8, 0x3f8, 0, 1, 0, "port 0x3f8 (probed), 115200 (default)",
         "SPCR: no UART can be at 0x102f8"},
        {0x00, {1, 32, 0, 3}, 0x1000, 0x1000, 0, 1, 1, "port 0x1000 (SPCR), 115200", ""},
        /* Spaces: PCI's configuration, the embedded controller's, and so on. */
        {0x00,
         {2, 8, 0, 0},
         0x2f8,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: space 2, 8 bits by 0"},
        {0x00,
         {0x7f, 8, 0, 0},
         0x2f8,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: space 127, 8 bits by 0"},
        /* In memory. AMD's FCH is "mmio32". */
        {0x00, {0, 32, 0, 3}, UART_BASE, UART_BASE, 1, 4, 4, "memory 0x50080000 (SPCR), 115200 (default)", ""},
        {0x12, {0, 32, 0, 1}, UART_BASE, UART_BASE, 1, 4, 1, "memory 0x50080000 (SPCR), 115200 (default)", ""},
        {0x12, {0, 16, 0, 2}, UART_BASE, UART_BASE, 1, 2, 2, "memory 0x50080000 (SPCR), 115200 (default)", ""},
        {0x12, {0, 8, 0, 3}, UART_BASE, UART_BASE, 1, 4, 4, "memory 0x50080000 (SPCR), 115200 (default)", ""},
        {0x12, {0, 0, 0, 0}, UART_BASE + 3, UART_BASE + 3, 1, 1, 1, "memory 0x50080003 (SPCR), 115200 (default)", ""},
        {0x12,
         {0, 8, 0, 1},
         UART_BASE + 0xff8,
         UART_BASE + 0xff8,
         1,
         1,
         1,
         "memory 0x50080ff8 (SPCR), 115200 (default)",
         ""},
        {0x12,
         {0, 8, 0, 1},
         UART_BASE + 0xff9,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: no UART can be at 0x50080ff9"},
        {0x12,
         {0, 32, 0, 3},
         UART_BASE + 0xfe0,
         UART_BASE + 0xfe0,
         1,
         4,
         4,
         "memory 0x50080fe0 (SPCR), 115200 (default)",
         ""},
        {0x12,
         {0, 32, 0, 3},
         UART_BASE + 0xfe4,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: no UART can be at 0x50080fe4"},
        {0x12,
         {0, 32, 0, 3},
         UART_BASE + 2,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: no UART can be at 0x50080002"},
        {0x12,
         {0, 64, 0, 3},
         UART_BASE,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: space 0, 64 bits by 3"},
        {0x12,
         {0, 12, 0, 1},
         UART_BASE,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: space 0, 12 bits by 1"},
        {0x12,
         {0, 32, 0, 4},
         UART_BASE,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: space 0, 32 bits by 4"},
        {0x12,
         {0, 32, 0, 32},
         UART_BASE,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: space 0, 32 bits by 32"},
        {0x12,
         {0, 255, 0, 255},
         UART_BASE,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: space 0, 255 bits by 255"},
        {0x12,
         {0, 32, 0, 3},
         (UINT64_C(1) << 32) + UART_BASE,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: 0x150080000 not mapped by UEFI"},
        {0x12,
         {0, 32, 0, 3},
         UINT64_MAX - 3,
         0x3f8,
         0,
         1,
         0,
         "port 0x3f8 (probed), 115200 (default)",
         "SPCR: no UART can be at 0xfffffffffffffffc"},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        spcr_of(80, 2, cases[i].type, cases[i].gas, cases[i].address);
        uart_at(1, cases[i].base < 0x10000 && cases[i].base != 0x3f8 ? (uint16_t)cases[i].base : 0x2f8);
        machine.uarts[1].stride = cases[i].stride;
        look();
        assert_string_equal(found, cases[i].found);
        assert_string_equal(remedy, cases[i].remedy);
        assert_int_equal(handoff.uart.base, cases[i].base);
        assert_int_equal(handoff.uart.in_memory, cases[i].in_memory);
        assert_int_equal(handoff.uart.stride, cases[i].stride);
        if (cases[i].in_memory)
            assert_int_equal(handoff.uart.width, cases[i].width);
        assert_int_equal(machine.uarts[0].scratch, 0x33);       /* the looking leaves no trace */
        assert_int_equal(machine.uarts[1].scratch, 0x78);
        for (unsigned at = 0; at < 0x1000; at++)
            assert_int_equal(((uint8_t *)UART_BASE)[at], 0);
    }
}

/* Its scratch register is written to, which would be memory, or a page fault in the UEFI firmware. */
static void registers_that_are_not_there_are_not_touched(void **state)
{
    static const struct {
        uint64_t address;
        uint8_t width;
        const char *remedy; /* "": it is the console */
    } cases[] = {
        {0xfedc9000, 8, ""},
        {RAM_BASE, 8, "SPCR: 0x10000000 in RAM"},
        {RAM_BASE + RAM_SIZE - 32, 32, "SPCR: 0x1fffffe0 in RAM"},
        {RAM_BASE + RAM_SIZE, 32, ""},
        {RAM_BASE - 32, 32, ""},
        {UINT64_C(1) << 32, 8, "SPCR: 0x100000000 not mapped by UEFI"},
        {UINT64_C(1) << 42, 8, ""},
        {UINT64_C(1) << 43, 8, "SPCR: 0x80000000000 beyond address width"},
    };
    (void)state;
    machine_maps(0, UINT64_C(1) << 32);
    machine_maps(UINT64_C(1) << 42, 4096);
    machine_maps(UINT64_C(1) << 43, 4096);
    handoff.ranges[handoff.range_count++] = (struct handoff_range){RAM_BASE, RAM_SIZE / 4096, HANDOFF_USABLE, 0};
    handoff.ranges[handoff.range_count++] = (struct handoff_range){0xfedc9000, 1, HANDOFF_RESERVED, 0};
    handoff.ranges[handoff.range_count++] = (struct handoff_range){UINT64_C(1) << 42, 1, HANDOFF_MMIO, 0};
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        spcr_of(80, 2, 0x12, (const uint8_t[4]){0, cases[i].width, 0, (uint8_t)(cases[i].width == 8 ? 1 : 3)},
                cases[i].address);
        look();
        assert_string_equal(remedy, cases[i].remedy);
        assert_int_equal(handoff.uart.base, *cases[i].remedy == '\0' ? cases[i].address : 0x3f8);
    }
}

static void a_table_that_is_too_short_is_none(void **state)
{
    (void)state;
    uart_at(1, 0x2f8);
    for (uint32_t size = 36; size <= 80; size++) {
        spcr_of(size < 59 ? 59 : size, 2, 0, (const uint8_t[])DELL_R7625, 0x2f8);
        uint8_t *spcr = (uint8_t *)(uintptr_t)acpi_find("SPCR", 0, 0);
        memcpy(spcr + 4, &size, 4);
        acpi_seal(spcr);
        look();
        assert_int_equal(handoff.uart.base, size < 80 ? 0x3f8 : 0x2f8);
    }
}

/* The divisor by rate and clock; 0: what the firmware has set. */
static void the_rate_is_spcrs_where_its_clock_is_known(void **state)
{
    static const struct {
        uint32_t size, revision, code, clock, precise;
        uint8_t memory;
        uint32_t divisor;
    } cases[] = {
        {80, 2, 0, 0, 0, 0, 0},
        {80, 2, 3, 0, 0, 0, 12},
        {80, 2, 4, 0, 0, 0, 6},
        {80, 2, 6, 0, 0, 0, 2},
        {80, 2, 7, 0, 0, 0, 1},
        {80, 1, 7, 0, 0, 0, 1},
        {80, 2, 1, 0, 0, 0, 0},
        {80, 2, 8, 0, 0, 0, 0},
        {80, 2, 255, 0, 0, 0, 0},
        /* In memory its clock may be any. */
        {80, 2, 7, 0, 0, 1, 0},
        {88, 3, 7, 48000000, 0, 1, 26},
        {88, 4, 7, 0, 0, 1, 0},
        {88, 4, 7, 1843200, 0, 1, 1},
        /* What was reserved before. */
        {80, 2, 7, 48000000, 0, 0, 1},
        {80, 2, 7, 48000000, 0, 1, 0},
        {88, 3, 7, 0, 9600, 0, 1},
        {88, 4, 7, 0, 9600, 0, 12},
        {88, 4, 0, 48000000, 115200, 1, 26},
        {88, 4, 7, 0, 0, 0, 1},
        {84, 4, 7, 0, 9600, 0, 12},
        {83, 4, 7, 0, 9600, 0, 1},
        {80, 4, 7, 0, 9600, 0, 1},
        /* No divisor makes it. */
        {88, 4, 7, 0, 921600, 0, 0},
        {88, 4, 7, 0, 1, 0, 0},
        {88, 4, 7, 0, 1000000000, 0, 0},
        {88, 4, 7, 0, UINT32_MAX, 0, 0},
        {88, 4, 7, 1, 0, 0, 0},
        {88, 4, 7, UINT32_MAX, 0, 0, 2330},
        {88, 4, 7, UINT32_MAX, 1, 0, 0},
        {88, 4, 7, 24000000, 0, 1, 13},
        {88, 4, 0, 0, 76800, 0, 0},
    };
    (void)state;
    uart_at(1, 0x2f8);
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        uint8_t *spcr = spcr_of(88, (uint8_t)cases[i].revision, 0x12, (const uint8_t[4]){!cases[i].memory, 8, 0, 1},
                                cases[i].memory ? UART_BASE : 0x2f8);
        spcr[58] = (uint8_t)cases[i].code;
        memcpy(spcr + 76, &cases[i].clock, 4);
        memcpy(spcr + 80, &cases[i].precise, 4);
        memcpy(spcr + 4, &cases[i].size, 4);
        acpi_seal(spcr);
        uint8_t *registers = (uint8_t *)UART_BASE;
        registers[0] = machine.uarts[1].divisor[0] = 6;
        registers[3] = machine.uarts[1].lcr = 0x1b; /* 8e1 */
        look();
        bool kept = cases[i].divisor == 0;
        assert_int_equal(handoff.uart.base, cases[i].memory ? UART_BASE : 0x2f8);
        assert_int_equal(handoff.uart.divisor, kept ? 6 : cases[i].divisor);
        assert_int_equal(handoff.uart.line, kept ? 0x1b : 0x03);
        assert_int_equal(strstr(found, "UEFI") != NULL, kept);
        if (kept && cases[i].memory && cases[i].clock == 0)
            assert_non_null(strstr(found, ", rate by UEFI"));
    }
}

/* ---- ConOut: UEFI 2.9, 10.3.3 and 10.3.4.15 ---- */

#define PCI_ROOT 2, 1, 12, 0, 0xd0, 0x41, 0x03, 0x0a, 0, 0, 0, 0
#define PCI 1, 1, 6, 0, 0, 31
#define PNP(id, uid) 2, 1, 12, 0, 0xd0, 0x41, (id) & 0xff, (id) >> 8, (uid), 0, 0, 0
#define UART_NODE(...) 3, 14, 19, 0, 0, 0, 0, 0, __VA_ARGS__, 0, 0, 0, 0, 8, 1, 1
#define BAUD_115200 0x00, 0xc2, 0x01, 0x00
#define BAUD_9600 0x80, 0x25, 0x00, 0x00
#define VT100 3, 10, 20, 0, 0xdf, 0x66, 0x04, 0xdf, 0xd4, 0x96, 0xd3, 0x11, 0x9a, 0x2d, 0, 0x90, 0x27, 0x3f, 0xc1, 0x4d
#define NEXT 0x7f, 1, 4, 0
#define END 0x7f, 0xff, 4, 0
#define COM(uid, ...) PCI_ROOT, PCI, PNP(0x0501, uid), UART_NODE(__VA_ARGS__), VT100

static void con_out(size_t size, const uint8_t *path)
{
    memcpy(machine.con_out, path, size);
    machine.con_out_size = size;
    acpi_build(2, true, true);
    machine_attach();
    look();
}
#define CON_OUT(...) con_out(sizeof(const uint8_t[]){__VA_ARGS__}, (const uint8_t[]){__VA_ARGS__})

static void else_it_is_what_the_firmware_writes_to(void **state)
{
    (void)state;
    uart_at(1, 0x2f8);
    uart_at(2, 0x3e8);
    uart_at(3, 0x2e8);
    CON_OUT(COM(1, BAUD_9600), END);
    assert_string_equal(found, "port 0x2f8 (ConOut), 9600");
    assert_string_equal(remedy, "");
    assert_int_equal(handoff.uart.base, 0x2f8);
    assert_int_equal(handoff.uart.divisor, 12);
    assert_int_equal(handoff.uart.stride, 1);
    assert_false(handoff.uart.in_memory);
    machine.uarts[2].lcr = 0x03;
    machine.uarts[2].divisor[0] = 24;
    CON_OUT(COM(2, 0, 0, 0, 0), END);
    assert_string_equal(found, "port 0x3e8 (ConOut), 4800 (UEFI)");
    assert_int_equal(handoff.uart.base, 0x3e8);
    assert_int_equal(handoff.uart.divisor, 24);     /* the firmware's default: as it is */
    CON_OUT(COM(3, BAUD_115200), END);
    assert_int_equal(handoff.uart.base, 0x2e8);
    CON_OUT(PCI_ROOT, PCI, NEXT, COM(2, BAUD_115200), NEXT, COM(1, BAUD_115200), END);
    assert_int_equal(handoff.uart.base, 0x3e8);     /* a screen first; of two ports the first */
    machine.uarts[2].port = 0;
    CON_OUT(PCI_ROOT, PCI, NEXT, COM(2, BAUD_115200), NEXT, COM(1, BAUD_115200), END);
    assert_int_equal(handoff.uart.base, 0x2f8);     /* which is not there */
    spcr_of(80, 2, 0, (const uint8_t[])DELL_R7625, 0x2e8);
    look();
    assert_int_equal(handoff.uart.base, 0x2e8);     /* SPCR is better */
}

/* Many screens and USB consoles before the port: up to 8 KiB; what is longer is said. */
static void a_long_list_of_paths_is_read_or_said(void **state)
{
    static const uint8_t port[] = {COM(1, BAUD_115200), END}, screen[] = {PCI_ROOT, PCI, NEXT};
    static uint8_t list[8193];
    (void)state;
    uart_at(1, 0x2f8);
    size_t at = 0;
    while (at + sizeof(screen) + sizeof(port) <= 8192) {
        memcpy(list + at, screen, sizeof(screen));
        at += sizeof(screen);
    }
    memcpy(list + at, port, sizeof(port));
    assert_true(at > 8000);
    con_out(8192, list);
    assert_string_equal(found, "port 0x2f8 (ConOut), 115200");
    assert_string_equal(remedy, "");
    con_out(8193, list);
    assert_string_equal(found, "port 0x3f8 (probed), 115200 (default)");
    assert_string_equal(remedy, "ConOut: 8193 bytes, not read");
    machine.uarts[0].port = machine.uarts[1].port = 0;
    look();
    assert_string_equal(remedy, "ConOut: 8193 bytes, not read; " SILENT);
}

static void a_path_that_names_no_port_of_a_pc_is_passed_over(void **state)
{
    (void)state;
    uart_at(1, 0x2f8);
#define PROBED(...)                                                      \
    CON_OUT(__VA_ARGS__);                                                \
    assert_string_equal(found, "port 0x3f8 (probed), 115200 (default)"); \
    assert_int_equal(handoff.uart.divisor, 1)
    PROBED(COM(4, BAUD_115200), END);
    PROBED(COM(255, BAUD_115200), END);
    PROBED(PCI_ROOT, PCI, UART_NODE(BAUD_115200), END);                             /* a PCI card's */
    PROBED(PCI_ROOT, PCI, PNP(0x0500, 1), UART_NODE(BAUD_115200), END);             /* no 16550 */
    PROBED(PCI_ROOT, PCI, PNP(0x0501, 1), VT100, END);
    PROBED(PCI_ROOT, PCI, PNP(0x0501, 1), NEXT, UART_NODE(BAUD_115200), END);       /* another path's */
    PROBED(PCI_ROOT, PCI, PNP(0x0501, 1), PCI, UART_NODE(BAUD_115200), END);
    PROBED(2, 1, 8, 0, 0xd0, 0x41, 0x01, 0x05, 3, 14, 19, 0, 0, 0, 0, 0, BAUD_9600, 0, 0, 0, 0, 8, 1,
           1);   /* without its UID */
    PROBED(PNP(0x0501, 1), 3, 14, 18, 0, 0, 0, 0, 0, BAUD_9600, 0, 0, 0, 0, 8, 1);
    PROBED(0, 0, 0, 0, COM(1, BAUD_115200));                                        /* lengths that are none */
    PROBED(0, 0, 3, 0, COM(1, BAUD_115200));
    PROBED(0, 0, 0xff, 0xff, COM(1, BAUD_115200));
    PROBED(END);
    PROBED(0);
    static const uint8_t whole[] = {COM(1, BAUD_115200)};
    for (size_t size = 0; size <= sizeof(whole); size++) {
        con_out(size, whole);
        assert_int_equal(handoff.uart.base, size < sizeof(whole) - 20 ? 0x3f8 : 0x2f8);
    }
    for (unsigned i = 0; i < sizeof(whole); i++) { /* any byte wrong: some port is found, and nothing read beyond */
        uint8_t spoilt[sizeof(whole)];
        for (unsigned value = 0; value < 256; value++) {
            memcpy(spoilt, whole, sizeof(whole));
            spoilt[i] = (uint8_t)value;
            con_out(sizeof(whole), spoilt);
            assert_true(handoff.uart.base == 0x3f8 || handoff.uart.base == 0x2f8);
        }
    }
}

/* ---- probing ---- */

static void else_it_is_the_first_of_a_pcs_four_that_answers(void **state)
{
    static const uint16_t ports[] = {0x3f8, 0x2f8, 0x3e8, 0x2e8};
    (void)state;
    machine_attach();
    for (unsigned first = 0; first < 4; first++) {
        char text[44];
        for (unsigned i = 0; i < 4; i++)
            uart_at(i, i >= first ? ports[i] : 0);
        look();
        text_format(text, sizeof(text), "port 0x%x (probed), 115200 (default)", ports[first]);
        assert_string_equal(found, text);
        assert_int_equal(handoff.uart.base, ports[first]);
        assert_int_equal(handoff.uart.divisor, 1);
    }
}

/* PC16550D 8.1 to 8.3. LCR is 0 after a reset, when the divisor means nothing. */
static void what_the_firmware_has_set_is_kept_where_nothing_names_a_rate(void **state)
{
    static const struct {
        uint8_t lcr;
        uint16_t before, divisor;
        uint8_t line;
        const char *found;
    } cases[] = {
        {0x03, 12, 12, 0x03, "port 0x3f8 (probed), 9600 (UEFI)"},
        {0x03, 1, 1, 0x03, "port 0x3f8 (probed), 115200 (UEFI)"},
        {0x03, 2, 2, 0x03, "port 0x3f8 (probed), 57600 (UEFI)"},
        {0x03, 3, 3, 0x03, "port 0x3f8 (probed), 38400 (UEFI)"},
        {0x03, 6, 6, 0x03, "port 0x3f8 (probed), 19200 (UEFI)"},
        {0x03, 96, 96, 0x03, "port 0x3f8 (probed), 1200 (UEFI)"},
        {0x1a, 12, 12, 0x1a, "port 0x3f8 (probed), 9600 (UEFI)"},       /* 7e1 */
        {0x07, 12, 12, 0x07, "port 0x3f8 (probed), 9600 (UEFI)"},       /* 8n2 */
        {0xc3, 12, 12, 0x03, "port 0x3f8 (probed), 9600 (UEFI)"},       /* a break; the divisor's latch */
        {0x00, 12, 1, 0x03, "port 0x3f8 (probed), 115200 (default)"},
        {0x01, 12, 1, 0x03, "port 0x3f8 (probed), 115200 (default)"},
        {0x03, 0, 1, 0x03, "port 0x3f8 (probed), 115200 (default)"},
        {0x03, 5, 1, 0x03, "port 0x3f8 (probed), 115200 (default)"},
        {0x03, 192, 1, 0x03, "port 0x3f8 (probed), 115200 (default)"},
        {0x03, 0x0c00, 1, 0x03, "port 0x3f8 (probed), 115200 (default)"},
        {0x03, 0x010c, 1, 0x03, "port 0x3f8 (probed), 115200 (default)"},
        {0x03, 0xffff, 1, 0x03, "port 0x3f8 (probed), 115200 (default)"},
    };
    (void)state;
    machine_attach();
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        machine.uarts[0].lcr = cases[i].lcr;
        machine.uarts[0].divisor[0] = (uint8_t)cases[i].before;
        machine.uarts[0].divisor[1] = (uint8_t)(cases[i].before >> 8);
        machine.uarts[0].lcr_busy = i;  /* as DesignWare's while they transmit */
        look();
        assert_string_equal(found, cases[i].found);
        assert_string_equal(remedy, "");
        assert_int_equal(handoff.uart.divisor, cases[i].divisor);
        assert_int_equal(handoff.uart.line, cases[i].line);
        assert_int_equal(machine.uarts[0].lcr, cases[i].lcr);   /* the looking leaves no trace */
        assert_int_equal(machine.uarts[0].divisor[0] | machine.uarts[0].divisor[1] << 8, cases[i].before);
    }
}

static void what_does_not_keep_a_byte_is_no_uart(void **state)
{
    (void)state;
    machine_attach();
    for (unsigned stuck = 1; stuck < 256; stuck <<= 1) {
        machine.uarts[0].stuck = (uint8_t)stuck;
        look();
        assert_int_equal(handoff.uart.base, 0);
        assert_string_equal(found, "none");
        assert_string_equal(remedy, SILENT);
    }
    spcr_of(80, 2, 3, (const uint8_t[])DELL_R7625, 0x2f8);
    look();
    assert_string_equal(found, "none");
    assert_string_equal(remedy, "SPCR: type 0x3 is no 16550; " SILENT);
}

/* ---- the row ---- */

static void the_row_says_which(void **state)
{
    (void)state;
    assert_int_equal(machine_boot(), ENTERED);
    assert_string_equal(machine_row("console")->found, "port 0x3f8 (probed), 115200 (default)");
    assert_string_equal(machine_row("console")->remedy, "");
    assert_non_null(
        strstr(machine.console,
               " ok     console              a 16550 UART           port 0x3f8 (probed), 115200 (default)\r\n"));
}

static void without_one_the_row_says_so_and_guests_run(void **state)
{
    (void)state;
    machine.uarts[0].port = 0;
    assert_int_equal(machine_boot(), ENTERED);
    assert_int_equal(handoff.uart.base, 0);
    assert_non_null(strstr(machine.console,
                           " note   console              a 16550 UART           none\r\n        -> " SILENT "\r\n"));
}

/* ---- the control guest's line ---- */

#define VIRTUAL "the control guest has its virtual UART, on hv's console"

static void wants_com2(void)
{
    struct good *good = machine_manifest();
    good->guests[1].flags |= MANIFEST_GUEST_CONTROL | MANIFEST_GUEST_SERIAL_COM2;
    good_seal(good);
}

static void assert_com2(bool is_free, const char *row_found)
{
    assert_int_equal(machine_boot(), ENTERED);
    const struct preflight_row *row = machine_row("serial = \"com2\"");
    assert_int_equal(handoff.com2_free, is_free);
    assert_int_equal(row->verdict, is_free ? PREFLIGHT_FINE : PREFLIGHT_NOTE);
    assert_string_equal(row->found, row_found);
    assert_string_equal(row->remedy, is_free ? "" : VIRTUAL);
    assert_true(machine.uarts[1].port == 0 || machine.uarts[1].scratch == 0x78);
    assert_int_equal(((uint8_t *)UART_BASE)[4 * UART_SCR], 0);
}

static void com2_is_the_control_guests_where_a_uart_is_there(void **state)
{
    (void)state;
    wants_com2();
    uart_at(1, 0x2f8);
    assert_com2(true, "port 0x2f8");
}

static void com2_is_nobodys_where_no_uart_is_there(void **state)
{
    (void)state;
    wants_com2();
    assert_com2(false, "none");
}

static void com2_is_not_given_away_where_it_is_hvs_console(void **state)
{
    (void)state;
    wants_com2();
    machine.uarts[0].port = 0;
    uart_at(1, 0x2f8);
    assert_com2(false, "hv's console");
}

/* As AMD's FCH has them. */
static void com2_is_not_given_away_where_hvs_console_is_the_same_uart_in_memory(void **state)
{
    (void)state;
    wants_com2();
    spcr_of(80, 2, 0x12, (const uint8_t[]){0, 32, 0, 3}, UART_BASE);
    machine.uarts[1].port = 0x2f8;
    machine.uarts[1].in_memory = true;
    machine.uarts[1].scratch = 0x78;
    assert_com2(false, "hv's console");
    assert_int_equal(handoff.uart.base, UART_BASE);
}

static void com2_is_the_control_guests_where_hvs_console_is_another_uart_in_memory(void **state)
{
    (void)state;
    wants_com2();
    spcr_of(80, 2, 0x12, (const uint8_t[]){0, 32, 0, 3}, UART_BASE);
    uart_at(1, 0x2f8);
    assert_com2(true, "port 0x2f8");
    assert_int_equal(handoff.uart.base, UART_BASE);
}

static void com2_is_not_looked_at_where_no_guest_wants_it(void **state)
{
    (void)state;
    uart_at(1, 0x2f8);
    assert_int_equal(machine_boot(), ENTERED);
    assert_int_equal(handoff.com2_free, 0);
    assert_null(strstr(machine.console, "com2"));
}

#define T(name) cmocka_unit_test_setup(name, machine_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_console_is_where_spcr_says_if_a_uart_answers_there),
        T(registers_that_are_not_there_are_not_touched),
        T(a_table_that_is_too_short_is_none),
        T(the_rate_is_spcrs_where_its_clock_is_known),
        T(else_it_is_what_the_firmware_writes_to),
        T(a_long_list_of_paths_is_read_or_said),
        T(a_path_that_names_no_port_of_a_pc_is_passed_over),
        T(else_it_is_the_first_of_a_pcs_four_that_answers),
        T(what_the_firmware_has_set_is_kept_where_nothing_names_a_rate),
        T(what_does_not_keep_a_byte_is_no_uart),
        T(the_row_says_which),
        T(without_one_the_row_says_so_and_guests_run),
        T(com2_is_the_control_guests_where_a_uart_is_there),
        T(com2_is_nobodys_where_no_uart_is_there),
        T(com2_is_not_given_away_where_it_is_hvs_console),
        T(com2_is_not_given_away_where_hvs_console_is_the_same_uart_in_memory),
        T(com2_is_the_control_guests_where_hvs_console_is_another_uart_in_memory),
        T(com2_is_not_looked_at_where_no_guest_wants_it),
    };
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
