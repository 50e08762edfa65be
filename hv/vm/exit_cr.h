/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* MOV to and from CR0 and CR4. */
#ifndef SEVISOR_EXIT_CR_H
#define SEVISOR_EXIT_CR_H

#include "hv/vm/vcpu.h"

void exit_cr(struct vcpu *vcpu);

#endif
