/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which writes to which ports end a guest, and how. */
#include "hv/dev/vpower.h"

#define SLP_TYP(value) ((value) >> 2 & 7u)
#define SLP_EN 0x20u
#define WAK_STS 0x80u
#define PULSE_MASK 0xf1u
#define PULSE_RESET 0xf0u
#define RST_CPU 0x04u

/* There is no sleep but S5. A guest that asks for another state is awake again at once,
 * which is what its wait for WAK_STS finds. */
uint8_t vpower_read(uint16_t port)
{
    if (port == VPOWER_KEYBOARD)
        return 0xff;                /* there is no keyboard */
    return port == VPOWER_SLEEP_STATUS ? WAK_STS : 0;
}

struct vpower_verdict vpower_write(uint16_t port, uint8_t value)
{
    if (port == VPOWER_SLEEP_CONTROL && (value & SLP_EN) != 0 && SLP_TYP(value) == VPOWER_S5)
        return (struct vpower_verdict){VPOWER_OFF, "powered off"};
    if (port == VPOWER_RESET && value == VPOWER_RESET_VALUE)
        return (struct vpower_verdict){VPOWER_RESETS, "asked for a reset"};
    if (port == VPOWER_KEYBOARD && (value & PULSE_MASK) == PULSE_RESET)
        return (struct vpower_verdict){VPOWER_RESETS, "asked the keyboard controller for a reset"};
    if (port == VPOWER_PCI_RESET && (value & RST_CPU) != 0)
        return (struct vpower_verdict){VPOWER_RESETS, "asked the chipset for a reset (port 0xcf9)"};
    return (struct vpower_verdict){VPOWER_GOES_ON, NULL};
}
