/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Operations that a guest leaves and arrives by: its pages, and what it can see of itself beside its memory, read of a paused one, and
 * set of one that is received. */
#ifndef SEVISOR_CONTROL_STATE_H
#define SEVISOR_CONTROL_STATE_H

#include "hv/control/control_call.h"

enum control_result control_state_pages(struct control_call *call);
enum control_result control_state_get(struct control_call *call);
enum control_result control_state_set(struct control_call *call);
/* Of a guest that is received: all of it was set, and the SEV firmware is done with it. */
bool control_state_complete(const struct guest *guest);

#endif
