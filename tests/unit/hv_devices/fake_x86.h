/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: hv/lib/x86.h has instructions that this process may not execute. */
#ifndef SEVISOR_X86_H
#define SEVISOR_X86_H

#include <stdint.h>

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};
struct cpuid cpuid(uint32_t leaf, uint32_t subleaf);

#endif
