/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Instructions that C has no word for, and the bits they deal in (APM2, APM3). */
#ifndef SEVISOR_X86_H
#define SEVISOR_X86_H

#include "hv/lib/types.h"

#define MSR_APIC_BASE 0x1bu
#define MSR_TSC_DEADLINE 0x6e0u
#define MSR_SPEC_CTRL 0x48u
#define MSR_PRED_CMD 0x49u
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_DEBUG_CTL 0x1d9u
#define MSR_PAT 0x277u
#define MSR_X2APIC_BASE 0x800u
#define MSR_XSS 0xda0u
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_TSC_RATIO 0xc0000104u
#define MSR_SYSCFG 0xc0010010u
#define MSR_HWCR 0xc0010015u
#define MSR_VM_CR 0xc0010114u
#define MSR_VM_HSAVE_PA 0xc0010117u
#define MSR_SEV_STATUS 0xc0010131u
#define MSR_DE_CFG 0xc0011029u

#define EFER_SCE (UINT64_C(1) << 0)
#define EFER_LME (UINT64_C(1) << 8)
#define EFER_LMA (UINT64_C(1) << 10)
#define EFER_NXE (UINT64_C(1) << 11)
#define EFER_SVME (UINT64_C(1) << 12)
#define EFER_HOST (EFER_LME | EFER_LMA | EFER_NXE)      /* with SVME from svm_init() on */
#define PRED_CMD_IBPB UINT64_C(1)
#define TSC_RATIO_ONE (UINT64_C(1) << 32)               /* APM2 15.30.5 */
#define DE_CFG_LFENCE_SERIALIZE (UINT64_C(1) << 1)
#define SYSCFG_MEM_ENCRYPTION_MOD_EN (UINT64_C(1) << 23)
#define SYSCFG_SNP_EN (UINT64_C(1) << 24)
#define HWCR_SMM_LOCK (UINT64_C(1) << 0)
#define VM_CR_LOCK (UINT64_C(1) << 3)
#define VM_CR_SVMDIS (UINT64_C(1) << 4)

#define CR0_PE (UINT64_C(1) << 0)
#define CR0_MP (UINT64_C(1) << 1)
#define CR0_EM (UINT64_C(1) << 2)
#define CR0_TS (UINT64_C(1) << 3)
#define CR0_ET (UINT64_C(1) << 4)
#define CR0_NE (UINT64_C(1) << 5)
#define CR0_WP (UINT64_C(1) << 16)
#define CR0_AM (UINT64_C(1) << 18)
#define CR0_NW (UINT64_C(1) << 29)
#define CR0_CD (UINT64_C(1) << 30)
#define CR0_PG (UINT64_C(1) << 31)
#define CR4_VME (UINT64_C(1) << 0)
#define CR4_PVI (UINT64_C(1) << 1)
#define CR4_TSD (UINT64_C(1) << 2)
#define CR4_DE (UINT64_C(1) << 3)
#define CR4_PSE (UINT64_C(1) << 4)
#define CR4_PAE (UINT64_C(1) << 5)
#define CR4_MCE (UINT64_C(1) << 6)
#define CR4_PGE (UINT64_C(1) << 7)
#define CR4_PCE (UINT64_C(1) << 8)
#define CR4_OSFXSR (UINT64_C(1) << 9)
#define CR4_OSXMMEXCPT (UINT64_C(1) << 10)
#define CR4_UMIP (UINT64_C(1) << 11)
#define CR4_LA57 (UINT64_C(1) << 12)
#define CR4_FSGSBASE (UINT64_C(1) << 16)
#define CR4_PCIDE (UINT64_C(1) << 17)
#define CR4_OSXSAVE (UINT64_C(1) << 18)
#define CR4_SMEP (UINT64_C(1) << 20)
#define CR4_SMAP (UINT64_C(1) << 21)
#define CR4_PKE (UINT64_C(1) << 22)
#define RFLAGS_ONE (UINT64_C(1) << 1)       /* always */
#define RFLAGS_IF (UINT64_C(1) << 9)
#define RFLAGS_RF (UINT64_C(1) << 16)
#define RFLAGS_VM (UINT64_C(1) << 17)
/* After a reset, and INIT (APM2 14.1.3). */
#define DR6_RESET UINT64_C(0xffff0ff0)
#define DR7_RESET UINT64_C(0x400)
#define PAT_RESET UINT64_C(0x0007040600070406)      /* APM2 7.8.2: WB WT UC- UC, twice */

/* CPUID 8000_0008 EBX: PRED_CMD; and any of those that say that there is a SPEC_CTRL: IBRS, STIBP, SSBD. */
#define CPUID_IBPB (1u << 12)
#define CPUID_SPEC_CTRL (1u << 14 | 1u << 15 | 1u << 24)

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    struct cpuid r;
    __asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
    return r;
}

static inline uint64_t rdmsr(uint32_t msr)
{
    uint32_t lo, hi;
    __asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr) : "memory");
    return (uint64_t)hi << 32 | lo;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* in8() and out8(), and so on. A function cannot paste names. */
#define X86_PORT(bits, suffix)                                                          \
    static inline uint##bits##_t in##bits(uint16_t port)                                \
    {                                                                                   \
        uint##bits##_t v;                                                               \
        __asm__ volatile("in" suffix " %1, %0" : "=a"(v) : "Nd"(port) : "memory");      \
        return v;                                                                       \
    }                                                                                   \
    static inline void out##bits(uint16_t port, uint##bits##_t value)                   \
    {                                                                                   \
        __asm__ volatile("out" suffix " %0, %1" : : "a"(value), "Nd"(port) : "memory"); \
    }
X86_PORT(8, "b")
X86_PORT(16, "w")
X86_PORT(32, "l")
#undef X86_PORT

/* clang-format off */
static inline uint64_t read_cr0(void) { uint64_t v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static inline uint64_t read_cr2(void) { uint64_t v; __asm__ volatile("mov %%cr2, %0" : "=r"(v)); return v; }
static inline uint64_t read_cr3(void) { uint64_t v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
static inline uint64_t read_cr4(void) { uint64_t v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
static inline void write_cr0(uint64_t v) { __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
static inline void write_cr3(uint64_t v) { __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
static inline void write_cr4(uint64_t v) { __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }
static inline void invlpg(const void *va) { __asm__ volatile("invlpg (%0)" : : "r"(va) : "memory"); }
static inline void wbinvd(void) { __asm__ volatile("wbinvd" : : : "memory"); }
static inline void clflush(const void *p) { __asm__ volatile("clflush (%0)" : : "r"(p) : "memory"); }
static inline void mfence(void) { __asm__ volatile("mfence" : : : "memory"); }
static inline void cpu_relax(void) { __asm__ volatile("pause" : : : "memory"); }
static inline void cli(void) { __asm__ volatile("cli" : : : "memory"); }
static inline void sti(void) { __asm__ volatile("sti" : : : "memory"); }
static inline void clgi(void) { __asm__ volatile("clgi" : : : "memory"); }

static inline void hlt(void) { __asm__ volatile("hlt" : : : "memory"); }
/* One: no interrupt is taken between the two. */
static inline void sti_hlt(void) { __asm__ volatile("sti; hlt" : : : "memory"); }
/* clang-format on */

struct descriptor_table {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

/* clang-format off */
static inline void sgdt(struct descriptor_table *table) { __asm__ volatile("sgdt %0" : "=m"(*table)); }
static inline void sidt(struct descriptor_table *table) { __asm__ volatile("sidt %0" : "=m"(*table)); }
/* clang-format on */

/* GDTR, IDTR, and each register that holds a selector: these three, or none. APM2 4.5.1: LTR marks the TSS as busy. */
static inline void load_descriptor_tables(const struct descriptor_table *gdt, const struct descriptor_table *idt,
                                          uint16_t code, uint16_t data, uint16_t tss)
{
    __asm__ volatile("lgdt %0\n\t"
                     "lidt %1\n\t"
                     "pushq %2\n\t"
                     "leaq 1f(%%rip), %%rax\n\t"
                     "pushq %%rax\n\t"
                     "lretq\n"
                     "1:\n\t"
                     "movl %3, %%ds\n\t"
                     "movl %3, %%es\n\t"
                     "movl %3, %%ss\n\t"
                     "xorl %%eax, %%eax\n\t"
                     "movl %%eax, %%fs\n\t"
                     "movl %%eax, %%gs\n\t"
                     "lldt %%ax\n\t"
                     "ltr %w4"
                     :
                     : "m"(*gdt), "m"(*idt), "r"((uint64_t)code), "r"((uint32_t)data), "r"((uint32_t)tss)
                     : "rax", "memory");
}

static inline uint64_t xgetbv(void)
{
    uint32_t lo, hi;
    __asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
    return (uint64_t)hi << 32 | lo;
}

static inline void xsetbv(uint64_t value)
{
    __asm__ volatile("xsetbv" : : "c"(0), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

/* All components in `mask`, as far as XCR0 has them; 64-byte aligned. */
static inline void xsave64(uint8_t *area, uint64_t mask)
{
    __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

static inline void xrstor64(const uint8_t *area, uint64_t mask)
{
    __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32)) : "memory");
}

/* clang-format off */
static inline void fxsave64(uint8_t *area) { __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory"); }
static inline void fxrstor64(const uint8_t *area) { __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory"); }
/* clang-format on */

/* The x87 instruction and data pointers become those of this FILD. */
static inline void x87_overwrite_pointers(void)
{
    static const uint32_t zero;
    __asm__ volatile("fnclex; emms; fildl %0" : : "m"(zero) : "memory");
}

static inline void read_dr0_3(uint64_t dr[4])
{
    __asm__ volatile("mov %%db0, %0; mov %%db1, %1" : "=r"(dr[0]), "=r"(dr[1]));
    __asm__ volatile("mov %%db2, %0; mov %%db3, %1" : "=r"(dr[2]), "=r"(dr[3]));
}

static inline void write_dr0_3(const uint64_t dr[4])
{
    __asm__ volatile("mov %0, %%db0; mov %1, %%db1" : : "r"(dr[0]), "r"(dr[1]));
    __asm__ volatile("mov %0, %%db2; mov %1, %%db3" : : "r"(dr[2]), "r"(dr[3]));
}

static inline void write_dr7(uint64_t v)
{
    __asm__ volatile("mov %0, %%db7" : : "r"(v));
}

static inline uint64_t read_rflags(void)
{
    uint64_t v;
    __asm__ volatile("pushfq; pop %0" : "=r"(v) : : "memory");
    return v;
}

static inline uint64_t rdtsc(void)
{
    uint32_t lo, hi;
    __asm__ volatile("lfence; rdtsc" : "=a"(lo), "=d"(hi) : : "memory");
    return (uint64_t)hi << 32 | lo;
}

#endif
