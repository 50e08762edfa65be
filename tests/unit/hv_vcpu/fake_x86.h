/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: hv/lib/x86.h with its constants as they are, but the
 * instructions that a process may not execute, or that would tell of this host, by rig.c. */
#ifndef TESTS_UNIT_HV_VCPU_FAKE_X86_H
#define TESTS_UNIT_HV_VCPU_FAKE_X86_H

#define cpuid(...) real_cpuid(__VA_ARGS__)
#define rdmsr(...) real_rdmsr(__VA_ARGS__)
#define wrmsr(...) real_wrmsr(__VA_ARGS__)
#define cli(...) real_cli(__VA_ARGS__)
#define sti(...) real_sti(__VA_ARGS__)
#define sti_hlt(...) real_sti_hlt(__VA_ARGS__)
#define wbinvd(...) real_wbinvd(__VA_ARGS__)
#include "hv/lib/x86.h"
#undef cpuid
#undef rdmsr
#undef wrmsr
#undef cli
#undef sti
#undef sti_hlt
#undef wbinvd

struct cpuid cpuid(uint32_t leaf, uint32_t subleaf);
uint64_t rdmsr(uint32_t msr);
void wrmsr(uint32_t msr, uint64_t value);
void cli(void);
void sti(void);
void sti_hlt(void);
void wbinvd(void);

#endif
