/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: the instructions are fake_cpu.c's, and so is hv's view of its pool. */
#ifndef TESTS_UNIT_HV_MACHINE_FAKE_X86_H
#define TESTS_UNIT_HV_MACHINE_FAKE_X86_H

#include "boot/handoff.h"
#include "../fake_x86.h"

extern uint8_t fake_pool[][4096];
#undef HV_ARENA_BASE
#define HV_ARENA_BASE ((uint64_t)fake_pool)

#endif
