/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Operations that a guest leaves and arrives by. */
#ifndef SEVISOR_CONTROL_MOVE_H
#define SEVISOR_CONTROL_MOVE_H

#include "hv/control/control_call.h"

enum control_result control_move_pages(struct control_call *call);

#endif
