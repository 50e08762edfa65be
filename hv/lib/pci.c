/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Configuration space by ECAM, or by ports 0xCF8 and 0xCFC where there is none. */
#include "hv/lib/pci.h"

#include "hv/lib/mmio.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"

enum { PCI_CONFIG_ADDRESS = 0xcf8, PCI_CONFIG_DATA = 0xcfc };
#define PCI_CONFIG_ENABLE (UINT32_C(1) << 31)
#define PCI_MULTIFUNCTION (UINT32_C(1) << 23)   /* in the dword of the header's type */
#define PCI_ABSENT UINT32_MAX

volatile void *pci_ecam(const struct pci_space *space, uint32_t sbdf)
{
    return space->ecam == NULL ? NULL
                               : (volatile uint8_t *)space->ecam + (uint64_t)(sbdf - space->first) * PCI_FUNCTION_SIZE;
}

/* By the ports: reads, or writes *value. While the UEFI firmware runs its timer's handlers use them, too: none comes between
 * address and data, and the address is put back. */
static uint32_t pci_port(uint32_t sbdf, uint32_t offset, const uint32_t *value)
{
    uint64_t rflags = read_rflags();
    cli();
    uint32_t read = 0, before = in32(PCI_CONFIG_ADDRESS);
    out32(PCI_CONFIG_ADDRESS, PCI_CONFIG_ENABLE | (sbdf & 0xffff) << 8 | (offset & 0xfc));
    if (value != NULL)
        out32(PCI_CONFIG_DATA, *value);
    else
        read = in32(PCI_CONFIG_DATA);
    out32(PCI_CONFIG_ADDRESS, before);
    if ((rflags & RFLAGS_IF) != 0)
        sti();
    return read;
}

uint32_t pci_read32(const struct pci_space *space, uint32_t sbdf, uint32_t offset)
{
    return space->ecam != NULL ? mmio_read32(pci_ecam(space, sbdf), offset & ~3u) : pci_port(sbdf, offset, NULL);
}

void pci_write32(const struct pci_space *space, uint32_t sbdf, uint32_t offset, uint32_t value)
{
    if (space->ecam != NULL)
        mmio_write32(pci_ecam(space, sbdf), offset & ~3u, value);
    else
        pci_port(sbdf, offset, &value);
}

uint32_t pci_layout(const struct pci_space *space, uint32_t sbdf)
{
    return pci_read32(space, sbdf, PCI_HEADER_TYPE) >> 16 & 0x7f;
}

/* By the command register, whose upper bits are never ones: virtual functions have no id (PCIe 4.0, 9.3.4.1.1). */
static bool pci_exists(const struct pci_space *space, uint32_t sbdf)
{
    return pci_read32(space, sbdf, PCI_COMMAND) != PCI_ABSENT;
}

/* Without that bit functions 1 to 7 may be echoes of the first; of a device with ARI (PCIe 4.0, 6.13), which has the bus for
 * itself, function 0 has it. */
static bool pci_is_echo(const struct pci_space *space, uint32_t sbdf)
{
    uint32_t type = pci_read32(space, sbdf & ~7u, PCI_HEADER_TYPE) | pci_read32(space, sbdf & ~0xffu, PCI_HEADER_TYPE);
    return (sbdf & 7) != 0 && pci_read32(space, sbdf, 0) != PCI_ABSENT && (type & PCI_MULTIFUNCTION) == 0;
}

/* Functions of ARI, and virtual ones, need no function 0 of their device. They are on buses where something is in the first
 * place, or behind such a bus (PCIe 4.0, 9.3.3.8: First VF Offset), and there each function is looked at. */
static bool pci_is_used(const struct pci_space *space, uint32_t bus)
{
    for (uint32_t function = 0; function < 8; function++)
        if (pci_exists(space, bus + function) || (bus > space->first && pci_exists(space, bus + function - 0x100)))
            return true;
    return false;
}

bool pci_next(const struct pci_space *space, uint32_t *sbdf)
{
    bool is_used = false;
    for (uint32_t looked_at = 0; *sbdf - space->first < space->functions; ++*sbdf) {
        if (looked_at++ == 0 || (*sbdf & 0xff) == 0)
            is_used = pci_is_used(space, *sbdf & ~0xffu);
        bool exists = pci_exists(space, *sbdf);
        if (exists && !pci_is_echo(space, *sbdf))
            return true;
        if (!exists && !is_used && (*sbdf & 7) == 0)
            *sbdf |= 7;
    }
    return false;
}

const char *pci_name(uint32_t sbdf, char name[static PCI_NAME])
{
    uint32_t bus = sbdf >> 8 & 0xff, device = sbdf >> 3 & 31, function = sbdf & 7;
    if (sbdf >> 16 != 0)
        text_format(name, PCI_NAME, "%04x:%02x:%02x.%x", sbdf >> 16, bus, device, function);
    else
        text_format(name, PCI_NAME, "%02x:%02x.%x", bus, device, function);
    return name;
}
