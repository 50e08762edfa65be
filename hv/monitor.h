/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's line: guests' output with prefix, input to the attached guest, escape key. */
#ifndef SEVISOR_MONITOR_H
#define SEVISOR_MONITOR_H

#include "types.h"

#define MONITOR_ESCAPE 0x1du        /* Ctrl-] */
#define MONITOR_PROMPT_US 50000u    /* a line without newline is shown after so much silence */

void monitor_init(void);
/* Takes pending operator input and shows prompts that have no newline yet. Called at every
 * time slice and while idle; never waits. */
void monitor_poll(void);
/* A byte from a guest's UART. */
void monitor_guest_output(uint32_t guest, uint8_t byte);

/* The guest's launch is over: its last line is shown, though it has no newline.
 * `for_good`: it will not be launched again; the operator's input leaves it. */
void monitor_guest_ended(uint32_t guest, bool for_good);

/* One whole line of hv's own, from the line's start, without the log's stamp:
 * tables and what tests and guest owners read. No newline in `format`. */
void monitor_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
