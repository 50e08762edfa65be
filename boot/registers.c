/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* PCI configuration spaces and IOAPICs, for hv. */
#include "boot/boot.h"

#include "hv/lib/mmio.h"
#include "hv/lib/pagetable.h"
#include "hv/lib/pci.h"
#include "hv/lib/string.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"

/* PCI Firmware Specification 3.2, 4.1.2: the base is where bus 0 is, or would be. */
enum { MCFG_ENTRIES = 44, MCFG_ENTRY_SIZE = 16, MCFG_SEGMENT = 8, MCFG_FIRST_BUS = 10, MCFG_LAST_BUS = 11 };
#define PCI_BUS_SIZE (UINT64_C(256) * PCI_FUNCTION_SIZE)

/* ACPI 6.4, 5.2.12.3 */
enum { MADT_IOAPIC = 1, MADT_IOAPIC_ADDRESS = 4, MADT_IOAPIC_SIZE = 12 };

static struct pci_space registers_segment_0;    /* by ECAM; `functions` 0: not in the MCFG, or not mapped */

/* Whether an MCFG entry lies in RAM, and so is wrong. */
static bool registers_in_ram(uint64_t base, uint64_t size)
{
    for (uint32_t i = 0; i < handoff.range_count; i++) {
        const struct handoff_range *r = &handoff.ranges[i];
        bool ram = r->kind != HANDOFF_MMIO && r->kind != HANDOFF_RESERVED;
        if (ram && r->base < base + size && base < r->base + r->pages * PAGE_SIZE)
            return true;
    }
    return false;
}

/* False: beyond the address width, or no room in the hand-over. */
static bool registers_add(uint64_t base, uint64_t size, uint32_t kind, uint32_t first)
{
    uint64_t limit = UINT64_C(1) << handoff.phys_bits;
    if (handoff.register_count == HANDOFF_MAX_REGISTERS || base >= limit || size > limit - base)
        return false;
    handoff.registers[handoff.register_count++] = (struct handoff_registers){base, size, kind, first};
    return true;
}

/* Walks UEFI's page tables, of 4 levels, since the preflight refuses 5 (APM2 5.3); they lie in identity-mapped memory. */
bool registers_mapped(uint64_t base, uint64_t size)
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

const volatile void *registers_ecam(const struct pci_space *space, uint32_t sbdf)
{
    if (space->ecam != NULL)
        return pci_ecam(space, sbdf);
    const volatile void *ecam = pci_ecam(&registers_segment_0, sbdf);
    bool there = sbdf - registers_segment_0.first < registers_segment_0.functions;
    return there && mmio_read32(ecam, 0) == pci_read32(space, sbdf, 0) ? ecam : NULL;
}

static void registers_row(const char *from, const char *found, const char *effect)
{
    char remedy[200];
    if (*from == '\0')
        return;
    boot.pci_unseen = true;
    text_format(remedy, sizeof remedy, "from %son: %s", from, effect);
    table_row(PREFLIGHT_FINE, "PCI segments", "all in reach", found, remedy);
}

static void registers_find_pci(uint64_t rsdp)
{
    char lost[48] = "", unread[48] = "", name[PCI_NAME];
    registers_add(0, (uint64_t)PCI_FUNCTIONS * PCI_FUNCTION_SIZE, HANDOFF_PCI, 0);
    const uint8_t *table = acpi_find(rsdp, "MCFG", MCFG_ENTRIES);
    uint32_t size = table == NULL ? 0 : (uint32_t)acpi_field(table, ACPI_LENGTH, 4);
    for (uint32_t at = MCFG_ENTRIES; at < size && size - at >= MCFG_ENTRY_SIZE; at += MCFG_ENTRY_SIZE) {
        uint64_t base = acpi_field(table, at, 8), segment = acpi_field(table, at + MCFG_SEGMENT, 2);
        uint64_t first = acpi_field(table, at + MCFG_FIRST_BUS, 1), last = acpi_field(table, at + MCFG_LAST_BUS, 1);
        uint64_t bytes = (last + 1 - first) * PCI_BUS_SIZE;
        uint32_t sbdf = (uint32_t)(segment << 16 | first << 8);
        if (first > last)
            continue;
        bool there =
            base != 0 && !__builtin_add_overflow(base, first * PCI_BUS_SIZE, &base) && !registers_in_ram(base, bytes);
        if (segment == 0 && there && registers_mapped(base, bytes))
            registers_segment_0 =
                (struct pci_space){(volatile void *)(uintptr_t)base, sbdf, (uint32_t)(bytes / PCI_FUNCTION_SIZE)};
        else if (segment == 0)
            boot.pci_unseen = true;
        else if (!there || !registers_add(base, bytes, HANDOFF_PCI, sbdf))
            text_list(lost, sizeof lost, pci_name(sbdf, name));
        else if (!registers_mapped(base, bytes))
            text_list(unread, sizeof unread, pci_name(sbdf, name));
    }
    registers_row(lost, "some out of reach",
                  "beyond the address width, in RAM, or too many pieces. Devices there keep their DMA, "
                  "into guests' memory, too. BIOS: a lower MMIO limit");
    registers_row(unread, "some cannot be read here",
                  "the UEFI firmware does not map it: no BAR is checked there, and no Secure "
                  "Processor looked for");
}

void registers_find(uint64_t rsdp)
{
    uint32_t at = MADT_ENTRIES;
    bool room = true;
    registers_find_pci(rsdp);
    const uint8_t *madt = acpi_find(rsdp, "APIC", MADT_ENTRIES), *entry;
    uint32_t size = madt == NULL ? 0 : (uint32_t)acpi_field(madt, ACPI_LENGTH, 4);
    while ((entry = madt_next(madt, size, &at)) != NULL) {
        if (entry[0] != MADT_IOAPIC || entry[1] < MADT_IOAPIC_SIZE)
            continue;
        room = registers_add(number_at(entry + MADT_IOAPIC_ADDRESS, 4) & ~UINT64_C(3), 32, HANDOFF_IOAPIC, 0);
    }
    if (!room)
        table_row(PREFLIGHT_FINE, "IOAPICs", "all masked", "some left out",
                  "more than this version has room for: their "
                  "interrupts stay as the UEFI firmware left them");
}
