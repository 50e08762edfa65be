/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* KVM's paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst). */
#ifndef SEVISOR_PVCLOCK_H
#define SEVISOR_PVCLOCK_H

#include "hv/lib/types.h"

struct guest;
struct vcpu;

#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u

struct pvclock {
    uint64_t system_time_msr;   /* as the guest wrote it; bit 0 = enabled */
    uint32_t version;           /* even: of what was written last */
};

/* MSR writes; false: #GP(0). They write the structure into the guest's shared page. */
bool pvclock_write_wall(struct vcpu *vcpu, uint64_t value);
bool pvclock_write_system_time(struct vcpu *vcpu, uint64_t value);

/* ns = ((tsc << shift) * mul) >> 32, a negative shift being one to the right. */
struct pvclock_scale {
    uint32_t mul;
    int8_t shift;
};
/* The scale of a TSC of `hz` > 0, below 2^62: mul is in [2^31, 2^32), exact to its last bit. */
struct pvclock_scale pvclock_scale(uint64_t hz);

#endif
