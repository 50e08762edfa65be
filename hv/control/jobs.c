/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which job is stepped next: the manifest's order, and a turn for each so that none starves. */
#include "hv/control/jobs.h"

#include "hv/control/control.h"
#include "hv/control/end.h"
#include "hv/control/launch.h"
#include "hv/control/sev.h"

/* Jobs have priority in the manifest's order, so that the first launch completes first; later ones are copied while it waits for
 * WBINVDs and the secure processor. One step in TURN_EVERY goes to the job whose turn it is, so that none starves. */
#define TURN_EVERY 8u

static struct order {
    uint32_t moves, turn;
} pieces, commands; /* separate turns for work in memory and for mailbox commands */

static enum job_verdict step(struct job *job)
{
    static enum job_verdict (*const steps[])(struct job *job) = {
        [JOB_PLATFORM] = sev_step,
        [JOB_CONTROL] = control_step,
        [JOB_LAUNCH] = launch_step,
        [JOB_END] = end_step,
    };
    enum job_verdict verdict = job->kind != JOB_NONE ? steps[job->kind](job) : JOB_WAITS;
    job->wants_mailbox = verdict == JOB_WANTS_MAILBOX;
    return verdict;
}

/* The first job in the order that can go on does. */
static bool move_first(struct order *order, bool in_mailbox)
{
    bool in_turn = order->moves % TURN_EVERY == TURN_EVERY - 1;
    for (uint32_t i = 0, count = guest_count(); i < count; i++) {
        uint32_t index = (i + (in_turn ? order->turn : 0)) % count;
        struct job *job = job_of(&guests[index]);
        if (job->kind == JOB_NONE || (in_mailbox && !job->wants_mailbox) || step(job) != JOB_MOVED)
            continue;
        order->moves++;
        if (in_turn)
            order->turn = index + 1;
        return true;
    }
    return false;
}

/* The secure processor first: the owner of the outstanding command takes its answer, then the next command is sent, by
 * the control guest's request before others: there is one at a time. */
static bool serve_mailbox(void)
{
    struct job *owner = sev_mailbox_owner();
    if (owner == NULL && control_job()->wants_mailbox && step(control_job()) == JOB_MOVED)
        return true;
    if (owner == NULL)
        return move_first(&commands, true);
    if (step(owner) != JOB_MOVED)
        return false;
    owner->wants_mailbox = true; /* most likely */
    return true;
}

/* Of the control guest, whose doorbell wakes the boot CPU. */
static bool all_await(void)
{
    bool all = sev_job()->kind == JOB_NONE && control_job()->kind == JOB_NONE;
    for (uint32_t i = 0, count = guest_count(); i < count && all; i++) {
        const struct job *job = job_of(&guests[i]);
        all = job->kind == JOB_NONE || (job->kind == JOB_LAUNCH && guests[i].awaits != 0);
    }
    return all;
}

enum job_verdict jobs_step(void)
{
    if (!job_active())
        return JOB_IDLE;
    if (serve_mailbox() || step(sev_job()) == JOB_MOVED || step(control_job()) == JOB_MOVED ||
        move_first(&pieces, false))
        return JOB_MOVED;
    return all_await() ? JOB_IDLE : JOB_WAITS;
}
