/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Registers that are mapped as memory. By way of EAX, as AMD's processors want it for configuration space (publication 56255,
 * 2.1.4.1; Linux, pci_x86.h). */
#ifndef SEVISOR_MMIO_H
#define SEVISOR_MMIO_H

#include "hv/lib/types.h"

uint32_t mmio_read32(const volatile void *registers, uint64_t offset);
void mmio_write32(volatile void *registers, uint64_t offset, uint32_t value);

#endif
