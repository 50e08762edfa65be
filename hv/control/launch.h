/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Launch of a guest: executes its launch program from the manifest. */
#ifndef SEVISOR_LAUNCH_H
#define SEVISOR_LAUNCH_H

#include "hv/control/job.h"

/* One step of a JOB_LAUNCH, which begins with a guest that holds nothing. It ends with a running guest, or becomes a
 * JOB_END that releases all: the launch is refused (guest->end_reason says why), or the operator has ended the guest. */
enum job_verdict launch_step(struct job *job);

#endif
