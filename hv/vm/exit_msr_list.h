/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* MSRs that have an answer. */
#ifndef SEVISOR_EXIT_MSR_LIST_H
#define SEVISOR_EXIT_MSR_LIST_H

#include "hv/vm/vcpu.h"

/* RDMSR and WRMSR of all but the vlapic's. */
void exit_msr_list(struct vcpu *vcpu);

void exit_xsetbv(struct vcpu *vcpu);

#endif
