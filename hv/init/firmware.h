/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The end of the machine; UEFI runtime services, which run at their physical addresses in tables of their own. */
#ifndef SEVISOR_FIRMWARE_H
#define SEVISOR_FIRMWARE_H

#include "boot/handoff.h"
#include "hv/lib/types.h"

/* What machine_power_off() and machine_reset() need first of all: from then on panics power off. */
void firmware_end_init(const struct handoff *handoff);
/* Builds the address space, which the firmware can be asked in from then on; or logs why it cannot. */
void firmware_init(const struct handoff *handoff);

#endif
