/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "serial.h"

#include "x86.h"

enum { UART_DATA = 0, UART_IER = 1, UART_FCR = 2, UART_LCR = 3, UART_MCR = 4, UART_LSR = 5, UART_SCR = 7 };

#define UART_FIFO_SIZE 16u
#define UART_DIVISOR_115200 1u
#define LCR_8N1 0x03u
#define LCR_DLAB 0x80u
#define FCR_ENABLE_AND_CLEAR 0x07u
#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define LSR_DATA_READY 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_PARITY 0x04u
#define LSR_FRAMING 0x08u
#define LSR_BREAK 0x10u
#define LSR_THR_EMPTY 0x20u
#define LSR_TRANSMITTER_EMPTY 0x40u
/* Reading LSR clears them. The last three are of the byte that is next in the FIFO. */
#define LSR_ERRORS (LSR_OVERRUN | LSR_PARITY | LSR_FRAMING | LSR_BREAK)
#define LSR_NO_UART 0xffu           /* what is read where nothing answers */

static uint16_t serial_port;
static uint8_t errors_seen;         /* whoever looked at LSR last was not interested in the receiver */
static uint32_t overruns;
static bool input_allowed;

static uint8_t line_status(void)
{
    uint8_t status = in8((uint16_t)(serial_port + UART_LSR));
    if (status == LSR_NO_UART)
        return LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY;
    errors_seen |= status & LSR_ERRORS;
    return status | errors_seen;
}

void serial_allow_input(bool allowed)
{
    if (serial_port == 0 || allowed == input_allowed)
        return;
    input_allowed = allowed;
    out8((uint16_t)(serial_port + UART_MCR), (uint8_t)(MCR_DTR | (allowed ? MCR_RTS : 0)));
}

void serial_init(uint16_t port)
{
    serial_port = 0;
    errors_seen = 0;
    overruns = 0;
    input_allowed = true;
    if (port == 0)
        return;
    out8((uint16_t)(port + UART_IER), 0);
    out8((uint16_t)(port + UART_LCR), LCR_DLAB);
    out8((uint16_t)(port + UART_DATA), UART_DIVISOR_115200);
    out8((uint16_t)(port + UART_IER), 0);
    out8((uint16_t)(port + UART_LCR), LCR_8N1);
    out8((uint16_t)(port + UART_FCR), FCR_ENABLE_AND_CLEAR);
    out8((uint16_t)(port + UART_MCR), MCR_DTR | MCR_RTS);
    out8((uint16_t)(port + UART_SCR), 0x5a);
    if (in8((uint16_t)(port + UART_SCR)) == 0x5a)
        serial_port = port;
}

bool serial_present(void)
{
    return serial_port != 0;
}

size_t serial_write(const char *bytes, size_t count)
{
    if (serial_port == 0 || (line_status() & LSR_THR_EMPTY) == 0)
        return 0;
    size_t n = count < UART_FIFO_SIZE ? count : UART_FIFO_SIZE;
    for (size_t i = 0; i < n; i++)
        out8((uint16_t)(serial_port + UART_DATA), (uint8_t)bytes[i]);
    return n;
}

bool serial_idle(void)
{
    return serial_port == 0 || (line_status() & LSR_TRANSMITTER_EMPTY) != 0;
}

int serial_read(void)
{
    uint8_t status = serial_port == 0 ? 0 : line_status();
    if ((status & LSR_DATA_READY) == 0)
        return SERIAL_NOTHING;
    uint8_t byte = in8((uint16_t)(serial_port + UART_DATA));
    overruns += (status & LSR_OVERRUN) != 0;
    errors_seen = 0;
    if ((status & LSR_BREAK) != 0)
        return SERIAL_BREAK;
    return (status & (LSR_PARITY | LSR_FRAMING)) != 0 ? SERIAL_GARBLED : byte;
}

uint32_t serial_overruns(void)
{
    uint32_t count = overruns;
    overruns = 0;
    return count;
}
