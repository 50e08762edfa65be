/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Handlers of exits: each gets the vCPU after #VMEXIT, with the VMCB as the CPU left it. */
#ifndef SEVISOR_EXIT_H
#define SEVISOR_EXIT_H

#include "hv/vm/vcpu.h"

#define VECTOR_DB 1u
#define VECTOR_UD 6u
#define VECTOR_GP 13u
#define VECTOR_PF 14u
#define VECTOR_AC 17u

#define RFLAGS_TF (UINT64_C(1) << 8)

/* A guest with RFLAGS.TF stepped over an instruction that exited: #DB. */
void exit_single_step(struct vcpu *vcpu);

/* Moves RIP past an intercepted instruction, to `rip`. */
static inline void exit_skip_to(struct vcpu *vcpu, uint64_t rip)
{
    vmcb_set_rip(vcpu->vmcb, rip);
    vmcb_set_interrupt_shadow(vcpu->vmcb, 0);   /* STI's and MOV SS's shadow ends with the instruction */
    if ((vcpu->vmcb->rflags & RFLAGS_TF) != 0)
        exit_single_step(vcpu);
}

/* The same, past an instruction of `length` bytes. The length counts only where the
 * CPU lacks next-RIP save. */
static inline void exit_skip(struct vcpu *vcpu, uint64_t length)
{
    exit_skip_to(vcpu, vcpu->vmcb->nrip != 0 ? vcpu->vmcb->nrip : vcpu->vmcb->rip + length);
}

/* One line on the operator's log about what a guest did; at most a few per second and guest. */
void exit_log(struct vcpu *vcpu, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Ends the guest where no handler of its own knows the way on; its registers go to the log. */
void exit_crash(struct vcpu *vcpu, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Resolves the CPUID tables against this CPU; once, before the first vCPU. */
void exit_cpuid_init(const struct cpu_features *features);

/* Of RDMSR and WRMSR. */
static inline uint32_t exit_msr_number(const struct vcpu *vcpu)
{
    return (uint32_t)vcpu->run.gprs.rcx;
}
static inline bool exit_msr_is_write(const struct vcpu *vcpu)
{
    return vcpu->vmcb->exitinfo1 != 0;      /* APM2 15.11 */
}
static inline uint64_t exit_msr_written(const struct vcpu *vcpu)
{
    return vcpu->run.gprs.rdx << 32 | (uint32_t)vcpu->vmcb->rax;
}
static inline void exit_msr_finish_read(struct vcpu *vcpu, uint64_t value)
{
    vmcb_set_rax(vcpu->vmcb, (uint32_t)value);
    vcpu->run.gprs.rdx = value >> 32;
    exit_skip(vcpu, 2);
}
/* #GP(0), and a line in the log. */
void exit_msr_refuse(struct vcpu *vcpu);
/* exit_msr_list.c: all but the vlapic's. */
void exit_msr_list(struct vcpu *vcpu);

/* exit_cr.c: the guest's CR0 and CR4 as given; no instruction of it is being stepped over. */
void exit_cr_reset(struct vcpu *vcpu, uint64_t cr0, uint64_t cr4);
/* As the guest sees them. */
uint64_t exit_cr0(const struct vcpu *vcpu);
uint64_t exit_cr4(const struct vcpu *vcpu);
/* Something comes before the instruction that was to be stepped over, which then exits again. */
void exit_cr_step_end(struct vcpu *vcpu);
/* #DB while stepping. True: it was hv's alone, and is done with. */
bool exit_cr_stepped(struct vcpu *vcpu);

/* Leaf `leaf`, subleaf 0, of what all vCPUs are told, before what depends on the vCPU. 8000_0000 and up, or 0 to D. */
struct cpuid exit_cpuid_offered(uint32_t leaf);

void exit_cr(struct vcpu *vcpu);
/* #MC while the vCPU ran, with what the banks say: ends its guest, or panics. */
void exit_hit(struct vcpu *vcpu, const struct mca_errors *errors);
/* INVD and WBINVD. */
void exit_cache(struct vcpu *vcpu);
/* A WBINVD of a vCPU that waits for late CPUs since (vcpu->wbinvd_ticket): when all have answered, the instruction is over.
 * False: they have not, and it is to be asked again at vcpu->asleep_tsc. On the vCPU's CPU. */
bool exit_cache_over(struct vcpu *vcpu);

void exit_cpuid(struct vcpu *vcpu);
void exit_msr(struct vcpu *vcpu);
void exit_ioio(struct vcpu *vcpu);
void exit_xsetbv(struct vcpu *vcpu);
void exit_npf(struct vcpu *vcpu);

/* Takes the page of ones from the pool; once, on the boot CPU, before the first vCPU. */
void exit_npf_init(void);
/* While true, no guest takes pool pages: for who counts them. The caller calls again with false. */
void exit_npf_freeze(bool freeze);

/* vcpu_clock.c: writes of the paravirtual clock's MSRs; false: #GP(0). */
bool vcpu_clock_write_wall(struct vcpu *vcpu, uint64_t value);
bool vcpu_clock_write_system_time(struct vcpu *vcpu, uint64_t value);

#endif
