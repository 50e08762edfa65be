/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: the instructions are machine.c's, and a UART in memory; and hv's arena is where a process
 * may have one. */
#ifndef TESTS_UNIT_BOOT_FAKE_X86_H
#define TESTS_UNIT_BOOT_FAKE_X86_H

#include "boot/handoff.h"
#include "../fake_x86.h"

#define uart_answers real_uart_answers
#include "hv/lib/uart.h"
#undef uart_answers
#define uart_answers fake_uart_answers
bool fake_uart_answers(const struct handoff_uart *uart);

#undef HV_ARENA_BASE
#define HV_ARENA_BASE UINT64_C(0x200000000000)

#endif
