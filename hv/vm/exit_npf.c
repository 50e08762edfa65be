/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Nested page faults. Operating systems look where PCs have devices without being told that there are any: chipset
 * registers, HPET, TPM, I/O APIC, ROMs. On an empty bus they read all ones. Nothing here decodes instructions, so a page
 * of ones is mapped where the guest reads; there is one, for all guests. It is plain, read-only and without
 * execution, and its place in the nested tables is counted among the guest's own table pages. With C=1 a guest with SEV
 * reads what its key makes of ones. All else where there is no memory ends the guest, in words.
 */
#include "hv/vm/exit_npf.h"

#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"
#include "hv/vm/exit.h"
#include "hv/vm/guest.h"

#define BUS_END (UINT64_C(1) << 32)
#define BUS_PAGES 48u               /* of a launch: that many table pages at most, and one for each GiB of the bus */

/* EXITINFO1 (APM2 15.25.6). */
#define NPF_P (UINT64_C(1) << 0)
#define NPF_RW (UINT64_C(1) << 1)
#define NPF_RSV (UINT64_C(1) << 3)
#define NPF_ID (UINT64_C(1) << 4)
#define NPF_TABLE_WALK (UINT64_C(1) << 33)

static paddr_t ones;                /* read-only after exit_npf_init() */
static struct lock npt_lock;        /* LOCK_NPT: the tables of all guests that run */

void exit_npf_init(void)
{
    ASSERT(page_alloc(1, &ones));
    cache_flush(page_va(ones), PAGE_SIZE);      /* of what the pool wrote under hv's key, which nobody uses again */
    void *window = window_map(ones, PAGE_SIZE, VIEW_PLAIN);
    ASSERT(window != NULL);
    memset(window, 0xff, PAGE_SIZE);
    cache_flush(window, PAGE_SIZE);             /* a guest's view with C=1 has cache lines of its own (APM2 7.10.6) */
    window_unmap(window, PAGE_SIZE);
}

void exit_npf_freeze(bool freeze)
{
    if (freeze)
        lock_take(&npt_lock, LOCK_NPT);
    else
        lock_release(&npt_lock, LOCK_NPT);
}

/* What a PC has there, as messages say it. */
static const struct device {
    uint32_t first, last;
    const char *name;
} devices[] = {
    {0xfec00000, 0xfec00fff, ", where a PC has an I/O APIC"},
    {0xfed00000, 0xfed003ff, ", where a PC has the HPET"},
    {0xfed40000, 0xfed44fff, ", where a PC has a TPM"},
    {0xfed80000, 0xfed81fff, ", where a PC has the chipset's (FCH) registers"},
    {0xfee00000, 0xfeefffff, ", where a PC has the local APIC: guests have x2APIC, by MSRs"},
    {0xff000000, 0xffffffff, ", where a PC has the UEFI firmware's ROM"},
};

static const char *device_name(uint64_t gpa)
{
    for (uint32_t i = 0; i < sizeof(devices) / sizeof(devices[0]); i++)
        if (gpa >= devices[i].first && gpa <= devices[i].last)
            return devices[i].name;
    return "";
}

static void read_ones(struct vcpu *vcpu, uint64_t gpa)
{
    struct guest *guest = vcpu->guest;
    uint64_t rip = vcpu->vmcb->rip;
    paddr_t found;

    exit_npf_freeze(true);
    bool there = npt_lookup(&guest->npt, gpaddr(gpa), &found);    /* by another of its vCPUs, in the meantime */
    bool too_many = guest->bus_pages == BUS_PAGES;
    bool mapped = !there && !too_many && npt_map_readonly(&guest->npt, gpaddr(gpa & ~(PAGE_SIZE - 1)), ones);
    guest->bus_pages += mapped ? 1 : 0;
    exit_npf_freeze(false);

    if (mapped)
        log_print(LOG_GUEST_COUNTED, "%s: reads unmapped guest-physical address 0x%lx%s: all ones (RIP 0x%lx)",
                  guest->config->name, gpa, device_name(gpa), rip);
    else if (!there && too_many)
        exit_crash(vcpu,
                   "accessed unmapped guest-physical address 0x%lx (RIP 0x%lx), after reading %u other such pages", gpa,
                   rip, BUS_PAGES);
    else if (!there)
        exit_crash(
            vcpu,
            "accessed unmapped guest-physical address 0x%lx (RIP 0x%lx), and no pool page is free to map ones there",
            gpa, rip);
}

static const char *access_name(uint64_t error)
{
    if ((error & NPF_TABLE_WALK) != 0)
        return "a walk of its page tables";
    if ((error & NPF_ID) != 0)
        return "an instruction fetch";
    return (error & NPF_RW) != 0 ? "a write" : "a read";
}

void exit_npf(struct vcpu *vcpu)
{
    const struct vmcb *vmcb = vcpu->vmcb;
    const struct guest *guest = vcpu->guest;
    uint64_t gpa = vmcb->exitinfo2, error = vmcb->exitinfo1;

    if (guest->sev)
        gpa &= ~(UINT64_C(1) << guest->config->cbitpos);
    if (gpa < BUS_END && gpa >= guest->memory.size &&
        (error & (NPF_P | NPF_RW | NPF_RSV | NPF_ID | NPF_TABLE_WALK)) == 0) {
        read_ones(vcpu, gpa);
        return;
    }
    exit_crash(vcpu, "accessed unmapped guest-physical address 0x%lx%s (RIP 0x%lx, %s, error code 0x%lx)", gpa,
               device_name(gpa), vmcb->rip, access_name(error), error);
}
