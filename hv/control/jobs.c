/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "hv/control/jobs.h"

#include "hv/control/end.h"
#include "hv/control/launch.h"
#include "hv/control/sev.h"

/* A job keeps its turn for so many pieces, so that a launch gets to the secure processor, and the next one is copied
 * meanwhile; all in turn, piece by piece, would get there at the same time. */
#define TURN_PIECES 64u

static uint32_t turn, pieces;   /* whose turn it is, and how many it has had */
static uint32_t mailbox_turn = GUEST_MAX - 1;   /* who had the mailbox last */

static enum job_verdict step(struct job *job)
{
    enum job_verdict verdict = JOB_WAITS;
    switch (job->kind) {
    case JOB_PLATFORM:
        verdict = sev_step(job);
        break;
    case JOB_LAUNCH:
        verdict = launch_step(job);
        break;
    case JOB_END:
        verdict = end_step(job);
        break;
    case JOB_NONE:
        break;
    }
    job->wants_mailbox = verdict == JOB_WANTS_MAILBOX;
    return verdict;
}

/* The secure processor first: whoever it works for takes its answer, and then who comes after him gives it more to do. */
static bool serve_mailbox(void)
{
    struct job *owner = sev_mailbox_owner();
    if (owner != NULL) {
        if (step(owner) != JOB_MOVED)
            return false;
        owner->wants_mailbox = true;        /* most likely */
        return true;
    }
    for (uint32_t i = 1; i <= GUEST_MAX; i++) {
        uint32_t index = (mailbox_turn + i) % GUEST_MAX;
        if (job_at(index)->kind == JOB_NONE || !job_at(index)->wants_mailbox || step(job_at(index)) != JOB_MOVED)
            continue;
        mailbox_turn = index;
        return true;
    }
    return false;
}

enum job_verdict jobs_step(void)
{
    if (!job_active())
        return JOB_IDLE;
    if (serve_mailbox() || step(sev_job()) == JOB_MOVED)
        return JOB_MOVED;
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        uint32_t index = (turn + i) % GUEST_MAX;
        if (job_at(index)->kind == JOB_NONE || step(job_at(index)) != JOB_MOVED)
            continue;
        pieces = index == turn ? pieces + 1 : 1;
        turn = pieces < TURN_PIECES ? index : (index + 1) % GUEST_MAX;
        pieces = pieces < TURN_PIECES ? pieces : 0;
        return JOB_MOVED;
    }
    turn = pieces = 0;      /* when what all wait for is there, as the secure processor at start, the first guest begins */
    return JOB_WAITS;
}
