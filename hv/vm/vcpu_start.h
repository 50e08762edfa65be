/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A vCPU's creation, INIT, startup, and end. */
#ifndef SEVISOR_VCPU_START_H
#define SEVISOR_VCPU_START_H

#include "hv/vm/vcpu.h"

struct manifest_registers;

/* Allocates VMCB, FPU area; loads the initial registers, or, for all but vCPU 0, those of INIT. TSCs of a
 * guest's vCPUs are one. False: out of pool pages. */
bool vcpu_create(struct guest *guest, uint32_t id, const struct manifest_registers *registers, struct vcpu **out);
/* Loads what VMRUN will take, CPL being SS.DPL. */
void vcpu_load(struct vcpu *vcpu, const struct manifest_registers *r);
/* It is on no run queue. */
void vcpu_destroy(struct vcpu *vcpu);

/* The state after INIT, waiting for a startup IPI; and that IPI. */
void vcpu_start_init(struct vcpu *vcpu);
void vcpu_start_at(struct vcpu *vcpu, uint8_t page);

#endif
