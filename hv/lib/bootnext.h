/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which boot option a reset leads to. Also built for boot/. */
#ifndef SEVISOR_BOOTNEXT_H
#define SEVISOR_BOOTNEXT_H

#include "hv/lib/types.h"

/* Makes BootNext (UEFI 2.9, 3.3) name the option that the boot manager would start after the one that is running; *option is
 * its number. False: none follows, or the UEFI firmware does not keep it. By the services at these addresses. */
bool bootnext_set(uint64_t get_variable, uint64_t set_variable, uint16_t *option);

#endif
