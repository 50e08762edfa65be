/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Do CPUs hear of each other? Wake-ups, memory barriers and signals across CPUs are interrupts between them. */
#include <errno.h>
#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "smptest.h"

enum { ROUND_TRIPS = 50, BARRIERS = 20, SIGNALS = 20 };

/* ---- a ball between two CPUs: who has it wakes the other, and sleeps ---- */

static _Atomic uint32_t ball;

struct player {
    unsigned cpu;
    uint32_t parity;
};

static void *play(void *argument)
{
    const struct player *me = argument;

    pin(me->cpu);
    for (unsigned i = 0; i < ROUND_TRIPS; i++) {
        uint32_t seen;

        while ((seen = atomic_load(&ball)) % 2 != me->parity)
            syscall(SYS_futex, &ball, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
        atomic_store(&ball, seen + 1);
        syscall(SYS_futex, &ball, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
    return NULL;
}

/* Microseconds per round trip, between each CPU and the next one. */
static unsigned ping_pong(void)
{
    uint64_t start = now_ns();

    for (unsigned i = 0; i < cpus; i++) {
        struct player players[2] = {{i, 0}, {(i + 1) % cpus, 1}};
        pthread_t ids[2];

        atomic_store(&ball, 0);
        for (unsigned j = 0; j < 2; j++)
            if (pthread_create(&ids[j], NULL, play, &players[j]) != 0) {
                fail("no thread can be made");
                _exit(1);
            }
        for (unsigned j = 0; j < 2; j++)
            pthread_join(ids[j], NULL);
        if (atomic_load(&ball) != 2 * ROUND_TRIPS)
            fail("the ball between CPU %u and %u flew %u times instead of %u", i, players[1].cpu,
                 (unsigned)atomic_load(&ball), 2u * ROUND_TRIPS);
    }
    return (unsigned)((now_ns() - start) / 1000 / cpus / ROUND_TRIPS);
}

/* ---- membarrier: an interrupt to each CPU where this program runs ---- */

static void barriers(unsigned cpu)
{
    for (unsigned i = 0; i < BARRIERS; i++)
        if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0) != 0) {
            fail("membarrier on CPU %u: error %d", cpu, errno);
            break;
        }
}

/* ---- signals: an interrupt to a thread that runs elsewhere ---- */

static atomic_uint signals[MAX_CPUS];
static atomic_bool listening[MAX_CPUS], finished;
static pthread_t listeners[MAX_CPUS];
static _Thread_local unsigned own_cpu;

static void on_signal(int number)
{
    (void)number;
    if ((unsigned)sched_getcpu() == own_cpu)
        atomic_fetch_add(&signals[own_cpu], 1);
}

static void *listen_here(void *argument)
{
    uint64_t x = own_cpu = (unsigned)(uintptr_t)argument;

    pin(own_cpu);
    atomic_store(&listening[own_cpu], true);
    while (!atomic_load(&finished))
        x = compute(x);
    return (void *)(uintptr_t)x;
}

/* The longest that a signal took, in microseconds. */
static unsigned send_signals(unsigned cpu)
{
    uint64_t longest = 0;

    pin((cpu + 1) % cpus);
    while (!atomic_load(&listening[cpu]))
        sched_yield();
    for (unsigned i = 0; i < SIGNALS; i++) {
        uint64_t start = now_ns(), took;

        pthread_kill(listeners[cpu], SIGUSR1);
        while (atomic_load(&signals[cpu]) != i + 1)     /* main.c says so if it never comes */
            sched_yield();
        took = now_ns() - start;
        longest = took > longest ? took : longest;
    }
    return (unsigned)(longest / 1000);
}

static unsigned signal_all(void)
{
    unsigned longest = 0;

    signal(SIGUSR1, on_signal);
    for (unsigned i = 0; i < cpus; i++)
        if (pthread_create(&listeners[i], NULL, listen_here, (void *)(uintptr_t)i) != 0) {
            fail("no thread can be made");
            _exit(1);
        }
    for (unsigned i = 0; i < cpus; i++) {
        unsigned took = send_signals(i);

        longest = took > longest ? took : longest;
    }
    atomic_store(&finished, true);
    for (unsigned i = 0; i < cpus; i++)
        pthread_join(listeners[i], NULL);
    return longest;
}

void test_messages(void)
{
    unsigned idle = ping_pong(), busy;

    if (syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0) != 0)
        fail("membarrier: cannot register, error %d", errno);
    load_start();
    busy = ping_pong();
    on_each_cpu(barriers);
    load_stop();
    say("messages: a round trip by futex takes %u us, under load %u us; a signal at most %u us", idle, busy,
        signal_all());
}
