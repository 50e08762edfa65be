/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which guest is attached, i.e. gets console input. On the boot CPU. */
#ifndef SEVISOR_MONITOR_ATTACH_H
#define SEVISOR_MONITOR_ATTACH_H

#include "hv/lib/types.h"

#define MONITOR_NOBODY UINT32_MAX

/* A guest, or MONITOR_NOBODY. */
void monitor_attach(uint32_t guest);
uint32_t monitor_attached(void);
/* Detaches a guest that has ended and is not launched again. */
void monitor_detach_ended(void);

#endif
