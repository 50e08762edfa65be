/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: instructions that this process may not execute become rig.c's, and hv's arena lies
 * where this process has memory. */
#ifndef SEVISOR_X86_H
#define SEVISOR_X86_H

#include <stdint.h>

#include "hv/mm/layout.h" /* judged as it is */

#undef HV_ARENA_BASE
#define HV_ARENA_BASE rig_arena_va
extern uint64_t rig_arena_va;

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};
struct cpuid cpuid(uint32_t leaf, uint32_t subleaf);
uint64_t read_cr3(void);
void write_cr3(uint64_t value);
void invlpg(const void *va);
void clflush(const void *va);
void mfence(void);
void cpu_relax(void);

#endif
