/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Section `.sbat`, which shim requires: component, generation, vendor, package, version, URL on each line. The generation
 * is increased with a fix of a Secure Boot bypass (shim's SBAT.md). */
#include "boot/boot.h"

#include "hv/lib/version.h"

#define SBAT                                                                        \
    "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n" \
    "sevisor,1,Sevisor,sevisor," SEVISOR_VERSION ",see README.md\n"

__attribute__((section(".sbat"), used)) static const char sbat[] = SBAT;
