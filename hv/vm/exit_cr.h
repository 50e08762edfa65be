/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* MOV to and from CR0 and CR4. */
#ifndef SEVISOR_EXIT_CR_H
#define SEVISOR_EXIT_CR_H

#include "hv/vm/vcpu.h"

#define CR0_DEFINED (CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

void exit_cr(struct vcpu *vcpu);
/* CR4's bits that are not reserved on the processor that CPUID describes to guests. */
uint64_t exit_cr4_defined(void);

#endif
