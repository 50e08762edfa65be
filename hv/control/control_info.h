/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the control guest is told about the platform and about guests. */
#ifndef SEVISOR_CONTROL_INFO_H
#define SEVISOR_CONTROL_INFO_H

#include "hv/control/control_call.h"

enum control_state control_info_state(const struct guest *guest);
enum control_result control_info_platform(struct control_call *call);
enum control_result control_info_guest(struct control_call *call);

#endif
