/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv/control/job.c and jobs.c, in a process that boots often. */
#include "hv/control/job.c"
#include "hv/control/jobs.c"

#include <string.h>

#include "fake_machine.h"

void jobs_forget(void)
{
    memset(jobs, 0, sizeof(jobs));
    active = over = 0;
    pieces = commands = (struct order){0};
}
