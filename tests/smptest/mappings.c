/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Does a CPU ever use a mapping that another one has taken away? One thread opens
 * and closes a page, and says in `state` what holds after each change; threads on
 * all other CPUs read the page. Between two equal readings of `state`:
 *   OPEN    the read gives the generation's own number
 *   CLOSED  the read faults
 *   CHANGING may be either way.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <unistd.h>

#include "smptest.h"

#define DURATION_NS (1600 * MS_NS)     /* of all changers together */
#define PAGE 4096u
enum { PAGES = 4 };                     /* generations take turns on them */
enum phase { OPEN, CLOSING, CLOSED, OPENING };

static volatile uint64_t *page;         /* what readers see, and the changer changes */
static volatile uint64_t *behind;       /* the same memory, at an address that stays */
static int memory;
static atomic_ullong state;             /* generation * 4 + phase */
static atomic_bool finished;
static atomic_ullong reads, faults;
static atomic_bool read_once, faulted_once;     /* since the changer began */
static unsigned changer;
static _Thread_local sigjmp_buf way_out;
static _Thread_local volatile sig_atomic_t reading;

static void on_fault(int number, siginfo_t *info, void *context)
{
    (void)context;
    if (!reading || info->si_addr != (void *)(uintptr_t)page) {
        signal(number, SIG_DFL);        /* not ours: it comes again, and ends the program */
        return;
    }
    siglongjmp(way_out, 1);
}

/* Reads the page; false if that faulted. */
static bool try_read(uint64_t *value)
{
    bool read = false;

    reading = 1;
    if (sigsetjmp(way_out, 1) == 0) {
        *value = *page;
        read = true;
    }
    reading = 0;
    return read;
}

static void reader(unsigned cpu)
{
    uint64_t count = 0, fault_count = 0;

    if (cpu == changer && cpus > 1)
        return;                 /* it would only take the changer's time */
    while (!atomic_load(&finished)) {
        uint64_t value = 0, before = atomic_load(&state);
        bool read = try_read(&value);
        uint64_t after = atomic_load(&state);

        count += read;
        fault_count += !read;
        if (!atomic_load(read ? &read_once : &faulted_once))
            atomic_store(read ? &read_once : &faulted_once, true);
        if (before != after)
            continue;
        if (before % 4 == OPEN && !read)
            fail("CPU %u faulted on a page that was open", cpu);
        if (before % 4 == OPEN && read && value != before / 4)
            fail("CPU %u read generation %llu in generation %llu", cpu, (unsigned long long)value,
                 (unsigned long long)before / 4);
        if (before % 4 == CLOSED && read)
            fail("CPU %u read a page that was closed", cpu);
    }
    atomic_fetch_add(&reads, count);
    atomic_fetch_add(&faults, fault_count);
}

static void *address(void)
{
    return (void *)(uintptr_t)page;
}

/* Three ways to take a page away. */
static bool close_page(uint64_t generation)
{
    switch (generation % 3) {
    case 0:
        return mprotect(address(), PAGE, PROT_NONE) == 0;
    case 1:
        return munmap(address(), PAGE) == 0;
    default:
        return mmap(address(), PAGE, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
    }
}

static bool open_page(uint64_t generation)
{
    uint64_t number = generation % PAGES;

    behind[number * PAGE / sizeof(uint64_t)] = generation;
    return mmap(address(), PAGE, PROT_READ, MAP_FIXED | MAP_SHARED, memory, (off_t)(number * PAGE)) != MAP_FAILED;
}

/* On CPU `changer`. */
static void *change(void *argument)
{
    uint64_t end = now_ns() + DURATION_NS / cpus, generation = atomic_load(&state) / 4;
    bool done = true;

    (void)argument;
    pin(changer);
    /* On a busy machine readers may have no turn for long: it goes on until they have seen the page both ways. */
    while (done && (now_ns() < end || !atomic_load(&read_once) || !atomic_load(&faulted_once))) {
        atomic_store(&state, generation * 4 + CLOSING);
        done = close_page(generation);
        atomic_store(&state, generation * 4 + CLOSED);
        usleep(generation % 8 == 0 ? 1000 : 0);         /* now and then time for a look */
        atomic_store(&state, generation * 4 + OPENING);
        done = done && open_page(++generation);
        atomic_store(&state, generation * 4 + OPEN);
        usleep(generation % 8 == 0 ? 1000 : 0);
    }
    if (!done)
        fail("a page cannot be mapped, or not be taken away");
    atomic_store(&finished, true);
    return NULL;
}

void test_mappings(void)
{
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO}, old;

    memory = memfd_create("smptest", MFD_CLOEXEC);
    if (memory < 0 || ftruncate(memory, PAGES * PAGE) != 0) {
        fail("there is no memory to map");
        return;
    }
    behind = mmap(NULL, PAGES * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, memory, 0);
    /* Between two others that stay: else the stack of a thread that starts just then takes the place of a closed page. */
    uint8_t *pages = mmap(NULL, 3 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    page = (void *)pages == MAP_FAILED ? MAP_FAILED
                                       : mmap(pages + PAGE, PAGE, PROT_READ, MAP_FIXED | MAP_SHARED, memory, 0);
    if ((void *)(uintptr_t)behind == MAP_FAILED || address() == MAP_FAILED) {
        fail("memory cannot be mapped");
        return;
    }
    sigaction(SIGSEGV, &action, &old);
    for (changer = 0; changer < cpus; changer++) {
        pthread_t id;

        atomic_store(&finished, false);
        atomic_store(&read_once, false);
        atomic_store(&faulted_once, false);
        if (pthread_create(&id, NULL, change, NULL) != 0) {
            fail("no thread can be made");
            break;
        }
        on_each_cpu(reader);
        pthread_join(id, NULL);
    }
    sigaction(SIGSEGV, &old, NULL);
    if (atomic_load(&reads) == 0 || atomic_load(&faults) == 0)
        fail("readers never saw the page both ways");
    say("mappings: %llu changes, %llu reads, %llu faults", (unsigned long long)atomic_load(&state) / 4,
        (unsigned long long)atomic_load(&reads), (unsigned long long)atomic_load(&faults));
}
