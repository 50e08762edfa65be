/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Power-off and reset of a guest: the hardware-reduced sleep and reset registers
 * (ACPI 4.8.3.7, 4.8.3.6) in I/O ports that the guest's FADT names; and the two ports that reset any PC. */
#ifndef SEVISOR_VPOWER_H
#define SEVISOR_VPOWER_H

#include "hv/lib/types.h"

#define VPOWER_SLEEP_CONTROL 0x600u
#define VPOWER_SLEEP_STATUS 0x601u
#define VPOWER_RESET 0x602u
/* Keyboard controller; its commands F0h to FFh pulse the lines whose bit is 0, and bit 0 is reset. */
#define VPOWER_KEYBOARD 0x64u
/* Reset control register of chipsets: bit 2 resets the CPUs. By one byte: 0xcf8 is wider. */
#define VPOWER_PCI_RESET 0xcf9u
#define VPOWER_TIMER 0x608u     /* ACPI's power management timer (4.8.3.3), four bytes of which 24 bits count */
#define VPOWER_TIMER_HZ UINT64_C(3579545)
#define VPOWER_TIMER_MASK 0xffffffu
#define VPOWER_S5 5u            /* SLP_TYP, as the guest's \_S5 says */
#define VPOWER_RESET_VALUE 1u   /* as the guest's FADT says */

/* What a write means for the guest. */
struct vpower_verdict {
    enum { VPOWER_GOES_ON, VPOWER_OFF, VPOWER_RESETS } verdict;
    const char *reason;         /* "powered off"; NULL: it goes on */
};

/* One byte at one of these ports. */
uint8_t vpower_read(uint16_t port);
struct vpower_verdict vpower_write(uint16_t port, uint8_t value);

#endif
