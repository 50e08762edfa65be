/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* KVM's paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst). */
#ifndef SEVISOR_PVCLOCK_H
#define SEVISOR_PVCLOCK_H

#include "types.h"

struct guest;
struct vcpu;

#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u

struct pvclock {
    uint64_t system_time_msr;   /* as the guest wrote it; bit 0 = enabled */
    uint32_t version;
};

/* MSR writes; false: #GP(0). They write the structure into the guest's shared page. */
bool pvclock_write_wall(struct vcpu *vcpu, uint64_t value);
bool pvclock_write_system_time(struct vcpu *vcpu, uint64_t value);

#endif
