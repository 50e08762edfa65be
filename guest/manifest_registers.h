/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#ifndef SEVISOR_MANIFEST_REGISTERS_H
#define SEVISOR_MANIFEST_REGISTERS_H

#include "guest/manifest_format.h"

/* Whether VMRUN would accept this state and a guest could start from it. Knows
 * nothing of the guest's memory: manifest.c looks where CR3 and RIP point. */
enum manifest_error manifest_registers_check(const struct manifest_registers *registers);

#endif
