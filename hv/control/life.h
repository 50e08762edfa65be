/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guests' lives: who is launched, ended, launched again, and when all is over. On the boot CPU. */
#ifndef SEVISOR_LIFE_H
#define SEVISOR_LIFE_H

#include "boot/handoff.h"
#include "hv/vm/guest.h"

/* Checks the manifest again, copies its table, begins all guests' launches, in order: jobs_step() goes on with them.
 * A guest that cannot run is refused with its reason; the others run. */
void life_begin(const struct handoff *handoff);
/* guest_ends_noted(): begins the ends of those whose vCPUs are on no run queue any more. */
void life_look_for_ends(void);
/* The operator wants a guest that has ended, or was refused, launched again. False: it is none of these. */
bool life_launch_again(struct guest *guest);
/* A guest runs, or there is a job. */
bool life_goes_on(void);
/* The closing table: each guest's name, end, reason. Returns true when all ended as expected
 * (POWEROFF, or RESET with restarts used up). */
bool life_summary(void);

#endif
