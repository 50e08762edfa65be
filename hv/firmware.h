/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The end of the machine; UEFI runtime services, which run at their physical addresses in tables of their own. */
#ifndef SEVISOR_FIRMWARE_H
#define SEVISOR_FIRMWARE_H

#include "../boot/handoff.h"
#include "types.h"

/* What machine_power_off() and machine_reset() need first of all: from then on panics power off. */
void firmware_end_init(const struct handoff *handoff);
/* Builds the address space, which the firmware can be asked in from then on. */
void firmware_init(const struct handoff *handoff);
/* After the next reset the firmware starts the boot option that follows this one in its order: *option. False: none
 * does, this one was not started by the order, or the firmware does not keep it. Then the order begins anew. */
bool firmware_boot_next(uint16_t *option);

#endif
