/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The operator's keys: what is typed goes to the attached guest, but for what follows the escape key. Input and its answers
 * are the boot CPU's. monitor_clear_screen() takes the console lock.
 */
#ifndef SEVISOR_MONITOR_H
#define SEVISOR_MONITOR_H

#include "hv/lib/types.h"

#define MONITOR_ESCAPE 0x1du        /* Ctrl-] */
#define MONITOR_TOP_US 2000000u     /* between two views that follow each other */
#define MONITOR_NOBODY UINT32_MAX

void monitor_init(void);
/* Takes pending operator input, answers it, and shows prompts that have no newline yet. Called in the
 * boot CPU's loop, between the steps of jobs and the vCPUs' time slices: it waits for nothing but the line itself. */
void monitor_poll(void);
/* How soon it wants to be called again. In between console_drain() is enough to lose nothing that comes in. */
uint32_t monitor_poll_us(void);


/* ---- monitor.c for monitor_input.c and monitor_view.c ---- */

/* Who gets the operator's input: a guest, or MONITOR_NOBODY. */
void monitor_attach(uint32_t guest);
/* The attached guest has ended for good: the input leaves it. */
void monitor_detach_ended(void);
uint32_t monitor_attached(void);
void monitor_clear_screen(void);

/* monitor_input.c: forgets half-typed commands. */
void monitor_input_init(void);
/* monitor_input.c: reports input that was lost and not reported yet. Also before the machine ends. */
void monitor_tell_losses(void);

#endif
