/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Reports for the operator and for guest owners. */
#ifndef SEVISOR_REPORT_H
#define SEVISOR_REPORT_H

#include "hv/vm/guest.h"

/* After a launch: cycles per phase, commands, bytes, memory; for an encrypted guest the
 * digest that the packer computed, and the line that its owner checks:
 * "measurement NAME: <64 hex> nonce <32 hex> policy 0x1 api 1.55 build 5". */
void report_launch(const struct guest *guest);
/* One line when a guest has ended. */
void report_end(const struct guest *guest);
/* The monitor's list of all guests. */
void report_guests(void);
/* The summary: each guest's name, end, reason; and the last line. True: all ended as expected (POWEROFF, or RESET without a restart
 * left). */
bool report_summary(void);

#endif
