/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Selects the operator's UART: SPCR, then UEFI's ConOut, then the four legacy ports; and whether a guest can have COM2. */
#include "boot/boot.h"

#include "guest/manifest.h"
#include "hv/lib/text.h"
#include "hv/lib/uart.h"

#define LEGACY_PORTS 4u
#define LEGACY_CLOCK 1843200u
#define WHY_SIZE 48u
#define CON_OUT_SIZE 8192u /* bytes of a list of device paths: boards' have some hundred */

/* Microsoft, Serial Port Console Redirection Table: offsets since revision 1; the last two since revisions 3 and 4, 0 if
 * not given. Types: Microsoft, Debug Port Table 2, table 3. */
/* clang-format off */
enum { SPCR_REVISION = 8, SPCR_TYPE = 36, SPCR_SPACE = 40, SPCR_BITS = 41, SPCR_ACCESS = 43, SPCR_ADDRESS = 44,
       SPCR_BAUD_CODE = 58, SPCR_CLOCK = 76, SPCR_SIZE = 80, SPCR_BAUD = 80 };
/* clang-format on */
enum { SPCR_16550 = 0, SPCR_16450 = 1, SPCR_16550_GAS = 0x12 };

/* UEFI 2.9, 10.3: type and subtype of a node; ACPI 6.4, 19.3.4: a 16550's id as a number. */
/* clang-format off */
enum { NODE_SIZE = 4, NODE_ACPI = 0x0201, NODE_ACPI_SIZE = 12, NODE_UART = 0x030e, NODE_UART_SIZE = 19, PNP0501 = 0x050141d0 };
/* clang-format on */

/* Of the UART that is looked at; 0: unknown. */
static uint32_t console_clock, console_baud;

static struct handoff_uart console_legacy(uint32_t index, uint32_t baud)
{
    static const uint16_t ports[LEGACY_PORTS] = {0x3f8, UART_COM2, 0x3e8, 0x2e8};
    console_clock = LEGACY_CLOCK;
    console_baud = baud;
    return (struct handoff_uart){
        .base = ports[index], .divisor = uart_divisor(LEGACY_CLOCK, baud), .stride = 1, .line = LCR_8N1};
}

static bool console_by_spcr(const uint8_t *spcr, struct handoff_uart *uart, char why[static WHY_SIZE])
{
    static const uint32_t rates[256] = {[3] = 9600, [4] = 19200, [6] = 57600, [7] = 115200};
    const uint8_t type = spcr[SPCR_TYPE], space = spcr[SPCR_SPACE], bits = spcr[SPCR_BITS], access = spcr[SPCR_ACCESS];
    const uint64_t address = number_at(spcr + SPCR_ADDRESS, 8);
    const bool io = space == ACPI_SPACE_IO;
    console_baud = spcr[SPCR_REVISION] >= 4 ? (uint32_t)acpi_field(spcr, SPCR_BAUD, 4) : 0;
    console_clock = spcr[SPCR_REVISION] >= 3 ? (uint32_t)number_at(spcr + SPCR_CLOCK, 4) : 0;
    if (console_baud == 0)
        console_baud = rates[spcr[SPCR_BAUD_CODE]];
    if (console_clock == 0 && io)
        console_clock = LEGACY_CLOCK; /* UARTs in memory have 1.8, 24 or 48 MHz: unknown, so the rate stays as it is */
    /* Access size: 1, 2, 3 for 1, 2, 4 bytes; 0: undefined, taken as 1. */
    uint8_t width = access <= 1 ? 1 : access == 2 ? 2 : 4, stride = bits / 8 > width ? bits / 8 : width;
    if (io)
        width = stride = 1; /* ports are accessed byte by byte whatever the table says, as in Linux */
    const uint64_t end = address + (UART_REGISTERS - 1u) * stride + width;
    bool fits = io ? end <= UINT16_MAX + 1u : address % width == 0 && address / PAGE_SIZE == (end - 1) / PAGE_SIZE;
    const char *fault = io ? NULL : registers_fault(address, end - address);
    if (type != SPCR_16550 && type != SPCR_16450 && type != SPCR_16550_GAS)
        text_format(why, WHY_SIZE, "SPCR: type 0x%x is no 16550", type);
    else if (space > ACPI_SPACE_IO || access > 3 || bits > 32 || bits % 8 != 0)
        text_format(why, WHY_SIZE, "SPCR: space %u, %u bits by %u", space, bits, access);
    else if (address == 0 || !fits)
        text_format(why, WHY_SIZE, "SPCR: no UART can be at 0x%lx", address);
    else if (fault != NULL)
        text_format(why, WHY_SIZE, "SPCR: 0x%lx %s", address, fault);
    else
        *uart = (struct handoff_uart){address, uart_divisor(console_clock, console_baud), !io, stride, width, LCR_8N1};
    return why[0] == '\0';
}

/* Finds the next UART in a list of device paths from *at on, and advances *at; its parent must be a legacy serial port
 * (PNP0501 with UID 0 to 3). */
static bool console_by_path(const uint8_t *path, uint64_t size, uint64_t *at, struct handoff_uart *uart)
{
    uint32_t uid = LEGACY_PORTS; /* of the node before; LEGACY_PORTS: none */
    while (size - *at >= NODE_SIZE) {
        const uint8_t *node = path + *at;
        uint32_t kind = (uint32_t)node[0] << 8 | node[1], length = node[2] | (uint32_t)node[3] << 8;
        if (length < NODE_SIZE || length > size - *at)
            return false;
        *at += length;
        if (kind == NODE_UART && length >= NODE_UART_SIZE && uid < LEGACY_PORTS) {
            *uart = console_legacy(uid, (uint32_t)number_at(node + 8, 4));
            return true;
        }
        uid = LEGACY_PORTS;
        if (kind == NODE_ACPI && length >= NODE_ACPI_SIZE && number_at(node + 4, 4) == PNP0501)
            uid = (uint32_t)number_at(node + 8, 4);
    }
    return false;
}

/* Where no rate is known: keeps what the UEFI firmware has set; or UART_BAUD if it has set nothing (a reset leaves 0 in LCR), or
 * no rate that a PC's clock makes from 1200 to 115200 baud. Returns which of them, for the row. */
static const char *console_set_rate(struct handoff_uart *uart)
{
    if (uart->divisor != 0)
        return "";
    cli(); /* the UEFI firmware's drivers write there, too */
    uint8_t line = uart_read(uart, UART_LCR);
    uart_set_lcr(uart, line | LCR_DLAB);
    uint32_t divisor = uart_read(uart, UART_DIVISOR_LOW) | (uint32_t)uart_read(uart, UART_DIVISOR_HIGH) << 8;
    uart_set_lcr(uart, line);
    sti();
    if ((line & LCR_7_OR_8_BITS) == 0 || divisor == 0 || (console_clock == LEGACY_CLOCK && 96 % divisor != 0)) {
        console_baud = UART_BAUD;
        uart->divisor = uart_divisor(LEGACY_CLOCK, UART_BAUD);
        return " (default)";
    }
    uart->divisor = divisor;
    uart->line = line & LCR_LINE;
    console_baud = console_clock / 16 / divisor;
    return " (UEFI)";
}

/* `why`: a better source was not used; "": none was. */
static bool console_take(struct handoff_uart *uart, const char *source, const char *why)
{
    char rate[24] = "rate by UEFI";
    if (!uart_answers(uart, uart))
        return false;
    const char *by = console_set_rate(uart);
    handoff.uart = *uart;
    if (console_baud != 0)
        text_format(rate, sizeof(rate), "%u%s", console_baud, by);
    table_row(why[0] == '\0' ? PREFLIGHT_FINE : PREFLIGHT_NOTE, "console", "a 16550 UART", "%s 0x%lx (%s), %s\n%s",
              uart->in_memory ? "memory" : "port", uart->base, source, rate, why);
    return true;
}

void console_find(void)
{
    struct handoff_uart uart;
    char why[WHY_SIZE] = "";
    const uint8_t *spcr = acpi_find("SPCR", SPCR_SIZE, 0);
    if (spcr != NULL && console_by_spcr(spcr, &uart, why)) {
        if (console_take(&uart, "SPCR", ""))
            return;
        text_format(why, sizeof(why), "SPCR: no answer at 0x%lx", uart.base);
    }

    /* UEFI 2.9, 3.3: device paths of the console output devices. They may name ports that do not exist. */
    EFI_GUID global = EFI_GLOBAL_VARIABLE;
    static uint8_t path[CON_OUT_SIZE];
    UINTN size = sizeof(path);
    EFI_STATUS status = boot.system->RuntimeServices->GetVariable((CHAR16[]){L"ConOut"}, &global, NULL, &size, path);
    if (status == EFI_BUFFER_TOO_SMALL)
        text_format(why, sizeof(why), "ConOut: %lu bytes, not read", size);
    for (uint64_t at = 0; !EFI_ERROR(status) && console_by_path(path, size, &at, &uart);)
        if (console_take(&uart, "ConOut", why))
            return;
    for (uint32_t i = 0; i < LEGACY_PORTS; i++) {
        uart = console_legacy(i, 0);
        if (console_take(&uart, "probed", why))
            return;
    }
    /* Guests run without a console: this refuses nothing. */
    table_row(PREFLIGHT_NOTE, "console", "a 16550 UART",
              "none\n%s%sno output, no keys: BIOS: Console Redirection = Enabled", why, why[0] != '\0' ? "; " : "");
}

void console_check_com2(void)
{
    const struct handoff_uart com2 = console_legacy(1, 0);
    bool wanted = false;
    for (uint32_t i = 0; i < boot.guests->guest_count; i++)
        wanted |= (manifest_guest(boot.guests, i)->flags & MANIFEST_GUEST_SERIAL_COM2) != 0;
    if (!wanted)
        return;
    /* hv's console may be a UART in memory that answers at the port, too. */
    bool there = uart_answers(&com2, &com2), own = handoff.uart.base != 0 && uart_answers(&com2, &handoff.uart);
    const char *found = there ? "port 0x2f8" : "none";
    handoff.com2_free = there && !own;
    table_row(handoff.com2_free ? PREFLIGHT_FINE : PREFLIGHT_NOTE, "serial = \"com2\"", "a second UART",
              "%s\nthe control guest has its virtual UART, on hv's console", own ? "hv's console" : found);
}
