/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The end of the machine; UEFI runtime services, which run at their physical addresses in tables of their own. */
#ifndef SEVISOR_UEFI_H
#define SEVISOR_UEFI_H

#include "boot/handoff.h"
#include "hv/lib/types.h"

/* What machine_power_off() and machine_reset() need first of all: from then on panics power off. */
void uefi_end_init(const struct handoff *handoff);
/* Builds the address space, which the UEFI firmware can be asked in from then on; or logs why it cannot. */
void uefi_init(const struct handoff *handoff);

/* By ACPI, else by the UEFI firmware, else a reset by the chipset; never returns. After a reset it starts the boot
 * option that follows this one in its order, if one does and it keeps BootNext (UEFI 3.3). */
_Noreturn void machine_power_off(void);
_Noreturn void machine_reset(void);

struct trap_frame;
/* An exception, or the timer, in what was to end the machine: it goes on behind it. False: it was not there. */
bool end_catch(struct trap_frame *frame, const char *what);
/* Another CPU ends the machine (shutdown.h): this one halts, or takes its place, should it not come back from a call of the
 * UEFI firmware or from a write to ACPI's register. On NMI,
 * and where shutdown_begin() says so. */
_Noreturn void end_elsewhere(void);

#endif
