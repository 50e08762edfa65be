/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The order of jobs: launches of one shape, which wait for WBINVDs and for the mailbox as real ones do. */
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "hv/control/control.h"
#include "hv/control/end.h"
#include "hv/control/jobs.h"
#include "hv/control/launch.h"
#include "hv/control/sev.h"

#define LAUNCHES 16u

/* In ticks: a piece copied, a WBINVD of all CPUs, an answer of the secure processor. */
enum { PIECE = 10, WBINVD = 5, ANSWER = 125 };

enum state { PREPARE, FIRST_WBINVD, COPY, LAST_WBINVD, COMMANDS };

struct guest guests[GUEST_MAX];

static struct job platform_job, request_job;
static struct {
    uint64_t now;
    uint64_t pieces, commands;          /* of a launch */
    unsigned endless;                   /* so many are launched again whenever they are over */
    const struct job *owner;            /* of the outstanding command */
    uint64_t answer;
    uint64_t over[LAUNCHES];            /* when each was over first; 0: not yet */
} simulated;

static enum job_verdict launch_is_over(struct job *job)
{
    if (job->kind == JOB_CONTROL) {
        job_finish(job);
        return JOB_MOVED;
    }
    uint32_t index = job->guest->index;
    if (simulated.over[index] == 0)
        simulated.over[index] = simulated.now;
    job_finish(job);
    if (index < simulated.endless)
        job_begin(job, JOB_LAUNCH, &guests[index]);
    return JOB_MOVED;
}

static enum job_verdict command(struct job *job)
{
    if (simulated.owner == NULL && job->offset < simulated.commands) {
        simulated.owner = job;
        simulated.answer = simulated.now + ANSWER;
        return JOB_MOVED;
    }
    if (simulated.owner != job)
        return JOB_WANTS_MAILBOX;
    if (simulated.now < simulated.answer)
        return JOB_WAITS;
    simulated.owner = NULL;
    return ++job->offset < simulated.commands ? JOB_MOVED : launch_is_over(job);
}

static enum job_verdict all_flush(struct job *job)
{
    if (job->total == 0)
        job->total = simulated.now + WBINVD;
    if (simulated.now < job->total)
        return JOB_WAITS;
    job->offset = job->total = 0;
    job_next(job, job->state + 1);
    return JOB_MOVED;
}

enum job_verdict launch_step(struct job *job)
{
    if (job->guest->awaits != 0)
        return JOB_WAITS;
    switch ((enum state)job->state) {
    case PREPARE:
        job_next(job, FIRST_WBINVD);
        return JOB_MOVED;
    case COPY:
        simulated.now += PIECE;
        if (++job->offset >= simulated.pieces)
            job_next(job, LAST_WBINVD);
        return JOB_MOVED;
    case COMMANDS:
        return command(job);
    case FIRST_WBINVD:
    case LAST_WBINVD:
    default:
        return all_flush(job);
    }
}

enum job_verdict end_step(struct job *job)
{
    (void)job;
    abort();
}
enum job_verdict sev_step(struct job *job)
{
    (void)job;
    return JOB_WAITS;
}
enum job_verdict control_step(struct job *job)
{
    return command(job);
}
struct job *control_job(void)
{
    return &request_job;
}
struct job *sev_job(void)
{
    return &platform_job;
}
struct job *sev_mailbox_owner(void)
{
    return (struct job *)(uintptr_t)simulated.owner;
}

static void begin(unsigned launches, uint64_t pieces, uint64_t commands, unsigned endless)
{
    memset(&simulated, 0, sizeof(simulated));
    simulated.pieces = pieces;
    simulated.commands = commands;
    simulated.endless = endless;
    for (unsigned i = 0; i < guest_count(); i++)
        if (job_of(&guests[i])->kind != JOB_NONE)
            job_finish(job_of(&guests[i]));
    memset(guests, 0, sizeof(guests));
    for (unsigned i = 0; i < launches; i++) {
        static const struct manifest_guest config;
        guests[i].index = i;
        guests[i].config = &config;
        job_begin(job_of(&guests[i]), JOB_LAUNCH, &guests[i]);
    }
}

/* Until launch `last` is over. */
static uint64_t run(unsigned last, uint64_t limit)
{
    while (simulated.over[last] == 0 && simulated.now < limit) {
        simulated.now++;
        assert_int_not_equal(jobs_step(), JOB_IDLE);
    }
    assert_true(simulated.over[last] != 0);
    return simulated.over[last];
}

static const struct {
    uint64_t pieces, commands;
} shapes[] = {
    {16, 7},        /* 64 MiB that are copied in less time than the secure processor takes */
    {300, 7},       /* and in more */
    {2, 200},       /* 200 MiB to be encrypted */
};

static void the_first_of_equal_launches_is_over_first(void **state)
{
    (void)state;
    for (unsigned s = 0; s < sizeof(shapes) / sizeof(*shapes); s++) {
        begin(1, shapes[s].pieces, shapes[s].commands, 0);
        uint64_t alone = run(0, UINT64_MAX);
        begin(LAUNCHES, shapes[s].pieces, shapes[s].commands, 0);
        uint64_t last = run(LAUNCHES - 1, UINT64_MAX);
        assert_in_range(simulated.over[0], alone, alone + alone / 4 + ANSWER);
        for (unsigned i = 1; i < LAUNCHES; i++)
            assert_true(simulated.over[i - 1] < simulated.over[i]);
        /* No time is lost: one is copied while the secure processor works for another. */
        uint64_t copied = shapes[s].pieces * (PIECE + 1) * LAUNCHES,
                 answered = shapes[s].commands * (ANSWER + 2) * LAUNCHES;
        assert_true(last < (copied > answered ? copied : answered) + alone);
    }
}

/* Those before it are launched again for ever, and could use up all pieces, or all commands. */
static void no_launch_starves(void **state)
{
    (void)state;
    for (unsigned s = 0; s < sizeof(shapes) / sizeof(*shapes); s++) {
        begin(1, shapes[s].pieces, shapes[s].commands, 0);
        uint64_t alone = run(0, UINT64_MAX);
        begin(LAUNCHES, shapes[s].pieces, shapes[s].commands, LAUNCHES - 1);
        run(LAUNCHES - 1, alone * LAUNCHES * 8);
    }
}

/* The control guest's is the next command, however many launches have some to send. */
static void a_request_of_the_control_guests_does_not_wait_for_launches(void **state)
{
    (void)state;
    begin(LAUNCHES, 2, 200, 0);
    run(0, UINT64_MAX);
    for (unsigned i = 0; i < 20; i++) {
        uint64_t start = simulated.now;
        job_begin(&request_job, JOB_CONTROL, NULL);
        request_job.offset = simulated.commands - 1; /* one command */
        while (request_job.kind != JOB_NONE && simulated.now < start + 10 * ANSWER) {
            simulated.now++;
            (void)jobs_step();
        }
        assert_in_range(simulated.now - start, ANSWER, 2 * ANSWER + 3 * PIECE);
    }
}

/* Then the boot CPU sleeps, or gives the time to its vCPUs. */
static void nothing_is_polled_while_all_launches_wait_for_the_control_guest(void **state)
{
    (void)state;
    begin(2, 2, 2, 0);
    guests[0].awaits = CONTROL_STATE_HELD;
    (void)run(1, UINT64_MAX); /* the other is polled as ever */
    assert_int_equal(jobs_step(), JOB_IDLE);
    assert_true(job_active());
    job_begin(job_of(&guests[1]), JOB_LAUNCH, &guests[1]);
    job_begin(&request_job, JOB_CONTROL, NULL);
    guests[1].awaits = CONTROL_STATE_RECEIVING;
    assert_int_equal(jobs_step(), JOB_MOVED); /* its request sends a command, and waits for the answer */
    assert_int_equal(jobs_step(), JOB_WAITS);
    job_finish(&request_job);
    simulated.owner = NULL;
    assert_int_equal(jobs_step(), JOB_IDLE);
    job_begin(&platform_job, JOB_PLATFORM, NULL);
    assert_int_equal(jobs_step(), JOB_WAITS);
    job_finish(&platform_job);
    guests[0].awaits = 0;
    simulated.over[0] = 0;
    (void)run(0, UINT64_MAX);
    assert_int_equal(jobs_step(), JOB_IDLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_of_equal_launches_is_over_first),
        cmocka_unit_test(no_launch_starves),
        cmocka_unit_test(a_request_of_the_control_guests_does_not_wait_for_launches),
        cmocka_unit_test(nothing_is_polled_while_all_launches_wait_for_the_control_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
