/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's debugger: one instruction of a vCPU, breakpoints, stops (guest/control.h: STEP, VCPU_SET). */
#ifndef SEVISOR_DEBUG_H
#define SEVISOR_DEBUG_H

#include "hv/vm/vcpu.h"

/* Before a paused guest's sched_resume(): `step` is to execute one instruction, and then to pause the guest; NULL: none is. */
void debug_begin(struct guest *guest, const struct vcpu *step);
/* The control guest has ended: from now on its breakpoints stop nobody. */
void debug_forget(void);
/* Takes those out of the DR7 of a paused guest's vCPU. */
void debug_refresh(struct vcpu *vcpu);
/* Of a paused guest: sets DR0-3 and DR7. Breakpoints that this enables are the operator's until they are disabled. */
void debug_set_breakpoints(struct vcpu *vcpu, const uint64_t dr[static 4], uint64_t dr7);
/* Before an entry while `step` is not STEP_NONE, behind event_prepare()'s own work. */
void debug_enter(struct vcpu *vcpu);
/* The host's interrupt ended VMRUN: in STEP_DELIVERY the step is over. */
void debug_delivered(struct vcpu *vcpu);
/* An instruction has been executed with hv's RFLAGS.TF, or by hv. */
void debug_stepped(struct vcpu *vcpu);
/* #DB. True: it is not the guest's own. */
bool debug_exception(struct vcpu *vcpu);

#endif
