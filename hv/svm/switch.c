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
 *                     x87, SSE, AVX and what else XSAVE knows here, PKRU with it although CPUID
 *                     hides it (without decode assists CR4 is theirs: vcpu_cr.c); XCR0; DR0-3; TSC_AUX;
 *                     branch predictions (IBPB, where there is one)
 *  VMRUN, #VMEXIT     SPEC_CTRL, where the processor does that; else guests have none
 *  nowhere            all other MSRs: each access exits, and exit_msr.c either answers it from the
 *                     vCPU or refuses it. XSS and DEBUG_CTL stay 0 (cpu_msr.c). PRED_CMD keeps nothing.
 */
#include "hv/svm/switch.h"

#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

#define XCR0_X87 (UINT64_C(1) << 0)
#define XCR0_SSE (UINT64_C(1) << 1)
#define XCR0_AVX (UINT64_C(1) << 2)
#define XCR0_AVX512 (UINT64_C(7) << 5)
#define XCR0_PKRU (UINT64_C(1) << 9)

#define FXSAVE_FCW 0
#define FXSAVE_MXCSR 24
#define XSAVE_HEADER 512
#define XSAVE_HEADER_WORDS 8u
#define MXCSR_KNOWN 0xffffu /* all processors with SEV have DAZ; bit 17, MM, which some have, no known system sets */
#define FCW_RESET 0x037fu
#define MXCSR_RESET 0x1f80u

/* The same on all CPUs of a machine that we run on; found by switch_init(). */
static struct {
    bool xsave;
    bool rdtscp; /* TSC_AUX exists */
    bool ibpb;
    bool clears_pointers; /* FXRSTOR, XRSTOR always load the x87 error pointers */
    uint64_t all; /* XCR0 while state is moved */
    uint64_t guest;
} host;

static inline void state_save(uint8_t *area)
{
    if (host.xsave)
        xsave64(area, host.all);
    else
        fxsave64(area);
}

static inline void state_load(const uint8_t *area)
{
    /* APM3 FXRSTOR: without a pending exception older parts keep the last program's instruction
     * and data pointers: they become ours. */
    if (!host.clears_pointers)
        x87_overwrite_pointers();
    if (host.xsave)
        xrstor64(area, host.all);
    else
        fxrstor64(area);
}

void switch_init(void)
{
    uint32_t last = cpuid(0x80000000, 0).eax;
    host.xsave = (cpuid(1, 0).ecx & 1u << 26) != 0;
    host.rdtscp = (cpuid(0x80000001, 0).edx & 1u << 27) != 0;
    host.ibpb = this_cpu()->features.ibpb;
    host.clears_pointers = last >= 0x80000008 && (cpuid(0x80000008, 0).ebx & 1u << 2) != 0;
    struct cpuid leaf = host.xsave ? cpuid(0xd, 0) : (struct cpuid){0};
    uint64_t supported = (uint64_t)leaf.edx << 32 | leaf.eax;
    host.all = supported & (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_AVX512 | XCR0_PKRU);
    host.guest = supported & (XCR0_X87 | XCR0_SSE | XCR0_AVX);
    if (!host.xsave)
        return;
    xsetbv(host.all);
    ASSERT(cpuid(0xd, 0).ebx <= PAGE_SIZE);
}

uint64_t switch_guest_xcr0(void)
{
    return host.guest;
}

bool switch_xcr0_valid(uint64_t xcr0)
{
    return (xcr0 & ~(host.guest | XCR0_X87)) == 0 && (xcr0 & XCR0_X87) != 0 &&
           (xcr0 & (XCR0_SSE | XCR0_AVX)) != XCR0_AVX;
}

void switch_read_xsave(const struct switch_state *state, uint8_t area[static SWITCH_XSAVE_SIZE])
{
    uint64_t xstate_bv;
    memcpy(area, state->fpu, SWITCH_XSAVE_SIZE);
    memcpy(&xstate_bv, area + XSAVE_HEADER, sizeof(xstate_bv));
    xstate_bv &= host.guest;
    memcpy(area + XSAVE_HEADER, &xstate_bv, sizeof(xstate_bv));
}

void switch_write_xsave(struct switch_state *state, const uint8_t area[static SWITCH_XSAVE_SIZE])
{
    memcpy(state->fpu, area, SWITCH_XSAVE_SIZE);
}

/* APM3 XRSTOR: else #GP, which would be hv's own. */
bool switch_xsave_valid(const uint8_t area[static SWITCH_XSAVE_SIZE], uint64_t xcr0)
{
    uint64_t header[XSAVE_HEADER_WORDS], reserved = 0;
    uint32_t mxcsr;
    memcpy(header, area + XSAVE_HEADER, sizeof(header));
    memcpy(&mxcsr, area + FXSAVE_MXCSR, sizeof(mxcsr));
    for (uint32_t i = 1; i < XSAVE_HEADER_WORDS; i++)
        reserved |= header[i]; /* XCOMP_BV, and what follows */
    return switch_xcr0_valid(xcr0) && (header[0] & ~host.guest) == 0 && reserved == 0 && (mxcsr & ~MXCSR_KNOWN) == 0;
}

void switch_reset(struct switch_state *state)
{
    const uint16_t fcw = FCW_RESET;
    const uint32_t mxcsr = MXCSR_RESET;
    memcpy(state->fpu + FXSAVE_FCW, &fcw, sizeof(fcw));
    memcpy(state->fpu + FXSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
    state->xcr0 = XCR0_X87;
    memset(state->dr, 0, sizeof(state->dr));
    state->tsc_aux = 0;
}

void switch_to(struct switch_state *from, struct switch_state *to)
{
    if (from == to)
        return;
    /* XCR0 is read from the CPU, which holds where XSETBV is not intercepted, too. */
    if (host.xsave) {
        if (from != NULL)
            from->xcr0 = xgetbv();
        xsetbv(host.all);
    }
    if (from != NULL) {
        state_save(from->fpu);
        read_dr0_3(from->dr);
    }
    if (to == NULL)
        return;
    state_load(to->fpu);
    write_dr0_3(to->dr);
    if (host.xsave)
        xsetbv(to->xcr0);
    if (host.rdtscp)
        wrmsr(MSR_TSC_AUX, to->tsc_aux);
    if (host.ibpb)
        wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB);
}

/* XCR0, the FPU and most MSRs stay as they are (APM2 14.1.3, table 14-1). */
void switch_at_init(struct switch_state *state, bool here)
{
    memset(state->dr, 0, sizeof(state->dr));
    if (here)
        write_dr0_3(state->dr);
}

bool switch_has_tsc_aux(void)
{
    return host.rdtscp;
}

bool switch_set_tsc_aux(struct switch_state *state, uint64_t value)
{
    if (!host.rdtscp || value > UINT32_MAX)
        return false;
    state->tsc_aux = value;
    wrmsr(MSR_TSC_AUX, value);
    return true;
}
