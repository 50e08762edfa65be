/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's ASID, memory, nested page tables and vCPUs: from where they come, and back to there. */
#include "hv/control/resources.h"

#include "hv/control/control.h"
#include "hv/control/sev.h"
#include "hv/cpu/smp.h"
#include "hv/lib/text.h"
#include "hv/mm/page.h"
#include "hv/svm/asid.h"
#include "hv/vm/pages.h"
#include "hv/vm/vcpu_start.h"

#define NO_PAGES \
    "the hypervisor's own memory has too few pages left for its %s: run fewer guests at a time, or with fewer vCPUs"

__attribute__((format(printf, 2, 3))) static bool refuse(struct guest *guest, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_format_list(guest->end_reason, sizeof(guest->end_reason), format, arguments);
    va_end(arguments);
    return false;
}

enum memory_view resources_launch_view(const struct guest *guest)
{
    return guest->config->encryption == MANIFEST_ENCRYPTION_NONE ? VIEW_PLAIN : VIEW_ENCRYPTED;
}

bool resources_check(struct guest *guest)
{
    const struct manifest_guest *config = guest->config;
    for (uint32_t i = 0; i < config->vcpus; i++) {
        if (config->cpus[i] != MANIFEST_CPU_ANY && smp_cpu(config->cpus[i]) == NULL)
            return refuse(guest,
                          "pins vCPU %u to CPU %u, which does not run on this machine: change pins in guests.toml", i,
                          config->cpus[i]);
    }
    if (config->encryption == MANIFEST_ENCRYPTION_HOST && view_c_bit() == 0)
        return refuse(guest, "has encryption = \"host\", but SME is off: enable SMEE in the BIOS, or set encryption = "
                             "\"none\"");
    if (!guest->sev)
        return true;
    if (!sev_ready() && !sev_starting())
        return refuse(guest, "%s", sev_refusal());
    return sev_check_config(config, guest->end_reason, sizeof(guest->end_reason));
}

/* False: some may be allocated. */
static bool allocate(struct guest *guest)
{
    const struct manifest_guest *config = guest->config;
    uint64_t pool_before = page_free_count();

    guest->asid = asid_alloc(guest->sev ? ASID_SEV : ASID_PLAIN);
    if (guest->asid == 0)
        return refuse(guest, "no ASID is free for %s guest", guest->sev ? "another encrypted" : "another plain");
    if (!extent_alloc(config->memory, &guest->memory))
        return refuse(guest, "needs %lu MiB of contiguous memory; %lu MiB are free in total", config->memory >> 20,
                      memory_free_bytes() >> 20);
    if (!npt_create(&guest->npt) || !npt_map(&guest->npt, gpaddr(0), guest->memory.base, config->memory,
                                             guest->sev ? VIEW_GUEST : resources_launch_view(guest)))
        return refuse(guest, NO_PAGES, "nested page tables");
    if ((config->flags & MANIFEST_GUEST_SNAPSHOT) != 0 && !npt_split(&guest->npt, gpaddr(0), config->memory))
        return refuse(guest, NO_PAGES, "nested page tables of 4 KiB");
    if (!pages_create(guest))
        return refuse(guest, NO_PAGES, "list of shared pages");
    if ((config->flags & MANIFEST_GUEST_CONTROL) != 0 && !control_open(guest))
        return refuse(guest, "needs 2 MiB more, for the window of the control interface");
    for (uint32_t i = 0; i < config->vcpus; i++) {
        if (!vcpu_create(guest, i, &config->registers, &guest->vcpus[i]))
            return refuse(guest, NO_PAGES, "vCPUs");
    }
    guest->report.table_pages = guest->npt.pages;
    guest->report.hv_pages = pool_before - page_free_count() - guest->npt.pages;
    return true;
}

void resources_free_vcpus(struct guest *guest)
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

bool resources_allocate(struct guest *guest)
{
    if (allocate(guest))
        return true;
    (void)control_close(guest); /* it has not run: no request is under way */
    resources_free_vcpus(guest);
    npt_destroy(&guest->npt);
    if (guest->memory.size != 0)
        extent_free(&guest->memory);
    if (guest->asid != 0)
        asid_free(guest->asid);
    guest->asid = 0;
    return false;
}
