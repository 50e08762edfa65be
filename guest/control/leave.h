/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The control guest's own end, so that a machine on which nothing else runs is powered off. */
#ifndef SEVISOR_CONTROL_LEAVE_H
#define SEVISOR_CONTROL_LEAVE_H

#include <stdbool.h>

/* A byte came on the line. */
void leave_line_used(void);
/* Whether all other guests have ended and nobody uses the line. Asks hv once a second. */
bool leave_now(void);

#endif
