/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* KVM's paravirtual clock (Linux Documentation/virt/kvm/x86/msr.rst). */
#ifndef SEVISOR_PVCLOCK_H
#define SEVISOR_PVCLOCK_H

#include "hv/lib/types.h"

#define MSR_KVM_WALL_CLOCK_NEW 0x4b564d00u
#define MSR_KVM_SYSTEM_TIME_NEW 0x4b564d01u

struct pvclock {
    uint64_t system_time_msr;   /* as the guest wrote it */
    uint32_t version;           /* even: of what was written last */
};

/* Of MSR_KVM_SYSTEM_TIME_NEW; above it is the structure's address. */
#define PVCLOCK_SYSTEM_TIME_ENABLE UINT64_C(1)

/* Fill the guest's structures of these sizes, 4-byte aligned. `tsc_offset`: the guest's TSC is the host's plus that. */
#define PVCLOCK_WALL_SIZE 12u
#define PVCLOCK_TIME_SIZE 32u
void pvclock_fill_wall(struct pvclock *clock, void *place, uint64_t tsc_offset);
void pvclock_fill_time(struct pvclock *clock, void *place);

/* ns = ((tsc << shift) * mul) >> 32, a negative shift being one to the right. */
struct pvclock_scale {
    uint32_t mul;
    int8_t shift;
};
/* The scale of a TSC of `hz` > 0: exact to the last bit of mul, which is in [2^31, 2^32) up to 8 GHz. */
struct pvclock_scale pvclock_scale(uint64_t hz);

#endif
