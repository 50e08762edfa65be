/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which guest gets the operator's input. On the boot CPU. */
#ifndef SEVISOR_MONITOR_ATTACH_H
#define SEVISOR_MONITOR_ATTACH_H

#include "hv/lib/types.h"

#define MONITOR_NOBODY UINT32_MAX

/* A guest, or MONITOR_NOBODY. */
void monitor_attach(uint32_t guest);
uint32_t monitor_attached(void);
/* The attached guest has ended for good: the input leaves it. */
void monitor_detach_ended(void);
/* Takes the console lock. */
void monitor_clear_screen(void);

#endif
