/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Lifecycle of guests: when they are launched, ended and launched again. On the boot CPU. */
#ifndef SEVISOR_LIFECYCLE_H
#define SEVISOR_LIFECYCLE_H

#include "boot/handoff.h"
#include "hv/vm/guest.h"

/* Checks the manifest, copies its table, and starts a launch job for each guest. A guest that cannot run is refused with its
 * reason; the others run. */
void lifecycle_begin(const struct handoff *handoff);
/* After guest_ends_noted(): starts the teardown of ending guests whose vCPUs are on no run queue any more. */
void lifecycle_begin_ends(void);
/* Launches a guest again that has ended or was refused. False: it is in another state. */
bool lifecycle_relaunch(struct guest *guest);
/* A guest runs, or a job is active. */
bool lifecycle_active(void);

#endif
