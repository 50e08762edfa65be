/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Does memory hold what was written, by whichever CPU it is read? All CPUs at once, each with a block of its own. */
#include <pthread.h>
#include <stdlib.h>

#include "smptest.h"

#define TOTAL (UINT64_C(32) << 20)
enum { ROUNDS = 3 };

static uint64_t *blocks[MAX_CPUS];
static uint64_t sums[MAX_CPUS];
static uint64_t words;          /* of a block */
static pthread_barrier_t all;

static uint64_t next(uint64_t x)
{
    return x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
}

static void fill(unsigned block, uint64_t seed)
{
    uint64_t x = seed, sum = 0;

    for (uint64_t i = 0; i < words; i++) {
        x = next(x);
        blocks[block][i] = x;
        sum += x ^ i;
    }
    sums[block] = sum;
}

static void verify(unsigned block, uint64_t seed, unsigned cpu)
{
    uint64_t x = seed, sum = 0;

    for (uint64_t i = 0; i < words; i++) {
        x = next(x);
        if (blocks[block][i] != x) {
            fail("CPU %u reads %016llx at word %llu of block %u, where %016llx was written", cpu,
                 (unsigned long long)blocks[block][i], (unsigned long long)i, block, (unsigned long long)x);
            return;
        }
        sum += blocks[block][i] ^ i;
    }
    if (sum != sums[block])
        fail("CPU %u finds another checksum of block %u than its writer", cpu, block);
}

/* In each round a CPU writes the block `round` places further, and then reads its neighbour's. */
static void worker(unsigned cpu)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        unsigned mine = (cpu + round) % cpus, other = (mine + 1) % cpus;

        fill(mine, round << 8 | mine);
        pthread_barrier_wait(&all);
        verify(other, round << 8 | other, cpu);
        pthread_barrier_wait(&all);
    }
}

void test_memory(void)
{
    words = TOTAL / sizeof(uint64_t) / cpus;
    for (unsigned i = 0; i < cpus; i++)
        if ((blocks[i] = malloc(words * sizeof(uint64_t))) == NULL) {
            fail("there is no memory for block %u", i);
            return;
        }
    pthread_barrier_init(&all, NULL, cpus);
    on_each_cpu(worker);
    for (unsigned i = 0; i < cpus; i++)
        free(blocks[i]);
    say("memory: %u times %llu MiB written by one CPU and read by another", (unsigned)ROUNDS,
        (unsigned long long)(TOTAL >> 20));
}
