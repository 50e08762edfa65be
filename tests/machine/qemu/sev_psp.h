/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#ifndef SEVISOR_SEV_PSP_H
#define SEVISOR_SEV_PSP_H

/* A CPU executed WBINVD or WBNOINVD. */
void sev_psp_wbinvd(int cpu_index);

#endif
