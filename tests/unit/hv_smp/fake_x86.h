/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: the instructions are machine.c's, where a CPU that waits leaves the processor to others. */
#ifndef TESTS_UNIT_HV_SMP_FAKE_X86_H
#define TESTS_UNIT_HV_SMP_FAKE_X86_H

#define cpu_relax(...) real_cpu_relax(__VA_ARGS__)
#include "../fake_x86.h"
#undef cpu_relax
void cpu_relax(void);

#endif
