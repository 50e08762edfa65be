/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* SVM on a CPU. */
#ifndef SEVISOR_SVM_H
#define SEVISOR_SVM_H

#include "hv/cpu/cpu.h"

/* Pages for SVM (false: out of pages); then, on the CPU itself, EFER.SVME, VM_HSAVE_PA. The preflight has seen that it
 * will work. */
bool svm_allocate(struct cpu *cpu);
void svm_init(struct cpu *cpu);

#endif
