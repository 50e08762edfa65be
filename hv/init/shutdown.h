/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The machine is ended by one CPU: the first that calls shutdown_begin(). All others come to shutdown_wait(), where one of
 * them watches, to take that CPU's place if it does not come back from a call of the UEFI firmware, or from an SMI.
 */
#ifndef SEVISOR_SHUTDOWN_H
#define SEVISOR_SHUTDOWN_H

#include "hv/lib/types.h"

/* The first CPU here halts all others, by NMI, and waits until they are, but not for ever; they may hold locks. False:
 * another CPU ends the machine, or has taken this one's place: shutdown_wait() comes next. */
bool shutdown_begin(void);
bool shutdown_is_here(void);
bool shutdown_is_elsewhere(void);
/* Returns on no CPU but the one that watches, when it has taken the place of the one that ended the machine. */
void shutdown_wait(void);

/* Around a call that may not come back: after SHUTDOWN_CALL_US another CPU, if there is one, takes this one's place.
 * shutdown_return() is false then: shutdown_wait() comes next. */
#define SHUTDOWN_CALL_US 10000000u
void shutdown_call(void);
bool shutdown_return(void);

#endif
