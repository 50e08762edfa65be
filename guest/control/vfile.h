/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* gdb's Host I/O packets, on objects. */
#ifndef SEVISOR_CONTROL_VFILE_H
#define SEVISOR_CONTROL_VFILE_H

#include "guest/control/text.h"

/* What follows `vFile:`. No reply: no such packet. */
void vfile_packet(struct cursor packet, struct text *reply);

#endif
