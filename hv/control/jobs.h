/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which job goes on next. */
#ifndef SEVISOR_JOBS_H
#define SEVISOR_JOBS_H

#include "hv/control/job.h"

/* One piece of one job. On the boot CPU. */
enum job_verdict jobs_step(void);

#endif
