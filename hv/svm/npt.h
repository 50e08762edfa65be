/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Nested page tables (APM2 15.25): 1 GiB, 2 MiB and 4 KiB pages. */
#ifndef SEVISOR_NPT_H
#define SEVISOR_NPT_H

#include "hv/mm/view.h"

struct npt {
    paddr_t root;       /* of the PML4; N_CR3 is view_entry_address(root, VIEW_ENCRYPTED) */
    uint64_t pages;     /* table pages taken from the pool, root included */
};

/* An empty tree. False: out of pool pages. */
bool npt_create(struct npt *npt);
/* Maps [gpa, gpa+size) → base, all permissions, the largest pages that fit; all or nothing.
 * `view` decides the entries' C-bit (VIEW_GUEST and PLAIN: none). */
bool npt_map(struct npt *npt, gpaddr_t gpa, paddr_t base, uint64_t size, enum memory_view view);
/* Maps one plain page for reading: no writes, no execution. All or nothing. A guest's page tables cannot lie there, since their
 * walk counts as a write (APM2 15.25.5). */
bool npt_map_readonly(struct npt *npt, gpaddr_t gpa, paddr_t page);
/* Where a guest page is; false when not mapped. */
bool npt_lookup(const struct npt *npt, gpaddr_t gpa, paddr_t *out);
void npt_destroy(struct npt *npt);

#endif
