/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Do timers fire on each CPU, none early, and do all CPUs agree on what time it is? How late they are is told only: it
 * depends on what else the machine has to do. */
#include <stdatomic.h>
#include <time.h>
#include <x86intrin.h>

#include "smptest.h"

/* ---- timers: never early ---- */

enum { SLEEPS = 12, SLEEP_MS = 20 };

static uint64_t latest[MAX_CPUS];

static void sleeper(unsigned cpu)
{
    for (unsigned i = 0; i < SLEEPS; i++) {
        uint64_t due = now_ns() + SLEEP_MS * MS_NS, now;
        struct timespec until = {(time_t)(due / (1000 * MS_NS)), (long)(due % (1000 * MS_NS))};

        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL) != 0)
            continue;
        now = now_ns();
        if (now < due)
            fail("a sleep on CPU %u ended %llu ns early", cpu, (unsigned long long)(due - now));
        if (now > due && now - due > latest[cpu])
            latest[cpu] = now - due;
    }
}

static unsigned latest_us(void)
{
    uint64_t most = 0;

    for (unsigned i = 0; i < cpus; i++) {
        most = latest[i] > most ? latest[i] : most;
        latest[i] = 0;
    }
    return (unsigned)(most / 1000);
}

void test_timers(void)
{
    unsigned idle;

    on_each_cpu(sleeper);
    idle = latest_us();
    load_start();
    on_each_cpu(sleeper);
    load_stop();
    say("timers: %u sleeps on each CPU, at most %u us late, under load %u us", 2u * SLEEPS, idle, latest_us());
}

/* ---- clocks: no CPU reads less than what another has read before ---- */

#define DURATION_NS (800 * MS_NS)

struct clock {
    const char *name;
    uint64_t (*read)(void);
};

/* The fences keep the reading between the look at `last` and the publication (APM3, RDTSC). */
static uint64_t tsc(void)
{
    uint64_t now;

    _mm_lfence();
    now = __rdtsc();
    _mm_lfence();
    return now;
}

static const struct clock clocks[] = {{"CLOCK_MONOTONIC", now_ns}, {"the TSC", tsc}};
static const struct clock *tested;
static atomic_ullong last;              /* reading << 8 | who read it */
static atomic_ullong handovers;

static void reader(unsigned cpu)
{
    uint64_t end = now_ns() + DURATION_NS, from_others = 0;

    /* On a busy machine one may be done before the others begin: each goes on until it has seen another's reading. */
    do {
        unsigned long long before = atomic_load(&last), mine;
        uint64_t reading = tested->read();

        if (reading < before >> 8) {
            fail("%s went back by %llu between CPU %llu and CPU %u", tested->name,
                 (unsigned long long)((before >> 8) - reading), before & 0xff, cpu);
            break;
        }
        from_others += (before & 0xff) != cpu;
        mine = (unsigned long long)reading << 8 | cpu;
        while (before < mine && !atomic_compare_exchange_weak(&last, &before, mine))
            continue;
    } while (now_ns() < end || (from_others == 0 && cpus > 1));
    atomic_fetch_add(&handovers, from_others);
}

void test_clocks(void)
{
    for (unsigned i = 0; i < sizeof(clocks) / sizeof(clocks[0]); i++) {
        tested = &clocks[i];
        atomic_store(&last, 0);
        atomic_store(&handovers, 0);
        on_each_cpu(reader);
        say("clocks: %s never went back in %llu readings after another CPU's", tested->name,
            (unsigned long long)atomic_load(&handovers));
    }
}
