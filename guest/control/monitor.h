/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What people type behind `monitor` in gdb. */
#ifndef SEVISOR_CONTROL_MONITOR_H
#define SEVISOR_CONTROL_MONITOR_H

#include "guest/control/text.h"

/* `command` is what qRcmd carries, decoded. Fills in the text to be shown. */
void monitor_command(struct text *text, const char *command, size_t length);

#endif
