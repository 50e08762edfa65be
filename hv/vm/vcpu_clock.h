/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The paravirtual clock's MSRs. */
#ifndef SEVISOR_VCPU_CLOCK_H
#define SEVISOR_VCPU_CLOCK_H

#include "hv/vm/vcpu.h"

/* Their writes; false: #GP(0). */
bool vcpu_clock_write_wall(struct vcpu *vcpu, uint64_t value);
bool vcpu_clock_write_system_time(struct vcpu *vcpu, uint64_t value);

#endif
