/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The self-test of many CPUs: /bin/smptest in an initramfs of the sample guest, an
 * ordinary static program that also runs on any Linux. It tests through what a
 * program can see, with all CPUs at work; each file has one question.
 */
#ifndef SEVISOR_SMPTEST_H
#define SEVISOR_SMPTEST_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_CPUS 64u
#define MS_NS UINT64_C(1000000)

extern unsigned cpus;           /* that this program may use: 0 to cpus - 1 */

/* A line on the console. fail() is the self-test's failure too; it goes on, to say what else is wrong. */
__attribute__((format(printf, 1, 2))) void say(const char *format, ...);
__attribute__((format(printf, 1, 2))) void fail(const char *format, ...);

uint64_t now_ns(void);          /* CLOCK_MONOTONIC */
uint64_t compute(uint64_t x);   /* a slice of work: some thousands of instructions */

/* The calling thread runs there, and nowhere else, when this returns. */
void pin(unsigned cpu);

/* `work` on all CPUs at once, a pinned thread on each; returns when all are done. */
void on_each_cpu(void (*work)(unsigned cpu));

/* A pinned thread on each CPU that computes, from load_start() to load_stop(). */
void load_start(void);
void load_stop(void);

/* The tests, in their order. */
void test_scheduling(void);
void test_messages(void);
void test_mappings(void);
void test_timers(void);
void test_clocks(void);
void test_memory(void);

/* /proc/interrupts: reads it; says whether each kind rose on each CPU since `before`. `any_kernel`: it may have other ways to flush
 * other CPUs' TLBs than to interrupt them, or count these interrupts as function calls. */
struct interrupts;
struct interrupts *interrupts_read(void);
void interrupts_rose(const struct interrupts *before, bool any_kernel);

#endif
