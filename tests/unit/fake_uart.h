/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's 16550 at I/O ports, whose transmitter is always ready: what hv prints by its own console is seen a line at a
 * time, and what the operator types is there at once. */
#ifndef TESTS_UNIT_FAKE_UART_H
#define TESTS_UNIT_FAKE_UART_H

#include <stddef.h>

#include "boot/handoff.h"

#define FAKE_UART_PORT 0x3f8u

/* For console_init(). */
extern const struct handoff_uart fake_uart;
/* The operator types these, instead of what has not been read yet. */
void fake_uart_type(const char *keys, size_t count);
extern bool fake_uart_stuck; /* nothing is transmitted */

/* For in8() and out8(). */
static inline bool fake_uart_is_at(uint16_t port)
{
    return port >= FAKE_UART_PORT && port < FAKE_UART_PORT + 8;
}
uint8_t fake_uart_read(uint16_t port);
void fake_uart_write(uint16_t port, uint8_t value);

/* Each byte that was printed, but CR; NULL: nobody wants it. */
extern void (*fake_uart_sent)(uint8_t byte);

/* The program's: what was printed, without CR and LF; of a message of hv/console/log.c without the time. */
void fake_uart_printed(const char *line);

#endif
