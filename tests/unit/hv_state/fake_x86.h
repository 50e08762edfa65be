/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: the registers are fake_cpu.c's. */
#include "../fake_x86.h"
