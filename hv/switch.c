/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What is switched where between host and guests, so that nothing leaks:
 *
 *  VMRUN, #VMEXIT     ES CS SS DS, GDTR, IDTR, EFER, CR0 CR2 CR3 CR4, DR6 DR7, RFLAGS, RIP, RSP, RAX,
 *                     CPL, PAT (under nested paging), CR8 (V_TPR), the TSC's offset
 *  VMLOAD, VMSAVE     FS GS TR LDTR, KERNEL_GS_BASE, STAR LSTAR CSTAR SFMASK, SYSENTER_*
 *  vmrun.asm          the other general registers, at each exit
 *  here, when another vCPU gets the CPU (hv itself is compiled without these registers, and
 *  its DR7 and CR4.PKE are 0, so between guests only):
 *                     x87, SSE, AVX and what else XSAVE knows here, PKRU with it although guests are
 *                     not told of it (without decode assists CR4 is theirs: exit_cr.c); XCR0; DR0-3; TSC_AUX;
 *                     branch predictions (IBPB, where there is one)
 *  nowhere            all other MSRs: each access exits, and exit_msr.c either answers it from the
 *                     vCPU or refuses it. XSS stays 0.
 */
#include "switch.h"

#include "log.h"
#include "string.h"
#include "x86.h"

#define XCR0_X87 (UINT64_C(1) << 0)
#define XCR0_SSE (UINT64_C(1) << 1)
#define XCR0_AVX (UINT64_C(1) << 2)
#define XCR0_AVX512 (UINT64_C(7) << 5)
#define XCR0_PKRU (UINT64_C(1) << 9)

#define FXSAVE_FCW 0
#define FXSAVE_MXCSR 24
#define FCW_RESET 0x037fu
#define MXCSR_RESET 0x1f80u

#define MSR_PRED_CMD 0x49u
#define PRED_CMD_IBPB UINT64_C(1)

/* The same on all CPUs of a machine that we run on; found by switch_init(). */
static struct {
    bool xsave;
    bool rdtscp;            /* TSC_AUX exists */
    bool ibpb;
    bool clears_pointers;   /* FXRSTOR, XRSTOR always load the x87 error pointers */
    uint64_t all;           /* XCR0 while state is moved */
    uint64_t guest;
} host;

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

static inline void state_save(uint8_t *area)
{
    if (host.xsave)
        __asm__ volatile("xsave64 (%0)" : : "r"(area), "a"((uint32_t)host.all), "d"(0) : "memory");
    else
        __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory");
}

static inline void state_load(const uint8_t *area)
{
    static const uint32_t zero;
    /* APM3 FXRSTOR: without a pending exception older parts keep the last program's instruction
     * and data pointers. An FILD overwrites them with ours. */
    if (!host.clears_pointers)
        __asm__ volatile("fnclex; emms; fildl %0" : : "m"(zero) : "memory");
    if (host.xsave)
        __asm__ volatile("xrstor64 (%0)" : : "r"(area), "a"((uint32_t)host.all), "d"(0) : "memory");
    else
        __asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

static inline void debug_registers_save(uint64_t dr[4])
{
    __asm__ volatile("mov %%db0, %0; mov %%db1, %1" : "=r"(dr[0]), "=r"(dr[1]));
    __asm__ volatile("mov %%db2, %0; mov %%db3, %1" : "=r"(dr[2]), "=r"(dr[3]));
}

static inline void debug_registers_load(const uint64_t dr[4])
{
    __asm__ volatile("mov %0, %%db0; mov %1, %%db1" : : "r"(dr[0]), "r"(dr[1]));
    __asm__ volatile("mov %0, %%db2; mov %1, %%db3" : : "r"(dr[2]), "r"(dr[3]));
}

void switch_init(void)
{
    uint32_t last = cpuid(0x80000000, 0).eax;
    host.xsave = (cpuid(1, 0).ecx & 1u << 26) != 0;
    host.rdtscp = (cpuid(0x80000001, 0).edx & 1u << 27) != 0;
    host.ibpb = last >= 0x80000008 && (cpuid(0x80000008, 0).ebx & 1u << 12) != 0;
    host.clears_pointers = last >= 0x80000008 && (cpuid(0x80000008, 0).ebx & 1u << 2) != 0;

    write_cr0((read_cr0() & ~(CR0_EM | CR0_TS)) | CR0_MP);
    write_cr4(read_cr4() | CR4_OSFXSR | CR4_OSXMMEXCPT | (host.xsave ? CR4_OSXSAVE : 0));
    if (!host.xsave)
        return;
    struct cpuid leaf = cpuid(0xd, 0);
    uint64_t supported = (uint64_t)leaf.edx << 32 | leaf.eax;
    host.all = supported & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU);
    host.guest = supported & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
    xsetbv(host.all);
    ASSERT(cpuid(0xd, 0).ebx <= PAGE_SIZE);
}

uint64_t switch_guest_xcr0(void)
{
    return host.guest;
}

void switch_reset(struct vcpu *vcpu)
{
    const uint16_t fcw = FCW_RESET;
    const uint32_t mxcsr = MXCSR_RESET;
    memcpy(vcpu->fpu + FXSAVE_FCW, &fcw, sizeof(fcw));
    memcpy(vcpu->fpu + FXSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
    vcpu->xcr0 = XCR0_X87;
    memset(vcpu->dr, 0, sizeof(vcpu->dr));
    vcpu->tsc_aux = 0;
}

void switch_to(struct cpu *cpu, struct vcpu *vcpu)
{
    struct vcpu *old = cpu->current;
    if (old == vcpu)
        return;
    /* XCR0 is asked for, not remembered: not every emulated CPU knows XSETBV's intercept. */
    if (host.xsave) {
        if (old != NULL)
            old->xcr0 = xgetbv();
        xsetbv(host.all);
    }
    if (old != NULL) {
        state_save(old->fpu);
        debug_registers_save(old->dr);
    }
    state_load(vcpu->fpu);
    debug_registers_load(vcpu->dr);
    if (host.xsave)
        xsetbv(vcpu->xcr0);
    if (host.rdtscp)
        wrmsr(MSR_TSC_AUX, vcpu->tsc_aux);
    if (host.ibpb)
        wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
    cpu->current = vcpu;
}

uint64_t switch_xcr0(void)
{
    return host.xsave ? xgetbv() : 0;
}

void switch_set_xcr0(uint64_t xcr0)
{
    xsetbv(xcr0);
}

bool switch_set_tsc_aux(struct vcpu *vcpu, uint64_t value)
{
    if (!host.rdtscp || value > UINT32_MAX)
        return false;
    vcpu->tsc_aux = value;
    wrmsr(MSR_TSC_AUX, value);
    return true;
}
