/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* smptest: runs each test, and returns 0 if none of them failed. */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "smptest.h"

#define WATCHDOG_S 60u /* a CPU that never answers must not be a silent end: where it is stuck is told so often */

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    {"scheduling", test_scheduling}, {"messages", test_messages}, {"mappings", test_mappings},
    {"timers", test_timers},         {"clocks", test_clocks},     {"memory", test_memory},
};

unsigned cpus;
static atomic_uint failures;
static const char *volatile running = "start";
static atomic_bool loaded;
static pthread_t loads[MAX_CPUS];

static void print(const char *mark, const char *format, va_list arguments)
{
    char line[200];

    vsnprintf(line, sizeof(line), format, arguments);
    printf("sevisor-linux: smp: %s%s\n", mark, line);
}

void say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    print("", format, arguments);
    va_end(arguments);
}

void fail(const char *format, ...)
{
    va_list arguments;

    if (atomic_fetch_add(&failures, 1) >= 20)
        return; /* the first ones tell it */
    va_start(arguments, format);
    print("FAILED: ", format, arguments);
    va_end(arguments);
}

uint64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 * MS_NS + (uint64_t)t.tv_nsec;
}

uint64_t compute(uint64_t x)
{
    x |= 1;
    for (unsigned i = 0; i < 5000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    return x;
}

void pin(unsigned cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) != 0)
        fail("sched_setaffinity to CPU %u is refused", cpu);
    else if (sched_getcpu() != (int)cpu)
        fail("pinned to CPU %u, and on CPU %d", cpu, sched_getcpu());
}

/* ---- threads on all CPUs ---- */

struct job {
    void (*work)(unsigned cpu);
    unsigned cpu;
    pthread_barrier_t *start;
};

static void thread(pthread_t *id, void *(*function)(void *), void *argument)
{
    if (pthread_create(id, NULL, function, argument) != 0) {
        fail("no thread can be made");
        exit(1);
    }
}

static void *run_job(void *argument)
{
    const struct job *job = argument;

    pin(job->cpu);
    pthread_barrier_wait(job->start);
    job->work(job->cpu);
    return NULL;
}

void on_each_cpu(void (*work)(unsigned cpu))
{
    pthread_t ids[MAX_CPUS];
    struct job jobs[MAX_CPUS];
    pthread_barrier_t start;

    pthread_barrier_init(&start, NULL, cpus);
    for (unsigned i = 0; i < cpus; i++) {
        jobs[i] = (struct job){work, i, &start};
        thread(&ids[i], run_job, &jobs[i]);
    }
    for (unsigned i = 0; i < cpus; i++)
        pthread_join(ids[i], NULL);
    pthread_barrier_destroy(&start);
}

static void *load(void *argument)
{
    uint64_t x = (uintptr_t)argument;

    pin((unsigned)x);
    while (atomic_load(&loaded))
        x = compute(x);
    return (void *)(uintptr_t)x;
}

void load_start(void)
{
    atomic_store(&loaded, true);
    for (unsigned i = 0; i < cpus; i++)
        thread(&loads[i], load, (void *)(uintptr_t)i);
}

void load_stop(void)
{
    atomic_store(&loaded, false);
    for (unsigned i = 0; i < cpus; i++)
        pthread_join(loads[i], NULL);
}

/* ---- the whole ---- */

static void count_cpus(void)
{
    cpu_set_t set;

    if (sched_getaffinity(0, sizeof(set), &set) != 0)
        exit(1);
    while (cpus < MAX_CPUS && CPU_ISSET(cpus, &set))
        cpus++;
    if (cpus != (unsigned)CPU_COUNT(&set))
        fail("CPUs are not numbered from 0: %u of %d", cpus, CPU_COUNT(&set));
}

static void stuck(int signal)
{
    static char line[] = "sevisor-linux: smp: still in the test of ";

    (void)signal;
    if (write(1, line, sizeof(line) - 1) > 0 && write(1, running, strlen(running)) > 0 && write(1, "\n", 1) > 0)
        alarm(WATCHDOG_S);
}

/* `any-kernel` as its argument: not on one of Debian's kernels as a guest. */
int main(int count, char **words)
{
    const bool any_kernel = count > 1 && strcmp(words[1], "any-kernel") == 0;
    uint64_t start = now_ns();
    struct interrupts *before;

    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGALRM, stuck);
    alarm(WATCHDOG_S);
    count_cpus();
    say("%u CPU%s", cpus, cpus == 1 ? "" : "s");
    before = interrupts_read();
    for (unsigned i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
        running = tests[i].name;
        tests[i].run();
    }
    running = "interrupts";
    interrupts_rose(before, any_kernel);
    say("%u failures in %u ms", atomic_load(&failures), (unsigned)((now_ns() - start) / MS_NS));
    return atomic_load(&failures) != 0;
}
