/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A machine with several CPUs in one thread: each has a stack, and leaves the processor to the next when it waits
 * (PAUSE, HLT). Time passes with each look at the clock. */
#ifndef TESTS_UNIT_HV_SMP_MACHINE_H
#define TESTS_UNIT_HV_SMP_MACHINE_H

#include "hv/cpu/cpu.h"

#define MACHINE_CPUS 4u
#define MACHINE_HZ UINT64_C(1000000000)
#define MACHINE_TICK 2000u          /* of a look at the clock */
#define MACHINE_US(us) ((us) * (MACHINE_HZ / 1000000))

struct machine_cpu {
    struct cpu cpu;
    uint32_t apic_id;               /* what its LAPIC says */
    /* What a test wants. */
    uint32_t deaf_startups;         /* STARTUPs that it misses */
    int64_t tsc_skew;
    bool other_features;
    bool held;                      /* takes no interrupts: in an SMI */
    uint64_t wbinvd_takes;
    /* What it did. */
    bool alive, serves;
    uint32_t inits, startups, nmis, kicks, wbinvds;
};

extern struct machine_cpu machine[MACHINE_CPUS];    /* the first runs the test */
extern uint64_t machine_now;
extern uint64_t machine_stall_at, machine_stall;    /* the clock jumps once, at that time, by so much */
extern void (*machine_nmi)(void);                   /* what a CPU does that gets an NMI; NULL: nothing */
extern uint32_t machine_taken_over;                 /* by which CPUs the end was taken over, a bit each */
/* In place of end_elsewhere(), once shutdown_wait() is through. */
void machine_take_over(void);
extern uint32_t machine_timer;                      /* the LAPIC's initial count, and when it was written */
extern uint64_t machine_timer_start;
extern char machine_log[4096];

void machine_begin(void);
/* The other CPUs have the processor for a while. */
void machine_others(void);

#endif
