/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: the instructions are the program's, and hv's pool, and a UART in memory, are where this
 * process has memory. */
#ifndef TESTS_UNIT_HV_DEVICES_FAKE_X86_H
#define TESTS_UNIT_HV_DEVICES_FAKE_X86_H

#include "boot/handoff.h"

#define clflush(...) real_clflush(__VA_ARGS__)
#include "../fake_x86.h"
#undef clflush
void clflush(const void *va);

extern uint8_t *fake_arena, fake_uart_page[];
#undef HV_ARENA_BASE
#undef HV_UART_PAGE
#define HV_ARENA_BASE ((uint64_t)fake_arena)
#define HV_UART_PAGE ((uintptr_t)fake_uart_page)

#endif
