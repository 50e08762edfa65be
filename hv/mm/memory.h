/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Memory for guests: extents, which are contiguous runs outside hv's arena, and not mapped. */
#ifndef SEVISOR_MEMORY_H
#define SEVISOR_MEMORY_H

#include "boot/handoff.h"
#include "hv/lib/types.h"
#include "hv/mm/view.h"

struct extent {
    paddr_t base;
    uint64_t size;      /* bytes, multiple of 2 MiB */
    enum memory_view view;
};

/* Takes over the hand-over's map. Once, on the boot CPU. */
void memory_init(const struct handoff *handoff);

/* `size` bytes of contiguous memory (rounded up to 2 MiB; 1 GiB aligned if size >= 1 GiB
 * and it can be had, else 2 MiB aligned). Content undefined, view PLAIN. False: none. */
bool extent_alloc(uint64_t size, struct extent *out);
/* Changes the view of the whole extent: flushes caches as the APM asks on parts without
 * coherent encryption (APM2 7.10.6). The one place where a page's view changes. False: all CPUs
 * have to execute WBINVD first; nothing has changed, and it is to be called again then with `flushed`. */
bool extent_set_view(struct extent *extent, enum memory_view view, bool flushed);
/* Fills [offset, offset+size), whole pages, with zeros under the extent's view (PLAIN or ENCRYPTED). They may
 * still be in the caches: extent_set_view() flushes them. False: window space, or the pool pages for windows whose
 * ends are not 2 MiB aligned, are used up; part of it may be done. The whole extent at once needs no pool pages. */
bool extent_zero(const struct extent *extent, uint64_t offset, uint64_t size);
/* The caller has scrubbed it; its view is PLAIN. */
void extent_free(struct extent *extent);
/* The same, but for the 2 MiB with the byte at `offset`: they are not allocated again until the next boot, nor
 * should they be scrubbed, since a memory error was reported there, and another access may raise the next. */
void extent_retire(struct extent *extent, uint64_t offset);

/* All memory for guests; and what of it is no extent now. */
uint64_t memory_bytes(void);
uint64_t memory_free_bytes(void);

#endif
