/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The table of jobs: the platform's, and one for each guest. */
#include "hv/control/job.h"

static struct job jobs[GUEST_MAX];
static uint32_t active, over;

struct job *job_of(const struct guest *guest)
{
    return &jobs[guest->index];
}

void job_begin(struct job *job, enum job_kind kind, struct guest *guest)
{
    active += job->kind == JOB_NONE;
    *job = (struct job){.kind = kind, .guest = guest, .clean = true};
    if (kind != JOB_LAUNCH)
        return;
    guest->state = GUEST_LAUNCHING;     /* from now on it can be ended */
    guest->stays_ended = false;
    guest->paused = guest->secret_placed = false;
    guest->receives = guest->received = guest->state_set = false;
    guest->vcpus_set = 0;
    guest->awaits = 0;
    guest->measurement = (struct sev_measurement){0};
    guest->end = GUEST_END_NONE;
    guest->end_reason[0] = '\0';
}

void job_finish(struct job *job)
{
    job->kind = JOB_NONE;
    active--;
    over++;
}

uint32_t job_count_finished(void)
{
    return over;
}

bool job_active(void)
{
    return active > 0;
}
