/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Does each thread get its time, on the CPU where it belongs? Three times as many threads as CPUs. */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "smptest.h"

#define DURATION_NS (1500 * MS_NS)

enum kind { SETTLED, FREE, NOMAD, KINDS };

static struct worker {
    enum kind kind;
    unsigned home;
    uint64_t slices, moves;
} workers[KINDS * MAX_CPUS];

static pthread_barrier_t start;
static atomic_ullong per_cpu[MAX_CPUS];
static uint64_t half_time, end_time;

/* SETTLED: on one CPU, from half time on its neighbour. NOMAD: on the next CPU for each slice. FREE: as Linux likes. */
static void *work(void *argument)
{
    struct worker *me = argument;
    uint64_t x = (uintptr_t)me, now;
    unsigned here = me->home;

    if (me->kind != FREE)
        pin(here);
    if (pthread_barrier_wait(&start) == PTHREAD_BARRIER_SERIAL_THREAD) {
        half_time = now_ns() + DURATION_NS / 2;
        end_time = half_time + DURATION_NS / 2;
    }
    pthread_barrier_wait(&start);
    /* Who had no turn meanwhile, or none in the second half, on a machine with much else to do, works and moves late. */
    while ((now = now_ns()) < end_time || me->slices == 0 || (me->kind == SETTLED && cpus > 1 && me->moves == 0)) {
        x = compute(x);
        me->slices++;
        unsigned cpu = (unsigned)sched_getcpu();
        if (cpu >= cpus || (me->kind != FREE && cpu != here)) {
            fail("a thread that belongs on CPU %u ran on CPU %u", here, cpu);
            break;
        }
        atomic_fetch_add(&per_cpu[cpu], 1);
        if (me->kind == NOMAD || (me->kind == SETTLED && now >= half_time && here == me->home && cpus > 1)) {
            here = (here + 1) % cpus;
            pin(here);
            me->moves++;
        } else if (me->kind == FREE && cpu != here) {
            here = cpu;
            me->moves++;
        }
    }
    return (void *)(uintptr_t)x;
}

void test_scheduling(void)
{
    unsigned count = KINDS * cpus;
    uint64_t total = 0, least = UINT64_MAX, moves = 0;
    pthread_t ids[KINDS * MAX_CPUS];

    pthread_barrier_init(&start, NULL, count);
    for (unsigned i = 0; i < count; i++) {
        workers[i] = (struct worker){.kind = (enum kind)(i / cpus), .home = i % cpus};
        if (pthread_create(&ids[i], NULL, work, &workers[i]) != 0) {
            fail("only %u of %u threads can be made", i, count);
            return;
        }
    }
    for (unsigned i = 0; i < count; i++) {
        pthread_join(ids[i], NULL);
        total += workers[i].slices;
        moves += workers[i].moves;
        if (workers[i].kind != NOMAD)
            least = workers[i].slices < least ? workers[i].slices : least;
        if (workers[i].kind == SETTLED && cpus > 1 && workers[i].moves != 1)
            fail("the settled thread of CPU %u never moved to its neighbour", workers[i].home);
    }
    for (unsigned i = 0; i < cpus; i++)
        if (atomic_load(&per_cpu[i]) == 0)
            fail("no work was done on CPU %u", i);
    say("scheduling: %u threads, %llu slices of work, at least %llu each, %llu migrations", count,
        (unsigned long long)total, (unsigned long long)least, (unsigned long long)moves);
}
