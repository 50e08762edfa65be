/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* All MSRs that have an answer, but the vlapic's. */
#ifndef SEVISOR_EXIT_MSR_LIST_H
#define SEVISOR_EXIT_MSR_LIST_H

#include "hv/vm/vcpu.h"

#define EFER_WRITABLE (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE)

#define MTRR_DEF_TYPE_WRITABLE UINT64_C(0xcff)

/* False: #GP. */
bool exit_msr_list_read(struct vcpu *vcpu, uint32_t msr, uint64_t *value);
bool exit_msr_list_write(struct vcpu *vcpu, uint32_t msr, uint64_t value);

void exit_xsetbv(struct vcpu *vcpu);

#endif
