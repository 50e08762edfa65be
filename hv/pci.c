/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "pci.h"

#include "x86.h"

#define PCI_CONFIG_ADDRESS 0xcf8u
#define PCI_CONFIG_DATA 0xcfcu
#define PCI_CONFIG_ENABLE (UINT32_C(1) << 31)

static void pci_select(uint16_t bdf, uint8_t offset)
{
    out32(PCI_CONFIG_ADDRESS, PCI_CONFIG_ENABLE | (uint32_t)bdf << 8 | (offset & ~3u));
}

uint32_t pci_read32(uint16_t bdf, uint8_t offset)
{
    pci_select(bdf, offset);
    return in32(PCI_CONFIG_DATA);
}

void pci_write32(uint16_t bdf, uint8_t offset, uint32_t value)
{
    pci_select(bdf, offset);
    out32(PCI_CONFIG_DATA, value);
}
