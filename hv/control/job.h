/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Work that lasts is a job with a state: a guest's launch, its end, the secure processor's bring-up. The boot CPU's loop
 * steps them, one bounded piece at a time (JOB_PIECE bytes copied or cleared, one mailbox command sent, one look whether
 * it is answered or whether all CPUs have done a WBINVD), and runs vCPUs and looks at the operator's keys in between.
 * A job that waits delays nobody; several may be under way, and of those that can go on each has its turn.
 */
#ifndef SEVISOR_JOB_H
#define SEVISOR_JOB_H

#include "hv/vm/guest.h"

#define JOB_PIECE (UINT64_C(4) << 20)

enum job_kind { JOB_NONE, JOB_PLATFORM, JOB_LAUNCH, JOB_END };

/* What a step came to. */
enum job_verdict {
    JOB_IDLE,               /* there is no job */
    JOB_WAITS,              /* for an answer, other CPUs, other jobs */
    JOB_WANTS_MAILBOX,      /* and another job has it */
    JOB_MOVED,
};

struct job {
    enum job_kind kind;     /* JOB_NONE: nothing is to be done */
    struct guest *guest;    /* NULL: the platform's */
    uint32_t state;         /* launch.c, end.c, sev.c */
    uint32_t tries;         /* of the state's command */
    uint32_t step;          /* of the launch program */
    uint64_t offset, size;  /* progress in it, or in the guest's memory; and how much is left */
    uint64_t total;         /* of size and offset; before a launch has its memory: job_count_over() when it failed to get it */
    uint64_t mark_tsc;      /* when the launch phase began */
    struct cpu_wbinvd wbinvd;
    bool wants_mailbox;     /* as soon as it is free */
    bool clean;             /* of an end: the ASID can have another owner */
    bool second_round;      /* of an end: DEACTIVATE and all that follows it once more */
    bool again;             /* a launch follows the end */
};

/* The guest's job; its kind tells whether there is one. */
struct job *job_of(const struct guest *guest);
/* From its first state on, all else being zero. */
void job_begin(struct job *job, enum job_kind kind, struct guest *guest);
/* Nothing is left to be done. */
void job_over(struct job *job);
/* As many are over: what they held may be free now. */
uint32_t job_count_over(void);
bool job_active(void);
/* That of guests[index]. */
struct job *job_at(uint32_t index);

static inline void job_next(struct job *job, uint32_t state)
{
    job->state = state;
    job->tries = 0;
}

#endif
