/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* RDMSR and WRMSR. */
#ifndef SEVISOR_EXIT_MSR_H
#define SEVISOR_EXIT_MSR_H

#include "hv/vm/exit.h"

/* Of RDMSR and WRMSR. */
static inline uint32_t exit_msr_number(const struct vcpu *vcpu)
{
    return (uint32_t)vcpu->run.gprs.rcx;
}
static inline bool exit_msr_is_write(const struct vcpu *vcpu)
{
    return vcpu->vmcb->exitinfo1 != 0;      /* APM2 15.11 */
}
static inline uint64_t exit_msr_written(const struct vcpu *vcpu)
{
    return vcpu->run.gprs.rdx << 32 | (uint32_t)vcpu->vmcb->rax;
}
static inline void exit_msr_finish_read(struct vcpu *vcpu, uint64_t value)
{
    vmcb_set_rax(vcpu->vmcb, (uint32_t)value);
    vcpu->run.gprs.rdx = value >> 32;
    exit_skip(vcpu, 2);
}
/* #GP(0), and a line in the log. */
void exit_msr_refuse(struct vcpu *vcpu);
void exit_msr(struct vcpu *vcpu);

#endif
