/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's keys: what is typed goes to the attached guest, but for what follows the escape key. On the boot CPU. */
#ifndef SEVISOR_MONITOR_H
#define SEVISOR_MONITOR_H

#include "hv/lib/types.h"

#define MONITOR_ESCAPE 0x1du        /* Ctrl-] */
#define MONITOR_TOP_US 2000000u     /* between two views that follow each other */

void monitor_init(void);
/* Takes pending operator input, answers it, and shows prompts that have no newline yet. Called in the
 * boot CPU's loop, between the steps of jobs and the vCPUs' time slices: it waits for nothing but the line itself. */
void monitor_poll(void);
/* How soon it wants to be called again. In between console_drain() is enough to lose nothing that comes in. */
uint32_t monitor_poll_us(void);
/* Reports input that was lost and not reported yet; also before the machine ends. */
void monitor_tell_losses(void);

#endif
