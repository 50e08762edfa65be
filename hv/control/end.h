/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Teardown of a guest, from any state of its launch: all that it holds is released, and it is launched again if the
 * manifest says so. */
#ifndef SEVISOR_END_H
#define SEVISOR_END_H

#include "hv/control/job.h"

/* One step of a JOB_END. The guest's vCPUs are on no run queue; guest->end is the reason. What a secure processor that
 * stopped answering may still use stays in quarantine. */
enum job_verdict end_step(struct job *job);

#endif
