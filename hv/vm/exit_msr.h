/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* RDMSR and WRMSR, and XSETBV. */
#ifndef SEVISOR_EXIT_MSR_H
#define SEVISOR_EXIT_MSR_H

#include "hv/vm/vcpu.h"

#define EFER_WRITABLE (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

#define MTRR_DEF_TYPE_WRITABLE UINT64_C(0xcff)

void exit_msr(struct vcpu *vcpu);
void exit_xsetbv(struct vcpu *vcpu);

#endif
