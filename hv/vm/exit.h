/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Exits: what their handlers have in common. Each handler gets the vCPU after #VMEXIT, with the VMCB as the CPU left it. */
#ifndef SEVISOR_EXIT_H
#define SEVISOR_EXIT_H

#include "hv/cpu/mca.h"
#include "hv/vm/vcpu_cr.h"

#define VECTOR_DB 1u
#define VECTOR_UD 6u
#define VECTOR_GP 13u
#define VECTOR_PF 14u
#define VECTOR_AC 17u

/* RFLAGS.TF, the guest's or hv's, behind an instruction that exited. */
void exit_single_step(struct vcpu *vcpu);

/* Moves RIP past an intercepted instruction, to `rip`. */
static inline void exit_skip_to(struct vcpu *vcpu, uint64_t rip)
{
    vmcb_set_rip(vcpu->vmcb, rip);
    vmcb_set_interrupt_shadow(vcpu->vmcb, 0); /* STI's and MOV SS's shadow ends with the instruction */
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
/* The vCPU's registers, on the operator's log. */
void exit_report(const struct vcpu *vcpu);
/* Ends the guest as crashed; the vCPU's registers go to the log. */
void exit_crash(struct vcpu *vcpu, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* #MC while the vCPU ran, with what the banks say: ends its guest, or panics. */
void exit_machine_check(struct vcpu *vcpu, const struct mca_errors *errors);
#endif
