/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The texts of /platform/status and /guest/NAME/status (README.md has their keys). */
#ifndef SEVISOR_CONTROL_STATUS_H
#define SEVISOR_CONTROL_STATUS_H

#include "guest/control.h"
#include "guest/control/text.h"

void status_platform(struct text *text, const struct control_platform *platform);
void status_guest(struct text *text, uint32_t index, const struct control_guest *info);

#endif
