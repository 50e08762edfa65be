/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: the instructions are machine.c's; and hv's arena is where a process may have one. */
#ifndef TESTS_UNIT_BOOT_FAKE_X86_H
#define TESTS_UNIT_BOOT_FAKE_X86_H

#include "boot/handoff.h"
#include "../fake_x86.h"

#undef HV_ARENA_BASE
#define HV_ARENA_BASE UINT64_C(0x200000000000)

#endif
