/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* RDMSR and WRMSR. */
#ifndef SEVISOR_EXIT_MSR_H
#define SEVISOR_EXIT_MSR_H

#include "hv/vm/vcpu.h"

void exit_msr(struct vcpu *vcpu);

#endif
