/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Registers and memory of guests, for the control guest, where the guest's policy allows it. */
#ifndef SEVISOR_CONTROL_DEBUG_H
#define SEVISOR_CONTROL_DEBUG_H

#include "hv/control/control_call.h"

/* A SEV guest's policy decides, with which its owner has started it, by any of `bits`; of others, their entry in the manifest. */
bool control_debug_forbidden(const struct guest *guest, uint32_t bits);
/* Registers of a vCPU that no CPU has. Set: all or, where one has no value that a guest could give it, none (false); `state` and `cpu` are
 * not looked at. */
void control_debug_get(const struct vcpu *vcpu, struct control_vcpu *out);
bool control_debug_set(struct vcpu *vcpu, const struct control_vcpu *in);
enum control_result control_debug_vcpu_get(struct control_call *call);
enum control_result control_debug_vcpu_set(struct control_call *call);
/* A paused guest goes on; or `step` alone, for one instruction. */
void control_debug_resume(struct guest *guest, const struct vcpu *step);
enum control_result control_debug_step(struct control_call *call);
enum control_result control_debug_memory(struct control_call *call);

#endif
