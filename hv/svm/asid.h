/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Address space ids: 1..max_sev_asid for SEV guests (those >= min_sev_asid without ES),
 * the ones above for all others. ASID 0 is the host's. */
#ifndef SEVISOR_ASID_H
#define SEVISOR_ASID_H

#include "hv/lib/types.h"

enum asid_kind { ASID_PLAIN, ASID_SEV };

void asid_init(uint32_t asids, uint32_t min_sev_asid, uint32_t max_sev_asid);
/* The lowest free one; 0: none free. */
uint32_t asid_alloc(enum asid_kind kind);
/* SEV: only after DEACTIVATE, WBINVD everywhere, DF_FLUSH. The next user's first
 * entry flushes the TLB of this ASID. */
void asid_free(uint32_t asid);
uint32_t asid_free_count(enum asid_kind kind);

#endif
