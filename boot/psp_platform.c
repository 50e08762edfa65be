/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What psp_discover() needs (psp/platform.h). UEFI maps all memory one to one, device registers included. */
#include "../psp/platform.h"

#include "boot.h"

#include "../hv/pci.h"

#define PCI_COMMAND 0x04u
#define COMMAND_NONE UINT32_MAX

static uint16_t command_bdf;
static uint32_t command_before = COMMAND_NONE;

uint32_t psp_platform_pci_read32(uint16_t bdf, uint8_t offset)
{
    return pci_read32(bdf, offset);
}

void psp_platform_pci_write32(uint16_t bdf, uint8_t offset, uint32_t value)
{
    if (offset == PCI_COMMAND && (command_before == COMMAND_NONE || bdf != command_bdf)) {
        command_bdf = bdf;
        command_before = pci_read32(bdf, offset) & 0xffff;
    }
    pci_write32(bdf, offset, value);
}

void psp_platform_restore(void)
{
    if (command_before != COMMAND_NONE)
        pci_write32(command_bdf, PCI_COMMAND, command_before);
}

bool psp_platform_out_of_reach;

volatile void *psp_platform_map_mmio(uint64_t physical, uint64_t size)
{
    /* Memory encryption takes address bits away: a BAR above them cannot be read any more. */
    uint64_t limit = UINT64_C(1) << handoff.phys_bits;
    if (physical >= limit || limit - physical < size) {
        psp_platform_out_of_reach = true;
        return NULL;
    }
    return (volatile void *)(uintptr_t)physical;
}

void psp_platform_unmap_mmio(volatile void *registers, uint64_t size)
{
    (void)registers;
    (void)size;
}

uint32_t psp_platform_mmio_read32(volatile void *registers, uint32_t offset)
{
    return *(volatile uint32_t *)((volatile uint8_t *)registers + offset);
}

void psp_platform_mmio_write32(volatile void *registers, uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)((volatile uint8_t *)registers + offset) = value;
}
