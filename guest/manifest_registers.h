/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#ifndef SEVISOR_MANIFEST_REGISTERS_H
#define SEVISOR_MANIFEST_REGISTERS_H

#include "guest/manifest_errors.h"
#include "guest/manifest_format.h"

#define CR0_PG (UINT64_C(1) << 31)
#define EFER_LMA (UINT64_C(1) << 10)
#define SEGMENT_L 0x200u        /* as the VMCB has it (APM2 15.5.1, "Segment State") */

/* Whether VMRUN would accept this state and a guest could start from it. Knows
 * nothing of the guest's memory: manifest.c looks where CR3 and RIP point. */
enum manifest_error manifest_registers_check(const struct manifest_registers *registers);

#endif
