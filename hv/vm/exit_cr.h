/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* MOV to and from CR0 and CR4. */
#ifndef SEVISOR_EXIT_CR_H
#define SEVISOR_EXIT_CR_H

#include "hv/vm/vcpu.h"

/* The guest's CR0 and CR4 as given; no instruction of it is being stepped over. */
void exit_cr_reset(struct vcpu *vcpu, uint64_t cr0, uint64_t cr4);
/* As the guest sees them. */
uint64_t exit_cr0(const struct vcpu *vcpu);
uint64_t exit_cr4(const struct vcpu *vcpu);
/* Something comes before the instruction that was to be stepped over, which then exits again. */
void exit_cr_step_end(struct vcpu *vcpu);
/* #DB while stepping. True: it was hv's alone, and is done with. */
bool exit_cr_stepped(struct vcpu *vcpu);

void exit_cr(struct vcpu *vcpu);

#endif
