/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's 16550, in I/O ports or memory: what fits into its FIFO is written, nothing is waited for. */
#include "hv/console/serial.h"

#include "hv/lib/uart.h"

/* Reading LSR clears them. The last three are of the byte that is next in the FIFO. */
#define LSR_ERRORS (LSR_OVERRUN | LSR_PARITY | LSR_FRAMING | LSR_BREAK)
#define LSR_NO_UART 0xffu           /* what is read where nothing answers */

static struct handoff_uart serial;      /* base 0: none */
static uint8_t errors_seen;         /* receiver errors found while LSR was read for the transmitter */
static uint32_t overruns;
static bool input_allowed;

static uint8_t line_status(void)
{
    uint8_t status = uart_read(&serial, UART_LSR);
    if (status == LSR_NO_UART)
        return LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY;
    errors_seen |= status & LSR_ERRORS;
    return status | errors_seen;
}

void serial_allow_input(bool allowed)
{
    if (serial.base == 0 || allowed == input_allowed)
        return;
    input_allowed = allowed;
    uart_write(&serial, UART_MCR, (uint8_t)(MCR_DTR | (allowed ? MCR_RTS : 0)));
}

void serial_init(const struct handoff_uart *uart)
{
    serial = *uart;
    errors_seen = 0;
    overruns = 0;
    input_allowed = true;
    if (serial.base == 0)
        return;
    if (serial.in_memory)
        serial.base = HV_UART_PAGE + serial.base % PAGE_SIZE;
    uart_write(&serial, UART_IER, 0);
    uart_set_lcr(&serial, LCR_DLAB);
    uart_write(&serial, UART_DIVISOR_LOW, (uint8_t)serial.divisor);
    uart_write(&serial, UART_DIVISOR_HIGH, (uint8_t)(serial.divisor >> 8));
    uart_set_lcr(&serial, serial.line);
    uart_write(&serial, UART_FCR, FCR_ENABLE | FCR_CLEAR_RECEIVER | FCR_CLEAR_TRANSMITTER);
    uart_write(&serial, UART_MCR, MCR_DTR | MCR_RTS);
    if (!uart_answers(&serial, &serial))
        serial.base = 0;
}

bool serial_present(void)
{
    return serial.base != 0;
}

size_t serial_write(const char *bytes, size_t count)
{
    if (serial.base == 0 || (line_status() & LSR_THR_EMPTY) == 0)
        return 0;
    size_t n = count < UART_FIFO ? count : UART_FIFO;
    for (size_t i = 0; i < n; i++)
        uart_write(&serial, UART_DATA, (uint8_t)bytes[i]);
    return n;
}

bool serial_idle(void)
{
    return serial.base == 0 || (line_status() & LSR_TRANSMITTER_EMPTY) != 0;
}

int serial_read(void)
{
    uint8_t status = serial.base == 0 ? 0 : line_status();
    if ((status & LSR_DATA_READY) == 0)
        return SERIAL_NOTHING;
    uint8_t byte = uart_read(&serial, UART_DATA);
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
