/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Put before everything by -include: hv/lib/x86.h with its constants as they are, but its registers are fake_cpu.c's. */
#ifndef TESTS_UNIT_HV_STATE_FAKE_X86_H
#define TESTS_UNIT_HV_STATE_FAKE_X86_H

#define cpuid(...) real_cpuid(__VA_ARGS__)
#define rdmsr(...) real_rdmsr(__VA_ARGS__)
#define wrmsr(...) real_wrmsr(__VA_ARGS__)
#define xgetbv(...) real_xgetbv(__VA_ARGS__)
#define xsetbv(...) real_xsetbv(__VA_ARGS__)
#define xsave64(...) real_xsave64(__VA_ARGS__)
#define xrstor64(...) real_xrstor64(__VA_ARGS__)
#define fxsave64(...) real_fxsave64(__VA_ARGS__)
#define fxrstor64(...) real_fxrstor64(__VA_ARGS__)
#define x87_overwrite_pointers(...) real_x87_overwrite_pointers(__VA_ARGS__)
#define read_dr0_3(...) real_read_dr0_3(__VA_ARGS__)
#define write_dr0_3(...) real_write_dr0_3(__VA_ARGS__)
#include "hv/lib/x86.h"
#undef cpuid
#undef rdmsr
#undef wrmsr
#undef xgetbv
#undef xsetbv
#undef xsave64
#undef xrstor64
#undef fxsave64
#undef fxrstor64
#undef x87_overwrite_pointers
#undef read_dr0_3
#undef write_dr0_3

struct cpuid cpuid(uint32_t leaf, uint32_t subleaf);
uint64_t rdmsr(uint32_t msr);
void wrmsr(uint32_t msr, uint64_t value);
uint64_t xgetbv(void);
void xsetbv(uint64_t value);
void xsave64(uint8_t *area, uint64_t mask);
void xrstor64(const uint8_t *area, uint64_t mask);
void fxsave64(uint8_t *area);
void fxrstor64(const uint8_t *area);
void x87_overwrite_pointers(void);
void read_dr0_3(uint64_t dr[4]);
void write_dr0_3(const uint64_t dr[4]);

#endif
