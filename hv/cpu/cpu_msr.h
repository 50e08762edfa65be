/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The host's MSRs on a CPU. */
#ifndef SEVISOR_CPU_MSR_H
#define SEVISOR_CPU_MSR_H

#include "hv/cpu/features.h"

/* For cpu_init(), on the CPU itself: sets them, and finds the features that depend on them. */
void cpu_msr_init(struct cpu_features *features);

#endif
