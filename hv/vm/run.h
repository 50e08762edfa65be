/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The run loops: of a vCPU, and of a CPU. */
#ifndef SEVISOR_RUN_H
#define SEVISOR_RUN_H

#include "hv/cpu/cpu.h"

/* Everything that vCPUs need on a CPU and in common; before the first is created. The CPU's
 * own GS, TR and system-call MSRs are final: VMSAVE keeps them for the exits. `com2_free`: its UART is not hv's console. */
void run_init(struct cpu *cpu, bool com2_free);
/* The part of it that each CPU does for itself. */
void run_init_cpu(struct cpu *cpu);
/* Runs it until the slice is over (cpu->slice_end_tsc), it halts, a vCPU that has run less wakes up, or its guest has ended. */
void run_vcpu(struct vcpu *vcpu);
/* One round: takes what came for the CPU's vCPUs, and runs one for at most `slice` TSC cycles. False: none can run before
 * `*next`. */
bool run_round(struct cpu *cpu, uint64_t slice, uint64_t *next);
/* Sleeps until then, or until an interrupt. */
void run_idle(struct cpu *cpu, uint64_t until);
/* Every other CPU's loop; the boot CPU's is init/loop.c. */
_Noreturn void run_loop(struct cpu *cpu);

#endif
