/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* CONTROL_FIRMWARE: the control guest's commands to the SEV firmware (guest/control.h). psp/'s table says which, when and of what form. */
#ifndef SEVISOR_CONTROL_FIRMWARE_H
#define SEVISOR_CONTROL_FIRMWARE_H

#include "hv/control/control_call.h"

/* Checks the request and submits its command, which is then outstanding for call->job (sev.h): CONTROL_OK. Else nothing was sent.
 * call->guest: the request's, NULL if it names none; `state`: its own, now. A guest that is paused: WBINVD on all CPUs has
 * followed its last VMRUN. */
enum control_result control_firmware_submit(struct control_call *call, enum control_state state);
/* What the command's result means for hv, and the answer but for its sequence. */
void control_firmware_answer(struct control_call *call, struct psp_result result);

#endif
