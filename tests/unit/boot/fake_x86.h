/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: the instructions are machine.c's, and a UART in memory; and hv's arena is where a process
 * may have one. */
#ifndef TESTS_UNIT_BOOT_FAKE_X86_H
#define TESTS_UNIT_BOOT_FAKE_X86_H

#include "boot/handoff.h"
#include "../fake_x86.h"

#include "hv/lib/uart.h"
#define uart_answers(uart, seen_by) uart_answers(fake_uart_place(uart), fake_uart_place(seen_by))
#define uart_read(uart, index) uart_read(fake_uart_place(uart), index)
#define uart_set_lcr(uart, value) uart_set_lcr(fake_uart_place(uart), value)
const struct handoff_uart *fake_uart_place(const struct handoff_uart *uart);

#undef HV_ARENA_BASE
#define HV_ARENA_BASE UINT64_C(0x200000000000)

#endif
