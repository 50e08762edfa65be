/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before hv/console/serial.c by -include: its ports are a test's own functions. A UART in memory is memory. */
#ifndef SEVISOR_X86_H
#define SEVISOR_X86_H

#include <stdint.h>

void out8(uint16_t port, uint8_t value);
uint8_t in8(uint16_t port);

#include "boot/handoff.h"
extern uint8_t fake_uart_page[];
#undef HV_UART_PAGE
#define HV_UART_PAGE ((uintptr_t)fake_uart_page)

#endif
