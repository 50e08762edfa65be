/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A vCPU after INIT, and after a startup IPI. */
#ifndef SEVISOR_VCPU_START_H
#define SEVISOR_VCPU_START_H

#include "hv/vm/vcpu.h"

/* The state after INIT, waiting for a startup IPI; and that IPI. */
void vcpu_start_init(struct vcpu *vcpu);
void vcpu_start_at(struct vcpu *vcpu, uint8_t page);

#endif
