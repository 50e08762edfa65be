/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's 16550 UART, 115200 8N1 (PC16550D data sheet). Never waits. */
#ifndef SEVISOR_SERIAL_H
#define SEVISOR_SERIAL_H

#include "types.h"

/* Port 0 or an absent UART: everything that follows does nothing. */
void serial_init(uint16_t port);
bool serial_present(void);
/* As many bytes as the transmitter takes now. */
size_t serial_write(const char *bytes, size_t count);
/* True when the last bit of what was written has left. */
bool serial_idle(void);
/* A received byte, or -1. */
int serial_read(void);

#endif
