/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The operator's line: guests' output with prefix, input to the attached guest, escape key.
 *
 * Output comes from any CPU. Each of log_print(), monitor_print(), monitor_guest_output(), monitor_guest_ended(),
 * monitor_show_prompts() and monitor_clear_screen() has the console to itself from its entry to its end, and
 * calls none of the others. Input and its answers are the boot CPU's, and hold nothing while they work.
 */
#ifndef SEVISOR_MONITOR_H
#define SEVISOR_MONITOR_H

#include "hv/lib/types.h"

#define MONITOR_ESCAPE 0x1du        /* Ctrl-] */
#define MONITOR_PROMPT_US 50000u    /* a line without newline is shown after so much silence */
#define MONITOR_TOP_US 2000000u     /* between two views that follow each other */
#define MONITOR_NOBODY UINT32_MAX

void monitor_init(void);
/* Takes pending operator input, answers it, and shows prompts that have no newline yet. Called on the
 * boot CPU at every time slice, while idle, and wherever hv waits or works for long, also in the
 * middle of a launch or an end: it never waits for anything but the line itself, asks nothing of the
 * secure processor, takes and returns no resource, and ends guests by guest_end()'s mark only. */
void monitor_poll(void);
/* How soon it wants to be called again. In between console_drain() is enough to lose nothing that comes in. */
uint32_t monitor_poll_us(void);
/* A byte from a guest's UART. */
void monitor_guest_output(uint32_t guest, uint8_t byte);

/* The guest's launch is over: its last line is shown, though it has no newline.
 * `for_good`: it will not be launched again; the operator's input leaves it. */
void monitor_guest_ended(uint32_t guest, bool for_good);

/* One whole line of hv's own, from the line's start, without the log's stamp:
 * tables and what tests and guest owners read. No newline in `format`. */
void monitor_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* ---- monitor.c for monitor_input.c and monitor_view.c ---- */

/* Who gets the operator's input: a guest, or MONITOR_NOBODY. */
void monitor_attach(uint32_t guest);
uint32_t monitor_attached(void);
void monitor_show_prompts(void);
void monitor_clear_screen(void);
/* The guest's last MONITOR_SCROLL_LINES lines, also after its end. */
#define MONITOR_SCROLL_LINES 100u
void monitor_scroll_back(uint32_t guest);

/* monitor_input.c: forgets half-typed commands. */
void monitor_input_init(void);
/* monitor_input.c: says which input was lost and was not told yet. */
void monitor_tell_losses(void);

#endif
