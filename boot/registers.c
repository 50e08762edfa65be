/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* PCI configuration spaces and IOAPICs, for hv. */
#include "boot/boot.h"

#include "hv/lib/mmio.h"
#include "hv/lib/pagetable.h"
#include "hv/lib/pci.h"
#include "hv/lib/x86.h"

/* PCI Firmware Specification 3.2, 4.1.2: the base is where bus 0 is, or would be. */
enum { MCFG_ENTRIES = 44, MCFG_ENTRY_SIZE = 16, MCFG_SEGMENT = 8, MCFG_FIRST_BUS = 10, MCFG_LAST_BUS = 11 };
#define PCI_BUS_SIZE (UINT64_C(256) * PCI_FUNCTION_SIZE)

/* ACPI 6.4, 5.2.12.3 */
enum { MADT_IOAPIC = 1, MADT_IOAPIC_ADDRESS = 4, MADT_IOAPIC_SIZE = 12 };

/* Why hv cannot have registers at [base, base + size), in words; NULL: it can. Tables may be wrong: what the memory map has
 * as RAM is not written to. */
static const char *registers_impossible(uint64_t base, uint64_t size)
{
    uint64_t limit = UINT64_C(1) << handoff.phys_bits;
    if (base >= limit || size > limit - base)
        return "beyond address width";
    for (uint32_t i = 0; i < handoff.range_count; i++) {
        const struct handoff_range *r = &handoff.ranges[i];
        bool ram = r->kind != HANDOFF_MMIO && r->kind != HANDOFF_RESERVED;
        if (ram && r->base < base + size && base < r->base + r->pages * PAGE_SIZE)
            return "in RAM";
    }
    return base == 0 ? "in RAM" : NULL;
}

/* False: nothing can be there, or no room in the hand-over. */
static bool registers_add(const struct handoff_registers *r)
{
    if (handoff.register_count == HANDOFF_MAX_REGISTERS || registers_impossible(r->base, r->size) != NULL)
        return false;
    handoff.registers[handoff.register_count++] = *r;
    return true;
}

/* Walks UEFI's page tables, of 4 levels, since the preflight refuses 5 (APM2 5.3); they lie in identity-mapped memory. */
static bool registers_mapped(uint64_t base, uint64_t size)
{
    for (uint64_t at = base; at < base + size;) {
        uint64_t entry = read_cr3(), page = UINT64_C(1) << 48;
        do {
            page >>= 9;
            uint64_t table = entry & PTE_ADDRESS;
            if (at >> 47 != 0 || table >> handoff.phys_bits != 0)
                return false;
            entry = ((const uint64_t *)(uintptr_t)table)[at / page & 511];
            if ((entry & PTE_P) == 0)
                return false;
        } while (page != PAGE_SIZE && (entry & PTE_PS) == 0);
        if (((entry & PTE_ADDRESS) ^ at) / page != 0)
            return false;
        at = (at | (page - 1)) + 1;
    }
    return true;
}

const char *registers_fault(uint64_t base, uint64_t size)
{
    const char *fault = registers_impossible(base, size);
    return fault == NULL && !registers_mapped(base, size) ? "not mapped by UEFI" : fault;
}

bool registers_space(uint32_t *at, struct pci_space *space)
{
    while (*at < handoff.register_count) {
        const struct handoff_registers *r = &handoff.registers[(*at)++];
        *space =
            (struct pci_space){(volatile void *)(uintptr_t)r->base, r->first, (uint32_t)(r->size / PCI_FUNCTION_SIZE)};
        if (r->kind == HANDOFF_PCI && (r->base == 0 || registers_mapped(r->base, r->size)))
            return true;
    }
    return false;
}

/* The next entry of the MCFG; *at: where to continue, MCFG_ENTRIES at first. An impossible base becomes 0, impossible buses
 * size 0. */
static bool registers_next(uint32_t *at, struct handoff_registers *r)
{
    const uint8_t *mcfg = acpi_find("MCFG", MCFG_ENTRIES, 0);
    if (*at + MCFG_ENTRY_SIZE > acpi_field(mcfg, ACPI_LENGTH, 4))
        return false;
    const uint8_t *entry = mcfg + *at;
    *at += MCFG_ENTRY_SIZE;
    uint32_t first = entry[MCFG_FIRST_BUS], behind = entry[MCFG_LAST_BUS] + 1u;
    uint64_t base = number_at(entry, 8), buses = behind > first ? behind - first : 0;
    if (base == 0 || __builtin_add_overflow(base, first * PCI_BUS_SIZE, &base))
        base = 0;
    *r = (struct handoff_registers){base, buses * PCI_BUS_SIZE, HANDOFF_PCI,
                                    (uint32_t)number_at(entry + MCFG_SEGMENT, 2) << 16 | first << 8};
    return true;
}

volatile void *registers_ecam(const struct pci_space *space, uint32_t sbdf)
{
    struct handoff_registers r;
    if (space->ecam != NULL)
        return pci_ecam(space, sbdf);
    for (uint32_t at = MCFG_ENTRIES; registers_next(&at, &r);) {
        uint64_t offset = (uint64_t)(sbdf - r.first) * PCI_FUNCTION_SIZE;
        volatile void *ecam = (volatile void *)(uintptr_t)(r.base + offset);
        if (offset < r.size && registers_fault(r.base + offset, PCI_FUNCTION_SIZE) == NULL &&
            mmio_read32(ecam, 0) == pci_read32(space, sbdf, 0))
            return ecam;
    }
    return NULL;
}

void registers_row(const char *from, const char *found, const char *effect)
{
    if (*from == '\0')
        return;
    boot.pci_unseen = true;
    table_row(PREFLIGHT_NOTE, "PCI segments", "all in reach", "%s\nfrom %son: %s", found, from, effect);
}

static void registers_find_pci(void)
{
    char lost[48] = "", unread[48] = "", name[PCI_NAME];
    struct handoff_registers r = {0, (uint64_t)PCI_FUNCTIONS * PCI_FUNCTION_SIZE, HANDOFF_PCI, 0};
    handoff.registers[handoff.register_count++] = r;
    for (uint32_t at = MCFG_ENTRIES; registers_next(&at, &r);) {
        if (r.first >> 16 == 0 || r.size == 0)
            continue; /* ports reach it; registers_ecam() looks at its entries */
        if (!registers_add(&r))
            text_list(lost, sizeof(lost), pci_name(r.first, name));
        else if (!registers_mapped(r.base, r.size))
            text_list(unread, sizeof(unread), pci_name(r.first, name));
    }
    registers_row(lost, "some out of reach",
                  "beyond the address width, in RAM, or too many pieces. Devices there keep their DMA, "
                  "into guests' memory, too. BIOS: a lower MMIO limit");
    registers_row(unread, "some cannot be read here",
                  "the UEFI firmware does not map it: no BAR is checked there, and no Secure "
                  "Processor looked for");
}

void registers_find(void)
{
    uint32_t at = MADT_ENTRIES;
    bool all = true;
    registers_find_pci();
    const uint8_t *madt = acpi_find("APIC", MADT_ENTRIES, 0), *entry;
    uint32_t size = (uint32_t)acpi_field(madt, ACPI_LENGTH, 4);
    while ((entry = madt_next(madt, size, &at)) != NULL) {
        if (entry[0] != MADT_IOAPIC || entry[1] < MADT_IOAPIC_SIZE)
            continue;
        uint64_t base = number_at(entry + MADT_IOAPIC_ADDRESS, 4) & ~UINT64_C(3);
        all &= registers_add(&(struct handoff_registers){base, 32, HANDOFF_IOAPIC, 0});
    }
    if (!all)
        table_row(PREFLIGHT_NOTE, "IOAPICs", "all masked",
                  "some left out\n"
                  "in RAM by the MADT, or more than this version has room for: their interrupts stay as "
                  "the UEFI firmware left them. Update the BIOS");
}
