/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Section `.sbat`, without which shim starts nothing: component, generation, vendor, package, version, where to ask; each line.
 * The generation goes up with a fault that lets an attacker past Secure Boot (shim's SBAT.md). */
#include "boot/boot.h"

#include "hv/lib/version.h"

#define SBAT "sbat,1,SBAT Version,sbat,1,https://github.com/rhboot/shim/blob/main/SBAT.md\n" \
             "sevisor,1,Sevisor,sevisor," SEVISOR_VERSION ",see README.md\n"

__attribute__((section(".sbat"), used)) static const char sbat[] = SBAT;
