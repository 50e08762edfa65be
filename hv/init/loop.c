/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "hv/init/loop.h"

#include "hv/console/console.h"
#include "hv/control/job.h"
#include "hv/control/jobs.h"
#include "hv/control/life.h"
#include "hv/cpu/clock.h"
#include "hv/monitor/monitor.h"
#include "hv/vm/guest.h"
#include "hv/vm/fair.h"
#include "hv/vm/run.h"

/* Most commands and all WBINVDs are over so soon: no vCPU is begun with meanwhile. */
#define SOON_US 1000u
/* Afterwards jobs that wait are looked at in intervals that grow with how long they have waited. */
#define LOOK_SHARE 8u
#define LOOK_LEAST_US 50u
#define LOOK_MOST_US 1000u

static uint64_t moved_tsc;      /* when a job has made its last step */

static uint64_t look_tsc(uint64_t now)
{
    uint64_t share = (now - moved_tsc) / LOOK_SHARE, least = clock_us_to_tsc(LOOK_LEAST_US), most = clock_us_to_tsc(LOOK_MOST_US);
    return share < least ? least : share < most ? share : most;
}

/* Steps of jobs for about a time slice, and at least one; a command that was just sent is looked at until it is over, or is
 * a long one. */
static enum job_verdict work(struct cpu *cpu)
{
    if (!job_active())
        return JOB_IDLE;
    uint64_t begin = clock_tsc(), now, slice = fair_slice_tsc(), soon = clock_us_to_tsc(SOON_US);
    enum job_verdict verdict;
    bool moved = false;
    do {
        verdict = jobs_step();
        now = clock_tsc();
        if (verdict == JOB_MOVED) {
            moved_tsc = now;
            moved = true;
        }
        cpu->rounds++;          /* it works or waits, but is not stuck */
        console_drain();
    } while (now - begin < slice && (verdict == JOB_MOVED || (verdict == JOB_WAITS && now - moved_tsc < soon)));
    fair_charge_nobody(cpu);
    return verdict == JOB_IDLE && moved ? JOB_MOVED : verdict;
}

/* vCPUs have as much time as jobs; while these only wait, until the next look at them. */
static bool run_vcpus(struct cpu *cpu, enum job_verdict verdict, uint64_t *next)
{
    uint64_t slice = fair_slice_tsc();
    if (verdict == JOB_IDLE)
        return run_round(cpu, slice, next);
    uint64_t begin = clock_tsc(), now = begin;
    if (verdict == JOB_WAITS) {
        uint64_t share = (begin - moved_tsc) / LOOK_SHARE, least = clock_us_to_tsc(LOOK_MOST_US);
        slice = share < least ? least : share < slice ? share : slice;
    }
    bool ran = run_round(cpu, slice, next), again = ran;
    /* One that sleeps again at once does not use up the others' time. */
    while (again && (now = clock_tsc()) - begin < slice)
        again = run_round(cpu, slice - (now - begin), next);
    return ran;
}

/* The operator is looked after before the CPU goes to sleep: who wakes up then does not wait for that. */
static void poll_monitor(struct cpu *cpu)
{
    monitor_poll();
    cpu->line_us = monitor_poll_us();
    cpu->line_tsc = cpu->line_us < FAIR_SLICE_US ? clock_tsc() + clock_us_to_tsc(cpu->line_us) : 0;
}

void loop_run(struct cpu *cpu)
{
    cpu->charged_tsc = clock_tsc();
    while (life_goes_on()) {
        uint64_t next;
        enum job_verdict verdict = work(cpu);
        bool ran = run_vcpus(cpu, verdict, &next);
        poll_monitor(cpu);
        if (guest_ends_noted()) {
            life_look_for_ends();
        } else if (!ran && verdict != JOB_MOVED) {
            uint64_t now = clock_tsc(), look = verdict == JOB_WAITS ? now + look_tsc(now) : UINT64_MAX;
            run_idle(cpu, look < next ? look : next);
        }
    }
}
