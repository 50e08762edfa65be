/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The monitor's views of guests and machine. On the boot CPU. */
#ifndef SEVISOR_MONITOR_VIEW_H
#define SEVISOR_MONITOR_VIEW_H

#include "hv/lib/types.h"

/* The first view shows the time since this call. */
void monitor_view_init(void);
/* Since the previous view, per guest: state, share of one CPU's time, exits per second by kind, memory, time since launch,
 * launches; per CPU: idle share, interrupts. `again`: redraws the previous view where colour is on. At most
 * monitor_top_lines() lines of 79 columns. */
void monitor_top(bool again);
uint32_t monitor_top_lines(void);
/* hv, its resources, the secure processor, the console's settings. */
void monitor_information(void);
#define MONITOR_INFORMATION_LINES 6u

#endif
