/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "serial.h"

#include "x86.h"

enum { UART_DATA = 0, UART_IER = 1, UART_FCR = 2, UART_LCR = 3, UART_MCR = 4, UART_LSR = 5, UART_SCR = 7 };

#define UART_FIFO_SIZE 16u
#define UART_DIVISOR_115200 1u
#define LCR_8N1 0x03u
#define LCR_DLAB 0x80u
#define FCR_ENABLE_AND_CLEAR 0x07u
#define MCR_DTR_RTS 0x03u
#define LSR_DATA_READY 0x01u
#define LSR_THR_EMPTY 0x20u
#define LSR_TRANSMITTER_EMPTY 0x40u

static uint16_t serial_port;

void serial_init(uint16_t port)
{
    serial_port = 0;
    if (port == 0)
        return;
    out8((uint16_t)(port + UART_IER), 0);
    out8((uint16_t)(port + UART_LCR), LCR_DLAB);
    out8((uint16_t)(port + UART_DATA), UART_DIVISOR_115200);
    out8((uint16_t)(port + UART_IER), 0);
    out8((uint16_t)(port + UART_LCR), LCR_8N1);
    out8((uint16_t)(port + UART_FCR), FCR_ENABLE_AND_CLEAR);
    out8((uint16_t)(port + UART_MCR), MCR_DTR_RTS);
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
    if (serial_port == 0 || (in8((uint16_t)(serial_port + UART_LSR)) & LSR_THR_EMPTY) == 0)
        return 0;
    size_t n = count < UART_FIFO_SIZE ? count : UART_FIFO_SIZE;
    for (size_t i = 0; i < n; i++)
        out8((uint16_t)(serial_port + UART_DATA), (uint8_t)bytes[i]);
    return n;
}

bool serial_idle(void)
{
    return serial_port == 0 || (in8((uint16_t)(serial_port + UART_LSR)) & LSR_TRANSMITTER_EMPTY) != 0;
}

int serial_read(void)
{
    if (serial_port == 0 || (in8((uint16_t)(serial_port + UART_LSR)) & LSR_DATA_READY) == 0)
        return -1;
    return in8((uint16_t)(serial_port + UART_DATA));
}
