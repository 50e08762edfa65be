/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's 16550 UART (PC16550D data sheet). Never waits. */
#ifndef SEVISOR_SERIAL_H
#define SEVISOR_SERIAL_H

#include "boot/handoff.h"
#include "hv/lib/types.h"

/* None (base 0) or an absent UART: everything that follows does nothing. */
void serial_init(const struct handoff_uart *uart);
bool serial_present(void);
/* As many bytes as the transmitter takes now. */
size_t serial_write(const char *bytes, size_t count);
/* True when the last bit of what was written has left. */
bool serial_idle(void);
/* A received byte, or one of these. A break is no data; a byte with a parity or framing error is thrown away. */
enum { SERIAL_NOTHING = -1, SERIAL_BREAK = 0x100, SERIAL_GARBLED = 0x101 };
int serial_read(void);
/* How often the receiver's FIFO overflowed since the last call: at least one byte was lost each time. */
uint32_t serial_overruns(void);
/* RTS, which is asserted at first: whether the other side may send. A line of three wires does not carry it. */
void serial_allow_input(bool allowed);

#endif
