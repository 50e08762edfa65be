/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv/lib/x86.h with its constants as they are; but the instructions that a process may not execute, or that would tell of this
 * host, are functions of the program. For a header that is put before everything by -include. */
#ifndef TESTS_UNIT_FAKE_X86_H
#define TESTS_UNIT_FAKE_X86_H

#define cpuid(...) real_cpuid(__VA_ARGS__)
#define rdmsr(...) real_rdmsr(__VA_ARGS__)
#define wrmsr(...) real_wrmsr(__VA_ARGS__)
#define in8(...) real_in8(__VA_ARGS__)
#define out8(...) real_out8(__VA_ARGS__)
#define in16(...) real_in16(__VA_ARGS__)
#define out16(...) real_out16(__VA_ARGS__)
#define in32(...) real_in32(__VA_ARGS__)
#define out32(...) real_out32(__VA_ARGS__)
#define rdtsc(...) real_rdtsc(__VA_ARGS__)
#define read_cr0(...) real_read_cr0(__VA_ARGS__)
#define read_cr2(...) real_read_cr2(__VA_ARGS__)
#define read_cr3(...) real_read_cr3(__VA_ARGS__)
#define read_cr4(...) real_read_cr4(__VA_ARGS__)
#define write_cr0(...) real_write_cr0(__VA_ARGS__)
#define write_cr3(...) real_write_cr3(__VA_ARGS__)
#define write_cr4(...) real_write_cr4(__VA_ARGS__)
#define wbinvd(...) real_wbinvd(__VA_ARGS__)
#define cli(...) real_cli(__VA_ARGS__)
#define sti(...) real_sti(__VA_ARGS__)
#define clgi(...) real_clgi(__VA_ARGS__)
#define hlt(...) real_hlt(__VA_ARGS__)
#define read_rflags(...) real_read_rflags(__VA_ARGS__)
#define write_dr7(...) real_write_dr7(__VA_ARGS__)
#define load_descriptor_tables(...) real_load_descriptor_tables(__VA_ARGS__)
#define sti_hlt(...) real_sti_hlt(__VA_ARGS__)
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
#undef in8
#undef out8
#undef in16
#undef out16
#undef in32
#undef out32
#undef rdtsc
#undef read_cr0
#undef read_cr2
#undef read_cr3
#undef read_cr4
#undef write_cr0
#undef write_cr3
#undef write_cr4
#undef wbinvd
#undef cli
#undef sti
#undef clgi
#undef hlt
#undef read_rflags
#undef write_dr7
#undef load_descriptor_tables
#undef sti_hlt
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
uint8_t in8(uint16_t port);
void out8(uint16_t port, uint8_t value);
uint16_t in16(uint16_t port);
void out16(uint16_t port, uint16_t value);
uint32_t in32(uint16_t port);
void out32(uint16_t port, uint32_t value);
uint64_t rdtsc(void);
uint64_t read_cr0(void);
uint64_t read_cr2(void);
uint64_t read_cr3(void);
uint64_t read_cr4(void);
void write_cr0(uint64_t value);
void write_cr3(uint64_t value);
void write_cr4(uint64_t value);
void write_dr7(uint64_t value);
void wbinvd(void);
void cli(void);
void sti(void);
void clgi(void);
void hlt(void);
void sti_hlt(void);
uint64_t xgetbv(void);
void xsetbv(uint64_t value);
void xsave64(uint8_t *area, uint64_t mask);
void xrstor64(const uint8_t *area, uint64_t mask);
void fxsave64(uint8_t *area);
void fxrstor64(const uint8_t *area);
void x87_overwrite_pointers(void);
void read_dr0_3(uint64_t dr[4]);
void write_dr0_3(const uint64_t dr[4]);
uint64_t read_rflags(void);
void load_descriptor_tables(const struct descriptor_table *gdt, const struct descriptor_table *idt, uint16_t code,
                            uint16_t data, uint16_t tss);

#endif
