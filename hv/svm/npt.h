/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Nested page tables (APM2 15.25): 1 GiB, 2 MiB and 4 KiB pages. */
#ifndef SEVISOR_NPT_H
#define SEVISOR_NPT_H

#include "hv/mm/view.h"

/* Of a leaf: the processor has read, written, or fetched from there; it has written there. It sets them, nobody else clears A. */
#define NPT_A (UINT64_C(1) << 5)
#define NPT_D (UINT64_C(1) << 6)

/* "All or nothing" holds unless other CPUs take the last pool pages at the same time (exit_npf_freeze() keeps them from it): what was
 * done by then is right, and stays until npt_destroy(). */
struct npt {
    paddr_t root; /* of the PML4; N_CR3 is view_entry_address(root, VIEW_ENCRYPTED) */
    uint64_t pages; /* table pages taken from the pool, root included */
};

/* An empty tree. False: out of pool pages. */
bool npt_create(struct npt *npt);
/* Maps [gpa, gpa+size) → base, all permissions, the largest pages that fit, neither accessed nor written; all or nothing.
 * `view` decides the entries' C-bit (VIEW_GUEST and PLAIN: none). */
bool npt_map(struct npt *npt, gpaddr_t gpa, paddr_t base, uint64_t size, enum memory_view view);
/* Maps one plain page for reading: no writes, no execution. All or nothing. A guest's page tables cannot lie there, since their
 * walk counts as a write (APM2 15.25.5). */
bool npt_map_readonly(struct npt *npt, gpaddr_t gpa, paddr_t page);
/* From now on [gpa, gpa+size) has leaves of 4 KiB, which inherit A and D; all or nothing. False: out of pool pages. The guest may run,
 * but TLBs may hold the larger pages until they are flushed. */
bool npt_split(struct npt *npt, gpaddr_t gpa, uint64_t size);
/* A and D of the leaf that maps `gpa`. With `clear` D becomes 0: it is set again by writes that come after a flush of the TLBs. */
uint64_t npt_usage(const struct npt *npt, gpaddr_t gpa, bool clear);
/* [gpa, gpa+size) of its RAM is written by others than the guest: sets A and D. Any CPU. */
void npt_mark(const struct npt *npt, gpaddr_t gpa, uint64_t size);
/* Where a guest page is; false when not mapped. */
bool npt_lookup(const struct npt *npt, gpaddr_t gpa, paddr_t *out);
void npt_destroy(struct npt *npt);

#endif
