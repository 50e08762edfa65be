/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* CPUID: what guests are told of their processor. */
#ifndef SEVISOR_EXIT_CPUID_H
#define SEVISOR_EXIT_CPUID_H

#include "hv/lib/x86.h"
#include "hv/vm/vcpu.h"

/* Resolves the CPUID tables against this CPU; once, before the first vCPU. */
void exit_cpuid_init(const struct cpu_features *features);

/* Leaf `leaf`, subleaf 0, of what all vCPUs are told, before what depends on the vCPU. 8000_0000 and up, or 0 to D. */
struct cpuid exit_cpuid_offered(uint32_t leaf);

void exit_cpuid(struct vcpu *vcpu);

#endif
