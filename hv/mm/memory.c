/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Extents for guests from the free runs outside hv's arena; cleared and copied through windows. */
#include "hv/mm/memory.h"

#include "hv/cpu/cpu.h"
#include "hv/lib/panic.h"
#include "hv/lib/runs.h"
#include "hv/lib/string.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"

#define EXTENTS_MAX 1024u      /* of guests, and in quarantine */
#define ZERO_WINDOW (UINT64_C(16) << 20)

/* Memory for guests. */
static struct runs memory_runs;
static uint64_t extent_bytes;
static uint32_t extents; /* allocated, and in quarantine */

/* Between two free runs lies a hole of the hand-over's map, or an extent: runs_give() always finds room. */
_Static_assert(RUNS_MAX > HANDOFF_MAX_RANGES + EXTENTS_MAX, "free runs");

void memory_init(const struct handoff *handoff)
{
    memset(&memory_runs, 0, sizeof(memory_runs));
    extents = 0;
    for (uint32_t i = 0; i < handoff->range_count; i++) {
        const struct handoff_range *range = &handoff->ranges[i];
        if (range->kind == HANDOFF_USABLE)
            ASSERT(runs_give(&memory_runs, range->base, range->pages * PAGE_SIZE));
    }
    extent_bytes = runs_total(&memory_runs);
}

bool extent_alloc(uint64_t size, struct extent *out)
{
    uint64_t base;
    if (extents == EXTENTS_MAX || !runs_take(&memory_runs, size, &base))
        return false;
    extents++;
    *out = (struct extent){paddr(base), (size + SIZE_2M - 1) & ~(SIZE_2M - 1), VIEW_PLAIN};
    return true;
}

/* Whether two views mean the same key on this machine. */
static bool same_key(enum memory_view a, enum memory_view b)
{
    return a == b || (view_c_bit() == 0 && a != VIEW_GUEST && b != VIEW_GUEST);
}

bool extent_set_view(struct extent *extent, enum memory_view view, bool flushed)
{
    /* APM2 7.10.6: lines of one physical address under two keys are two lines, and the older one
     * may be written back over the newer. Lines under a guest's key have no address that
     * the host could CLFLUSH, so the whole cache goes. Coherent parts need it for those only. */
    if (!flushed && !same_key(extent->view, view) &&
        (!this_cpu()->features.sme_coherent || extent->view == VIEW_GUEST || view == VIEW_GUEST))
        return false;
    extent->view = view;
    return true;
}

bool extent_zero(const struct extent *extent, uint64_t offset, uint64_t size)
{
    ASSERT(extent->view != VIEW_GUEST && (offset | size) % PAGE_SIZE == 0 && offset <= extent->size &&
           size <= extent->size - offset);
    for (uint64_t at = extent->base.raw + offset, end = at + size; at < end;) {
        /* All windows but the first begin at a large page. */
        uint64_t part = ZERO_WINDOW - (at & (ZERO_WINDOW - 1));
        if (part > end - at)
            part = end - at;
        void *window = window_map(paddr(at), part, extent->view);
        if (window == NULL)
            return false;
        memset(window, 0, part);
        window_unmap(window, part);
        at += part;
    }
    return true;
}

void extent_free(struct extent *extent)
{
    ASSERT(extent->size > 0 && extent->view == VIEW_PLAIN && runs_give(&memory_runs, extent->base.raw, extent->size));
    extents--;
    *extent = (struct extent){0};
}

/* What is kept stays an extent: so there are never more free runs than runs.c has room for. */
void extent_retire(struct extent *extent, uint64_t offset)
{
    uint64_t kept = offset & ~(SIZE_2M - 1), after = kept + SIZE_2M, base = extent->base.raw;
    uint64_t rest = extent->size - after;
    ASSERT(offset < extent->size && extent->view == VIEW_PLAIN);
    ASSERT(kept == 0 || runs_give(&memory_runs, base, kept));
    ASSERT(rest == 0 || runs_give(&memory_runs, base + after, rest));
    *extent = (struct extent){0};
}

uint64_t memory_bytes(void)
{
    return extent_bytes;
}

uint64_t memory_free_bytes(void)
{
    return runs_total(&memory_runs);
}
