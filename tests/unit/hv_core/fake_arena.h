/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: hv's arena lies where this process has memory. */
#ifndef TESTS_UNIT_HV_CORE_FAKE_ARENA_H
#define TESTS_UNIT_HV_CORE_FAKE_ARENA_H

#include "boot/handoff.h"

#undef HV_ARENA_BASE
#define HV_ARENA_BASE arena_va
extern uint64_t arena_va;

#endif
