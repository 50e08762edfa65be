/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's end, in any state of its launch: whatever it holds is given back, and it is launched again if the manifest says so. */
#ifndef SEVISOR_END_H
#define SEVISOR_END_H

#include "hv/control/job.h"

/* Of a JOB_END. The guest's vCPUs are on no run queue; guest->end says what kind of end it is. What a dead secure processor
 * may still use stays in quarantine. */
enum job_verdict end_step(struct job *job);

#endif
