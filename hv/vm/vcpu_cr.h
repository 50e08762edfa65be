/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A vCPU's CR0 and CR4: what the guest sees, and what is in the hardware. */
#ifndef SEVISOR_VCPU_CR_H
#define SEVISOR_VCPU_CR_H

#include "hv/vm/vcpu.h"

#define CR0_HIDDEN (CR0_CD | CR0_NW)    /* the guest's are not in the hardware */
#define RFLAGS_TF (UINT64_C(1) << 8)
#define DR6_BS (UINT64_C(1) << 14)

/* MOV to and from them exits: the CPU has decode assists. */
bool vcpu_cr_intercepts(void);
/* The guest's CR0 and CR4 as given; no instruction of it is being stepped over. */
void vcpu_cr_reset(struct vcpu *vcpu, uint64_t cr0, uint64_t cr4);
void vcpu_cr_set_cr0(struct vcpu *vcpu, uint64_t cr0);
/* As the guest sees them. */
uint64_t vcpu_cr0(const struct vcpu *vcpu);
uint64_t vcpu_cr4(const struct vcpu *vcpu);
/* Lets the guest execute the instruction at RIP itself, and exit behind it. `cr0_free`: it has exited for its access to CR0. */
void vcpu_cr_step(struct vcpu *vcpu, bool cr0_free);
/* Something comes before the instruction that was to be stepped over, which then exits again. */
void vcpu_cr_step_end(struct vcpu *vcpu);
/* #DB while stepping. True: it was hv's alone, and is done with. */
bool vcpu_cr_stepped(struct vcpu *vcpu);

#endif
