/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* UEFI runtime services, which run at their physical addresses in tables of their own. */
#ifndef SEVISOR_FIRMWARE_H
#define SEVISOR_FIRMWARE_H

#include "../boot/handoff.h"

/* Builds the address space. Without runtime services, power-off ends in a halt. */
void firmware_init(const struct handoff *handoff);

#endif
