/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Devices' registers: PCI configuration space of segment 0, by configuration mechanism #1 (PCI 3.0, 3.2.2.3.2); and what is
 * mapped as memory. */
#ifndef SEVISOR_PCI_H
#define SEVISOR_PCI_H

#include "hv/lib/types.h"

/* bdf: bus << 8 | device << 3 | function. Absent functions read all ones. */
uint32_t pci_read32(uint16_t bdf, uint8_t offset);
void pci_write32(uint16_t bdf, uint8_t offset, uint32_t value);
/* *bdf becomes the first function from there on that exists; false: none does. */
bool pci_next(uint32_t *bdf);

uint32_t mmio_read32(const volatile void *registers, uint64_t offset);
void mmio_write32(volatile void *registers, uint64_t offset, uint32_t value);

#endif
