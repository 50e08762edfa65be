/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: hv/lib/x86.h, but for the instructions that test_smp.c has its own of. */
#ifndef TESTS_UNIT_HV_SMP_FAKE_X86_H
#define TESTS_UNIT_HV_SMP_FAKE_X86_H

#define rdmsr(...) real_rdmsr(__VA_ARGS__)
#define wrmsr(...) real_wrmsr(__VA_ARGS__)
#define out8(...) real_out8(__VA_ARGS__)
#define cli(...) real_cli(__VA_ARGS__)
#define sti(...) real_sti(__VA_ARGS__)
#define hlt(...) real_hlt(__VA_ARGS__)
#define wbinvd(...) real_wbinvd(__VA_ARGS__)
#define cpu_relax(...) real_cpu_relax(__VA_ARGS__)
#define read_rflags(...) real_read_rflags(__VA_ARGS__)
#include "hv/lib/x86.h"
#undef rdmsr
#undef wrmsr
#undef out8
#undef cli
#undef sti
#undef hlt
#undef wbinvd
#undef cpu_relax
#undef read_rflags

uint64_t rdmsr(uint32_t msr);
void wrmsr(uint32_t msr, uint64_t value);
void out8(uint16_t port, uint8_t value);
void cli(void);
void sti(void);
void hlt(void);
void wbinvd(void);
void cpu_relax(void);
uint64_t read_rflags(void);

#endif
