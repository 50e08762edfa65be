/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What attacks by several vCPUs share: crowd.c has it. */
#ifndef TESTS_HOSTILE_GUEST_CROWD_H
#define TESTS_HOSTILE_GUEST_CROWD_H

#include "kit.h"

#define MEMBERS_MAX 8u
#define VECTOR_WAKE 0x70u

typedef void part(unsigned id);

/* What each has done in this attack, and what of it went wrong. Nobody else writes to it. */
extern volatile uint64_t done[MEMBERS_MAX], wrong[MEMBERS_MAX];

/* All play the same part until the time is over; with one vCPU, it alone. */
void crowd(part *play, const char *what);
/* A random number, of its own for each. */
uint64_t some(unsigned id);

/* traps.asm. False: a fault. */
bool crowd_write_msr(uint32_t msr, uint64_t value);
bool crowd_write_cr4(uint64_t value);
bool crowd_read_dr7(uint64_t *value);

/* registers.c */
void crowd_registers(void);

#endif
