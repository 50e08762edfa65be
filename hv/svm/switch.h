/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* State of a guest that VMRUN, #VMEXIT, VMLOAD and VMSAVE leave alone. */
#ifndef SEVISOR_SWITCH_H
#define SEVISOR_SWITCH_H

#include "hv/vm/vcpu.h"

/* On each CPU, before its first guest, after cpu_init(): finds what there is to switch, opens XCR0. */
void switch_init(void);
/* XCR0 bits that a guest may set; 0 without XSAVE. */
uint64_t switch_guest_xcr0(void);
/* A vCPU's state at its creation, in vcpu->fpu, xcr0, dr. */
void switch_reset(struct vcpu *vcpu);
/* Makes the CPU's state that of `vcpu`; saves that of the vCPU which had it (cpu->current). */
void switch_to(struct cpu *cpu, struct vcpu *vcpu);
/* What of it INIT changes: DR0-3 become 0. On the vCPU's own CPU, or before its first run. */
void switch_at_init(struct vcpu *vcpu);
/* XCR0 of the vCPU that has the CPU; and its XSETBV, already checked. */
uint64_t switch_xcr0(void);
void switch_set_xcr0(uint64_t xcr0);
/* False: the processor has no RDTSCP, and no TSC_AUX. */
bool switch_has_tsc_aux(void);
/* WRMSR TSC_AUX by the vCPU that has the CPU. False: #GP. */
bool switch_set_tsc_aux(struct vcpu *vcpu, uint64_t value);

#endif
