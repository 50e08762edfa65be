/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The boot CPU's round: a step of a job, its vCPUs, the operator's keys; it halts when there is nothing to do. */
#include "hv/init/loop.h"

#include "hv/console/console.h"
#include "hv/control/control.h"
#include "hv/control/job.h"
#include "hv/control/jobs.h"
#include "hv/control/lifecycle.h"
#include "hv/cpu/clock.h"
#include "hv/monitor/monitor.h"
#include "hv/vm/guest.h"
#include "hv/vm/fair.h"
#include "hv/vm/run.h"

/* Short commands and WBINVDs complete within this time, so that jobs are polled without running a vCPU. */
#define SPIN_US 250u
/* Afterwards waiting jobs are polled at intervals that grow with the time that they have waited, vCPUs run in between: a page's
 * SEND_UPDATE_DATA of a millisecond is seen 6 % late at most. */
#define POLL_SHARE 16u
#define POLL_LEAST_US 50u
#define POLL_MOST_US 1000u /* of a CPU that is idle; with vCPUs to run it is a time slice */

static uint64_t moved_tsc; /* time of the last progress of any job */

static uint64_t poll_interval_tsc(uint64_t now, uint64_t most)
{
    uint64_t share = (now - moved_tsc) / POLL_SHARE, least = clock_us_to_tsc(POLL_LEAST_US);
    return share < least ? least : share < most ? share : most;
}

/* Steps jobs for about a time slice, at least once; polls a command or WBINVD that began less than SPIN_US ago. */
static enum job_verdict step_jobs(struct cpu *cpu)
{
    if (!job_active())
        return JOB_IDLE;
    uint64_t begin = clock_tsc(), now, slice = fair_slice_tsc(), soon = clock_us_to_tsc(SPIN_US);
    enum job_verdict verdict;
    bool moved = false;
    do {
        verdict = jobs_step();
        now = clock_tsc();
        if (verdict == JOB_MOVED) {
            moved_tsc = now;
            moved = true;
        }
        cpu->rounds++; /* for the watchdog: not stuck */
        console_drain();
    } while (now - begin < slice && (verdict == JOB_MOVED || (verdict == JOB_WAITS && now - moved_tsc < soon)));
    fair_charge_nobody(cpu);
    return verdict == JOB_IDLE && moved ? JOB_MOVED : verdict;
}

/* vCPUs get as much time as jobs; while jobs only wait, the time until they are polled again. */
static bool run_vcpus(struct cpu *cpu, enum job_verdict verdict, uint64_t *next)
{
    uint64_t slice = fair_slice_tsc();
    if (verdict == JOB_IDLE)
        return run_round(cpu, slice, next);
    uint64_t begin = clock_tsc(), now = begin;
    if (verdict == JOB_WAITS)
        slice = poll_interval_tsc(begin, slice);
    bool ran = run_round(cpu, slice, next), again = ran;
    /* A vCPU that halts at once does not use up the slice of the others. */
    while (again && !guest_ends_wait() && (now = clock_tsc()) - begin < slice)
        again = run_round(cpu, slice - (now - begin), next);
    return ran;
}

/* Before the CPU idles, so that a vCPU that wakes it up is not delayed by console input. */
static void poll_monitor(struct cpu *cpu)
{
    monitor_poll();
    cpu->line_us = monitor_poll_us();
    cpu->line_tsc = cpu->line_us < FAIR_SLICE_US ? clock_tsc() + clock_us_to_tsc(cpu->line_us) : 0;
}

void loop_run(struct cpu *cpu)
{
    cpu->charged_tsc = clock_tsc();
    while (lifecycle_active()) {
        uint64_t next;
        enum job_verdict verdict = step_jobs(cpu);
        bool ran = run_vcpus(cpu, verdict, &next);
        poll_monitor(cpu);
        control_poll();
        if (guest_ends_noted()) {
            lifecycle_begin_ends();
        } else if (!ran && verdict != JOB_MOVED) {
            uint64_t now = clock_tsc(), most = clock_us_to_tsc(POLL_MOST_US);
            uint64_t poll = verdict == JOB_WAITS ? now + poll_interval_tsc(now, most) : UINT64_MAX;
            run_idle(cpu, poll < next ? poll : next);
        }
    }
}
