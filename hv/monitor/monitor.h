/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Console input: bytes go to the attached guest, the byte after the escape key is a command. On the boot CPU. */
#ifndef SEVISOR_MONITOR_H
#define SEVISOR_MONITOR_H

#include "hv/lib/types.h"

#define MONITOR_ESCAPE 0x1du        /* Ctrl-] */

/* Processes pending console input, and shows guests' output that has no newline yet. Called by the boot CPU's loop, between
 * the steps of jobs and the vCPUs' time slices; blocks on nothing but the serial line. */
void monitor_poll(void);
/* Longest time until the next monitor_poll(). In between console_drain() is enough to lose no input. */
uint32_t monitor_poll_us(void);
/* Reports lost input that was not reported yet. */
void monitor_report_losses(void);

#endif
