/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Packets that look into a stopped vCPU, or change it. */
#ifndef SEVISOR_CONTROL_INSPECT_H
#define SEVISOR_CONTROL_INSPECT_H

#include "guest/control/text.h"

/* No reply: no such packet. */
void inspect_packet(uint32_t guest, uint32_t vcpu, struct cursor packet, struct text *reply);

#endif
