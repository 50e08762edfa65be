/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "hv/lib/pci.h"

#include "hv/lib/x86.h"

#define PCI_CONFIG_ADDRESS 0xcf8u
#define PCI_CONFIG_DATA 0xcfcu
#define PCI_CONFIG_ENABLE (UINT32_C(1) << 31)
#define PCI_HEADER_TYPE 0x0cu
#define PCI_HEADER_MULTIFUNCTION (UINT32_C(1) << 23)
#define PCI_ABSENT UINT32_MAX

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

bool pci_next(uint32_t *bdf)
{
    for (; *bdf <= UINT16_MAX; ++*bdf) {
        uint16_t first = (uint16_t)(*bdf & ~7u);
        /* Without that bit functions 1 to 7 may be echoes of the first. */
        if (*bdf != first && (pci_read32(first, 0) == PCI_ABSENT ||
                              (pci_read32(first, PCI_HEADER_TYPE) & PCI_HEADER_MULTIFUNCTION) == 0))
            *bdf |= 7;
        else if (pci_read32((uint16_t)*bdf, 0) != PCI_ABSENT)
            return true;
    }
    return false;
}

uint32_t mmio_read32(const volatile void *registers, uint64_t offset)
{
    return *(const volatile uint32_t *)((const volatile uint8_t *)registers + offset);
}

void mmio_write32(volatile void *registers, uint64_t offset, uint32_t value)
{
    *(volatile uint32_t *)((volatile uint8_t *)registers + offset) = value;
}
