/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The registers of a 16550 (PC16550D data sheet, table II), at ports or in memory: the operator's, which boot/ looks for, and
 * serial.c drives; and what vuart.c models. */
#ifndef SEVISOR_UART_H
#define SEVISOR_UART_H

#include "boot/handoff.h"
#include "hv/lib/x86.h"

/* clang-format off */
enum {
    UART_DATA = 0,              /* received; to be sent */
    UART_IER = 1, UART_IIR = 2, UART_FCR = 2, UART_LCR = 3, UART_MCR = 4, UART_LSR = 5, UART_MSR = 6, UART_SCR = 7,
    UART_REGISTERS = 8,
};
/* clang-format on */
#define UART_BAUD 115200u /* where neither a table nor what the UEFI firmware has set says another */
enum { UART_DIVISOR_LOW = 0, UART_DIVISOR_HIGH = 1 }; /* with LCR's DLAB */
#define UART_FIFO 16u
#define UART_COM2 0x2f8u

#define LCR_8N1 0x03u
#define LCR_7_OR_8_BITS 0x02u
#define LCR_LINE 0x3fu /* bits, stop bits, parity */
#define LCR_DLAB 0x80u
#define FCR_ENABLE 0x01u
#define FCR_CLEAR_RECEIVER 0x02u
#define FCR_CLEAR_TRANSMITTER 0x04u
#define MCR_DTR 0x01u
#define MCR_RTS 0x02u
#define LSR_DATA_READY 0x01u
#define LSR_OVERRUN 0x02u
#define LSR_PARITY 0x04u
#define LSR_FRAMING 0x08u
#define LSR_BREAK 0x10u
#define LSR_THR_EMPTY 0x20u
#define LSR_TRANSMITTER_EMPTY 0x40u

/* `base` is where this address space has it. */
static inline uint8_t uart_read(const struct handoff_uart *uart, uint32_t index)
{
    uint64_t at = uart->base + index * uart->stride;
    if (!uart->in_memory)
        return in8((uint16_t)at);
    const volatile void *registers = (const volatile void *)(uintptr_t)at;
    return uart->width == 1   ? *(const volatile uint8_t *)registers
           : uart->width == 2 ? (uint8_t)*(const volatile uint16_t *)registers
                              : (uint8_t)*(const volatile uint32_t *)registers;
}

static inline void uart_write(const struct handoff_uart *uart, uint32_t index, uint8_t value)
{
    uint64_t at = uart->base + index * uart->stride;
    volatile void *registers = (volatile void *)(uintptr_t)at;
    if (!uart->in_memory)
        out8((uint16_t)at, value);
    else if (uart->width == 1)
        *(volatile uint8_t *)registers = value;
    else if (uart->width == 2)
        *(volatile uint16_t *)registers = value;
    else
        *(volatile uint32_t *)registers = value;
}

/* Until the register has it: DesignWare's, as in AMD's FCH, ignore the write while they transmit. */
static inline void uart_set_lcr(const struct handoff_uart *uart, uint8_t value)
{
    for (uint32_t tries = 100000; tries > 0 && uart_read(uart, UART_LCR) != value; tries--)
        uart_write(uart, UART_LCR, value);
}

/* Whether a UART is there: what is written to its scratch register is read by `seen_by`, itself or another, which is the same
 * UART then. The register is put back. */
static inline bool uart_answers(const struct handoff_uart *uart, const struct handoff_uart *seen_by)
{
    uint8_t old = uart_read(uart, UART_SCR);
    uart_write(uart, UART_SCR, 0x5a);
    bool first = uart_read(seen_by, UART_SCR) == 0x5a;
    uart_write(uart, UART_SCR, 0xa5);
    bool second = uart_read(seen_by, UART_SCR) == 0xa5;
    uart_write(uart, UART_SCR, old);
    return first && second;
}

/* 0, which leaves things alone, where this clock does not make this rate: a receiver stands 3 %. */
static inline uint32_t uart_divisor(uint32_t clock, uint32_t baud)
{
    uint64_t each = UINT64_C(16) * baud, divisor = baud == 0 ? 0 : (clock + each / 2) / each;
    uint64_t made = divisor * each, error = made > clock ? made - clock : clock - made;
    return divisor > UINT16_MAX || error * 32 > clock ? 0 : (uint32_t)divisor;
}

#endif
