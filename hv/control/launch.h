/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Executes the manifest's launch program for one guest. */
#ifndef SEVISOR_LAUNCH_H
#define SEVISOR_LAUNCH_H

#include "hv/vm/guest.h"

/* Launches guest->config. False: refused, guest->end_reason says why, all was returned. */
bool launch_guest(struct guest *guest);

#endif
