/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A CPU as far as switch.c and cpu_msr.c touch it. What it does not have, it does not take: that is a failed test. */
#ifndef TESTS_UNIT_HV_STATE_FAKE_CPU_H
#define TESTS_UNIT_HV_STATE_FAKE_CPU_H

#include "hv/cpu/cpu.h"

enum { X87, SSE, AVX, OPMASK = 5, ZMM_HIGH, ZMM_16_31, PKRU = 9, COMPONENTS };
#define BIT_OF(component) (UINT64_C(1) << (component))
#define LEGACY (BIT_OF(X87) | BIT_OF(SSE))
#define FAKE_MSRS 32u

extern struct fake_cpu {
    /* What it has; the test's. */
    bool xsave, rdtscp, ibpb, clears_pointers, xsaves, tsc_ratio, spec_ctrl, lfence_bit;
    uint32_t family, last_extended;
    uint64_t components;            /* CPUID D EAX */

    /* Registers: of each component of the extended state, a number. */
    uint64_t xcr0, state[COMPONENTS], x87_pointers, dr[4];
    struct {
        uint32_t msr;
        uint64_t value;
    } msrs[FAKE_MSRS];

    unsigned accesses;              /* reads and writes of all of them */
    unsigned ibpbs, pointers_overwritten;
} fake;
extern struct cpu fake_this_cpu;    /* this_cpu() */

/* A CPU that has all of it, with nothing in its registers. A cmocka set-up. */
int fake_reset(void **state);
/* NULL: never written. */
uint64_t *fake_msr(uint32_t msr);
void fake_set_msr(uint32_t msr, uint64_t value);

#endif
