/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: the instructions are rig.c's, and hv's pool is where this process has memory. */
#ifndef TESTS_UNIT_HV_VCPU_FAKE_X86_H
#define TESTS_UNIT_HV_VCPU_FAKE_X86_H

#include "boot/handoff.h"
#include "../fake_x86.h"

extern uint8_t rig_pool[][4096];
#undef HV_ARENA_BASE
#define HV_ARENA_BASE ((uint64_t)rig_pool)

#endif
