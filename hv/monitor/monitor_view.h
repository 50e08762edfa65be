/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the operator asks for in numbers. On the boot CPU. */
#ifndef SEVISOR_MONITOR_VIEW_H
#define SEVISOR_MONITOR_VIEW_H

#include "hv/lib/types.h"

/* The first view counts from here. */
void monitor_view_init(void);
/* Per guest: state, share of one CPU's time, exits per second by kind, memory, this launch's age, launches;
 * per CPU: idle share, interrupts. Since the view before. `again`: it redraws the one before, if the
 * terminal can. At most monitor_top_lines() lines of 79 columns. */
void monitor_top(bool again);
uint32_t monitor_top_lines(void);
/* hv, its resources, the secure processor, the console's own state. */
void monitor_information(void);
#define MONITOR_INFORMATION_LINES 6u

#endif
