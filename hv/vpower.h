/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Power-off and reset of a guest: the hardware-reduced sleep and reset registers
 * (ACPI 4.8.3.7, 4.8.3.6) in I/O ports that the guest's FADT names. */
#ifndef SEVISOR_VPOWER_H
#define SEVISOR_VPOWER_H

#include "types.h"

struct guest;

#define VPOWER_SLEEP_CONTROL 0x600u
#define VPOWER_SLEEP_STATUS 0x601u
#define VPOWER_RESET 0x602u
#define VPOWER_S5 5u            /* SLP_TYP, as the guest's \_S5 says */
#define VPOWER_RESET_VALUE 1u   /* as the guest's FADT says */

/* One byte at one of the three ports. A write may end the guest (guest->end). */
uint8_t vpower_read(uint16_t port);
void vpower_write(struct guest *guest, uint16_t port, uint8_t value);

#endif
