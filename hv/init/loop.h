/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#ifndef SEVISOR_LOOP_H
#define SEVISOR_LOOP_H

#include "hv/cpu/cpu.h"

/* The boot CPU's loop: jobs, its own vCPUs, the monitor, until no guest runs and no job is active. */
void loop_run(struct cpu *cpu);

#endif
