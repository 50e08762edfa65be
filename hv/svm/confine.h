/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Code that may disable interrupts and never return: it runs in guest mode on the CPU that calls it, with that CPU's registers,
 * memory, ports and MSRs. Nothing exits but interrupts, which the host's RFLAGS.IF masks there, not the code's own (APM2 15.21). */
#ifndef SEVISOR_CONFINE_H
#define SEVISOR_CONFINE_H

#include "hv/lib/types.h"

/* What follows runs in guest mode, until confine_end(), which may be called from its exceptions' handlers, too. An interrupt's handler
 * runs in host mode, and may leave it for good. On a CPU without SVM (yet), nothing changes. Interrupts are on. No guest
 * runs on this CPU any more, and this is the only CPU that does so. */
void confine_begin(void);
/* Interrupts are off afterwards if it was confined. */
void confine_end(void);
/* Where an interrupt has really come, by its frame's RIP. */
uint64_t confine_rip(uint64_t rip);

#endif
