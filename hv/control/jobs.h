/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The order in which jobs are stepped. */
#ifndef SEVISOR_JOBS_H
#define SEVISOR_JOBS_H

#include "hv/control/job.h"

/* One step of one job; JOB_IDLE: there is none, JOB_WAITS: none can go on. On the boot CPU. */
enum job_verdict jobs_step(void);

#endif
