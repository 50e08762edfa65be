/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Two pools of ASIDs, in the ranges that SEV's CPUID leaf gives. */
#include "hv/svm/asid.h"

#include "hv/lib/bits.h"

/* More than GUEST_MAX of each kind are of no use. */
#define ASID_POOL 1024u

struct asid_pool {
    uint32_t first, count;
    uint64_t taken[ASID_POOL / 64];
};

static struct asid_pool pools[2];       /* by enum asid_kind */

static void pool_init(struct asid_pool *pool, uint32_t first, uint32_t end)
{
    *pool = (struct asid_pool){.first = first};
    if (end > first)
        pool->count = end - first < ASID_POOL ? end - first : ASID_POOL;
}

void asid_init(uint32_t asids, uint32_t min_sev_asid, uint32_t max_sev_asid)
{
    uint32_t first_plain = max_sev_asid < UINT32_MAX ? max_sev_asid + 1 : UINT32_MAX;
    uint32_t end_sev = asids < first_plain ? asids : first_plain;

    /* CPUID 8000_001F EDX may exceed ECX: no ASIDs for guests without ES. 0 is the host's. */
    pool_init(&pools[ASID_SEV], min_sev_asid > 0 ? min_sev_asid : 1, max_sev_asid > 0 ? end_sev : 0);
    pool_init(&pools[ASID_PLAIN], first_plain, asids);
}

uint32_t asid_alloc(enum asid_kind kind)
{
    struct asid_pool *pool = &pools[kind];
    uint32_t i = (uint32_t)bits_take(pool->taken, 0, pool->count, 1);
    return i < pool->count ? pool->first + i : 0;
}

void asid_free(uint32_t asid)
{
    struct asid_pool *pool = &pools[asid < pools[ASID_PLAIN].first ? ASID_SEV : ASID_PLAIN];
    if (asid < pool->first || asid - pool->first >= pool->count)
        panic("asid_free: ASID %u is not one that guests can have", asid);
    bits_mark(pool->taken, asid - pool->first, 1, false);
}

uint32_t asid_free_count(enum asid_kind kind)
{
    const struct asid_pool *pool = &pools[kind];
    uint32_t free = 0;
    for (uint32_t i = 0; i < pool->count; i++)
        free += bits_has(pool->taken, i) ? 0 : 1;
    return free;
}
