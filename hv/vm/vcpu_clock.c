/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The paravirtual clock's MSRs: where in its RAM the guest wants the structures. */

#include "hv/vm/vcpu_clock.h"

#include "hv/dev/pvclock.h"
#include "hv/vm/guest.h"
#include "hv/vm/pages.h"

#define ADDRESS_ALIGN UINT64_C(4)

/* Within one page. guest_unmap_shared() after use. A guest that does not say which pages it shares says so of this one by the
 * write of the MSR. */
static void *map_structure(struct vcpu *vcpu, uint64_t address, uint64_t size)
{
    if (address % ADDRESS_ALIGN != 0 || address % PAGE_SIZE > PAGE_SIZE - size ||
        (vcpu->guest->migration_control != 0 && !pages_are_shared(vcpu->guest, gpaddr(address), size)))
        return NULL;
    void *place = guest_map_shared(vcpu->guest, gpaddr(address), size);
    if (place != NULL)
        npt_mark(&vcpu->guest->npt, gpaddr(address), size);
    return place;
}

bool vcpu_clock_write_wall(struct vcpu *vcpu, uint64_t value)
{
    void *wall = map_structure(vcpu, value, PVCLOCK_WALL_SIZE);
    if (wall == NULL)
        return false;
    pvclock_fill_wall(&vcpu->pvclock, wall, vcpu->vmcb->tsc_offset);
    guest_unmap_shared();
    return true;
}

bool vcpu_clock_write_system_time(struct vcpu *vcpu, uint64_t value)
{
    if ((value & PVCLOCK_SYSTEM_TIME_ENABLE) != 0) {
        void *time = map_structure(vcpu, value & ~PVCLOCK_SYSTEM_TIME_ENABLE, PVCLOCK_TIME_SIZE);
        if (time == NULL)
            return false;
        pvclock_fill_time(&vcpu->pvclock, time);
        guest_unmap_shared();
    }
    vcpu->pvclock.system_time_msr = value;
    return true;
}
