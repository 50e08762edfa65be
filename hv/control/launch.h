/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's launch: the manifest's launch program, executed step by step. */
#ifndef SEVISOR_LAUNCH_H
#define SEVISOR_LAUNCH_H

#include "hv/control/job.h"

/* Of a JOB_LAUNCH. The guest holds nothing when it begins. It succeeds whole, or becomes a JOB_END that leaves nothing behind:
 * refused, guest->end_reason says why; or destroyed by the operator. */
enum job_verdict launch_step(struct job *job);

#endif
