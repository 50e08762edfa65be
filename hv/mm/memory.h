/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Physical memory. Two kinds, each with one owner and one view at a time:
 *  - the pool: 4 KiB pages inside hv's arena, always mapped from HV_ARENA_BASE
 *    on with C=1 (when there is SME): page tables, VMCBs, hv's own data;
 *  - extents: contiguous runs outside the arena, for guests; not mapped.
 */
#ifndef SEVISOR_MEMORY_H
#define SEVISOR_MEMORY_H

#include "boot/handoff.h"
#include "hv/lib/types.h"

struct cpu_wbinvd;

/* The key that the bytes of a page are encrypted with. */
enum memory_view {
    VIEW_PLAIN,         /* C=0 on the host */
    VIEW_ENCRYPTED,     /* C=1 on the host: hv's SME key; same as PLAIN without SME */
    VIEW_GUEST,         /* an ASID's key: hv does not look */
};

struct extent {
    paddr_t base;
    uint64_t size;      /* bytes, multiple of 2 MiB */
    enum memory_view view;
    uint32_t index;     /* memory.c's own */
};

/* Takes over the hand-over's map. Once, on the boot CPU, after hostmap_arena(). */
void memory_init(const struct handoff *handoff);

/* `count` contiguous pool pages, zeroed, `align` pages aligned (power of two).
 * False: none left, nothing taken. On any CPU. */
bool page_alloc(uint64_t count, uint64_t align, paddr_t *out);
/* Returns pool pages: they are zeroed first. */
void page_free(paddr_t base, uint64_t count);
/* A pool page as hv sees it, and back. */
void *page_va(paddr_t page);
paddr_t page_pa(const void *va);

/* `size` bytes of contiguous memory (rounded up to 2 MiB; 1 GiB aligned if size >= 1 GiB
 * and it can be had, else 2 MiB aligned). Content undefined, view PLAIN. False: none. */
bool extent_alloc(uint64_t size, struct extent *out);
/* Changes the view of the whole extent: flushes caches as the APM asks on parts without
 * coherent encryption (APM2 7.10.6). The one place where a page's view changes. False: not all CPUs have done their WBINVD;
 * nothing has changed, and it is to be called again. */
bool extent_set_view(struct extent *extent, enum memory_view view, struct cpu_wbinvd *wbinvd);
/* Fills [offset, offset+size), whole pages, with zeros under the extent's view (PLAIN or ENCRYPTED). They may
 * still be in the caches: extent_set_view() flushes them. False: window space, or the pool pages for windows whose
 * ends are not 2 MiB aligned, are used up; part of it may be done. The whole extent at once needs no pool pages. */
bool extent_zero(const struct extent *extent, uint64_t offset, uint64_t size);
/* The caller has scrubbed it; its view is PLAIN. */
void extent_free(struct extent *extent);
/* The same, but for the 2 MiB with the byte at `offset`: nobody gets those again, nor should they be scrubbed, since
 * a memory error was reported there, and another access may raise the next. */
void extent_retire(struct extent *extent, uint64_t offset);

struct memory_stats {
    uint64_t pool_total, pool_free;         /* pages */
    uint64_t extent_total, extent_free;     /* bytes */
    uint32_t extents;                       /* taken now */
};
void memory_stats(struct memory_stats *stats);

#endif
