/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What was free before the first launch is free again after the last end, or the difference is explained. */
#include "hv/control/leak.h"

#include "hv/console/line.h"
#include "hv/control/sev.h"
#include "hv/lib/text.h"
#include "hv/mm/page.h"
#include "hv/svm/asid.h"
#include "hv/vm/exit_npf.h"
#include "hv/vm/guest.h"

/* What guests hold, in allocation units. */
struct resources {
    uint64_t asids, pool_pages, extent_bytes;
};

static struct resources marked;         /* free before the first launch */
static struct resources quarantined;

static struct resources resources_free(void)
{
    return (struct resources){
        .asids = asid_free_count(ASID_PLAIN) + asid_free_count(ASID_SEV),
        .pool_pages = page_free_count(),
        .extent_bytes = memory_free_bytes(),
    };
}

void leak_mark(void)
{
    marked = resources_free();
    quarantined = (struct resources){0};
}

void leak_quarantine(uint64_t asids, uint64_t bytes)
{
    quarantined.asids += asids;
    quarantined.extent_bytes += bytes;
}

static struct resources resources_missing(const struct resources *now)
{
    struct resources missing = {
        .asids = marked.asids - now->asids - quarantined.asids,
        .pool_pages = marked.pool_pages - now->pool_pages - sev_pool_pages(),
        .extent_bytes = marked.extent_bytes - now->extent_bytes - quarantined.extent_bytes,
    };
    for (uint32_t i = 0; i < GUEST_MAX; i++) {
        const struct guest *guest = &guests[i];
        missing.asids -= guest->asid != 0;
        missing.pool_pages -= (guest->vcpus[0] != NULL ? guest->report.hv_pages : 0) + guest->npt.pages;
        missing.extent_bytes -= guest->memory.size + guest->window.size;
    }
    return missing;
}

void leak_check(void)
{
    exit_npf_freeze(true);
    struct resources now = resources_free(), missing = resources_missing(&now);
    exit_npf_freeze(false);
    char verdict[120];
    if (missing.asids != 0 || missing.pool_pages != 0 || missing.extent_bytes != 0)
        text_format(verdict, sizeof(verdict), "LEAK of %ld ASIDs, %ld pool pages, %ld MiB", (int64_t)missing.asids,
                    (int64_t)missing.pool_pages, (int64_t)missing.extent_bytes / (1 << 20));
    else if (quarantined.asids != 0 || quarantined.extent_bytes != 0)
        text_format(verdict, sizeof(verdict), "all returned but a quarantine of %lu ASIDs, %lu MiB", quarantined.asids,
                    quarantined.extent_bytes >> 20);
    else
        text_format(verdict, sizeof(verdict), "all returned");
    line_print("resources: %lu ASIDs free, %lu pool pages free, %lu MiB free: %s", now.asids, now.pool_pages,
               now.extent_bytes >> 20, verdict);
}
