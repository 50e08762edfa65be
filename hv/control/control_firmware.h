/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* CONTROL_FIRMWARE: the control guest's commands to the SEV firmware (guest/control.h). psp/'s table says which, when and of what form. */
#ifndef SEVISOR_CONTROL_FIRMWARE_H
#define SEVISOR_CONTROL_FIRMWARE_H

#include "guest/control.h"
#include "hv/control/job.h"
#include "psp/psp.h"

/* Checks the request and submits its command, which is then outstanding for `job` (sev.h): CONTROL_OK. Else nothing was sent.
 * `guest`: the request's, NULL if it names none; `state`: its own, now. `window`: where the control guest's window is. A guest that is paused: WBINVD on
 * all CPUs has followed its last VMRUN. */
enum control_result control_firmware_submit(struct job *job, const struct control_request *request, struct guest *guest,
                                            enum control_state state, paddr_t window);
/* What the command's result means for hv, and the answer but for its sequence. */
void control_firmware_answer(struct psp_result result, const struct control_request *request,
                             struct control_answer *answer);

#endif
