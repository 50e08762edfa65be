/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Long work is a job, a state machine: a guest's launch, its teardown, the secure processor's bring-up,
 * a request of the control guest's. The boot CPU's loop
 * steps jobs, one bounded piece at a time (JOB_PIECE bytes copied or cleared, one mailbox command sent, one poll for its
 * answer or for a WBINVD of all CPUs), and runs vCPUs and polls the console in between. A job that waits blocks nothing
 * else; jobs.c says which of several goes on first.
 */
#ifndef SEVISOR_JOB_H
#define SEVISOR_JOB_H

#include "hv/control/wbinvd.h"
#include "hv/vm/guest.h"

#define JOB_PIECE (UINT64_C(4) << 20)

enum job_kind { JOB_NONE, JOB_PLATFORM, JOB_CONTROL, JOB_LAUNCH, JOB_END };

/* Result of a step. */
enum job_verdict {
    JOB_IDLE,               /* none is active, or all wait for the control guest; of a row of sev.h: go on */
    JOB_WAITS,              /* for an answer, other CPUs, other jobs */
    JOB_WANTS_MAILBOX,      /* waits for the mailbox, which another job uses */
    JOB_MOVED,              /* made progress */
    JOB_REFUSED,            /* launch.c's own: guest->end_reason says why */
};

struct job {
    enum job_kind kind;     /* JOB_NONE: not active */
    struct guest *guest;    /* NULL: JOB_PLATFORM, JOB_CONTROL */
    uint32_t state;         /* launch.c, end.c, sev.c */
    uint32_t tries;         /* failed attempts of the state's command; 1: what the launch waits for is logged */
    uint32_t step;          /* index in the launch program */
    uint64_t offset, size;  /* progress in that step or in the guest's memory; bytes left */
    uint64_t total; /* bytes done, or to be done; in LAUNCH_ALLOCATE: job_count_finished() at the last failure */
    uint64_t mark_tsc; /* start of the launch phase */
    struct wbinvd wbinvd;
    bool wants_mailbox; /* its next step is a mailbox command */
    bool clean; /* JOB_END: the ASID can be reused */
    bool repeated; /* JOB_END: DEACTIVATE and what follows is being repeated */
};

/* The guest's job, active or not. */
struct job *job_of(const struct guest *guest);
/* Starts in state 0, all other fields being zero. */
void job_begin(struct job *job, enum job_kind kind, struct guest *guest);
void job_finish(struct job *job);
/* Jobs finished so far: what they held may be free now. */
uint32_t job_count_finished(void);
bool job_active(void);

static inline enum job_verdict job_next(struct job *job, uint32_t state)
{
    job->state = state;
    job->tries = 0;
    return JOB_MOVED;
}

#endif
