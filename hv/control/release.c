/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* vCPUs, nested page tables, memory and ASID of a guest go back to where they came from. */
#include "hv/control/release.h"

#include "hv/control/control.h"
#include "hv/svm/asid.h"
#include "hv/vm/pages.h"
#include "hv/vm/vcpu_start.h"

void release_vcpus(struct guest *guest)
{
    pages_destroy(guest);
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS; i++) {
        struct vcpu *vcpu = guest->vcpus[i];
        if (vcpu == NULL)
            continue;
        guest_count_vcpu(vcpu, &guest->past);
        guest->vcpus[i] = NULL;     /* before it is freed: a concurrent guest_read_counters() must not find it */
        vcpu_destroy(vcpu);
    }
}

void release_tables(struct guest *guest)
{
    if (guest->npt.root.raw != 0)
        npt_destroy(&guest->npt);
    guest->npt = (struct npt){0};
}

void release_unused(struct guest *guest)
{
    (void)control_close(guest); /* it has not run: no request is under way */
    release_vcpus(guest);
    release_tables(guest);
    if (guest->memory.size != 0)
        extent_free(&guest->memory);
    if (guest->asid != 0)
        asid_free(guest->asid);
    guest->asid = 0;
}
