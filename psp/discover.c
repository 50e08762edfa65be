/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Finds the PCI function whose registers hold the SEV mailbox. Function numbers
 * differ between boards, and every socket has such a function, of which one
 * only serves SEV: so the caller walks over all, in any segment, by id.
 */
#include "psp/internal.h"

#define PCI_CLASS 0x08    /* in bits 31:16 */
#define PCI_CLASS_ENCRYPTION 0x1080u /* PCI Code and ID Assignment: 10h, 80h */
#define PCI_BAR_2 0x18
#define PCI_BAR_IO UINT32_C(1)
#define PCI_BAR_TYPE UINT32_C(6)
#define PCI_BAR_TYPE_32 UINT32_C(0)
#define PCI_BAR_TYPE_64 UINT32_C(4)
#define PCI_BAR_FLAGS UINT32_C(0xf)

/* AMD's functions of that class which are known to have no SEV mailbox: Naples' second one, and client parts. */
static const uint16_t without_sev[] = {0x1537, 0x1468, 0x15df, 0x15c7, 0x1649, 0x1134, 0x17e0, 0x115a};

/* An encryption controller of AMD's that no table here has: a newer part. */
static bool is_unknown(struct psp_function function, uint16_t device_id)
{
    for (unsigned i = 0; i < sizeof(without_sev) / sizeof(*without_sev); i++) {
        if (without_sev[i] == device_id)
            return false;
    }
    return psp_platform_pci_read32(function, PCI_CLASS) >> 16 == PCI_CLASS_ENCRYPTION;
}

/* Reads where BAR 2 is and how large. The caller has switched decoding off,
 * for the register holds no valid address while it is sized. */
static bool read_bar2(struct psp_function function, uint64_t *bar, uint64_t *size)
{
    uint32_t low = psp_platform_pci_read32(function, PCI_BAR_2);
    uint32_t type = low & PCI_BAR_TYPE;

    if ((low & PCI_BAR_IO) || (type != PCI_BAR_TYPE_32 && type != PCI_BAR_TYPE_64))
        return false;

    uint32_t high = 0, high_mask = UINT32_MAX;

    psp_platform_pci_write32(function, PCI_BAR_2, UINT32_MAX);
    uint32_t low_mask = psp_platform_pci_read32(function, PCI_BAR_2) & ~PCI_BAR_FLAGS;
    psp_platform_pci_write32(function, PCI_BAR_2, low);
    if (type == PCI_BAR_TYPE_64) {
        high = psp_platform_pci_read32(function, PCI_BAR_2 + 4);
        psp_platform_pci_write32(function, PCI_BAR_2 + 4, UINT32_MAX);
        high_mask = psp_platform_pci_read32(function, PCI_BAR_2 + 4);
        psp_platform_pci_write32(function, PCI_BAR_2 + 4, high);
    }

    uint64_t end;

    *bar = (uint64_t)high << 32 | (low & ~PCI_BAR_FLAGS);
    *size = ~((uint64_t)high_mask << 32 | low_mask) + 1;
    return *bar != 0 && *size >= PSP_REGISTER_SPAN && (*size & (*size - 1)) == 0 &&
           !__builtin_add_overflow(*bar, *size, &end);
}

/* PSP_OK when this function has the SEV mailbox: its decoding stays on. Else the function is as it was. */
static enum psp_error probe(const struct psp_generation *generation, struct psp_location *location)
{
    struct psp_function function = location->function;
    /* The upper half is the status register, whose bits are cleared by writing ones: write zeroes there. */
    uint32_t command = psp_platform_pci_read32(function, PSP_PCI_COMMAND) & 0xffff;
    enum psp_error error = PSP_BLOCKED;

    psp_platform_pci_write32(function, PSP_PCI_COMMAND, command & ~(PSP_PCI_COMMAND_IO | PSP_PCI_COMMAND_MEMORY));
    bool usable = read_bar2(function, &location->bar, &location->bar_size);
    psp_platform_pci_write32(function, PSP_PCI_COMMAND, usable ? command | PSP_PCI_COMMAND_MEMORY : command);

    volatile void *registers = usable ? psp_platform_map_mmio(location->bar, PSP_REGISTER_SPAN) : NULL;
    if (registers) {
        psp_registers_read(generation, registers, location->cells);
        error = psp_feature_check(location->cells);
        psp_platform_unmap_mmio(registers, PSP_REGISTER_SPAN);
    }
    if (error != PSP_OK)
        psp_platform_pci_write32(function, PSP_PCI_COMMAND, command);
    return error;
}

enum psp_error psp_discover(struct psp_function function, enum psp_error before, struct psp_location *location)
{
    uint32_t id = psp_platform_pci_read32(function, 0);

    if ((id & 0xffff) != PSP_VENDOR_AMD)
        return before;

    struct psp_location found = {.function = function, .device_id = (uint16_t)(id >> 16)};
    const struct psp_generation *generation = psp_generation_of(found.device_id);
    enum psp_error outcome = PSP_NO_DEVICE;

    if (generation)
        outcome = probe(generation, &found);
    else if (before == PSP_NO_DEVICE && is_unknown(function, found.device_id))
        outcome = PSP_UNKNOWN;
    /* What says most stays. In enum psp_error's order, but for PSP_OK, which ends the walk. */
    if (outcome != PSP_OK && outcome <= before)
        return before;
    *location = found;
    return outcome;
}
