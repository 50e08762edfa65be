/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The C-bit. Each physical page has one owner and one view at a time. */
#ifndef SEVISOR_VIEW_H
#define SEVISOR_VIEW_H

#include "boot/handoff.h"
#include "hv/lib/types.h"

/* The key that the bytes of a page are encrypted with. */
enum memory_view {
    VIEW_PLAIN,         /* C=0 on the host */
    VIEW_ENCRYPTED,     /* C=1 on the host: hv's SME key; same as PLAIN without SME */
    VIEW_GUEST,         /* a guest's key (its ASID's): hv maps none of it */
};

/* Takes over the hand-over's C-bit; before all else here. */
void view_init(const struct handoff *handoff);
/* The mask; 0 without SME. */
uint64_t view_c_bit(void);
/* The one function that adds the C-bit to a page-table entry: host tables and nested tables alike. VIEW_GUEST adds none (the
 * guest's own C-bit selects). */
uint64_t view_entry_address(paddr_t page, enum memory_view view);
/* The one function that adds the C-bit to an address for the SEV firmware. */
uint64_t view_firmware_address(paddr_t page, enum memory_view view);

/* Writes back and invalidates the lines of a mapped range (CLFLUSH; APM3). */
void cache_flush(const void *va, uint64_t size);

#endif
