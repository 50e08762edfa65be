/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Where hv finds the registers of IOAPICs, and the configuration space that ports do not reach. */
#include "boot/boot.h"

#include "hv/lib/string.h"
#include "boot/madt.h"

/* PCI Firmware Specification 3.2, 4.1.2: the base is where bus 0 is, or would be. */
enum { MCFG_ENTRIES = 44, MCFG_ENTRY_SIZE = 16, MCFG_SEGMENT = 8, MCFG_FIRST_BUS = 10, MCFG_LAST_BUS = 11 };

/* ACPI 6.4, 5.2.12.3 */
enum { MADT_IOAPIC = 1, MADT_IOAPIC_ADDRESS = 4, MADT_IOAPIC_SIZE = 12 };

static void registers_add(uint64_t base, uint64_t size, uint32_t kind)
{
    uint64_t limit = UINT64_C(1) << handoff.phys_bits;
    if (handoff.register_count < HANDOFF_MAX_REGISTERS && base < limit && size <= limit - base)
        handoff.registers[handoff.register_count++] = (struct handoff_registers){base, size, kind, 0};
}

void registers_find(uint64_t rsdp)
{
    uint64_t base;
    uint32_t length, ioapic;
    const uint8_t *table = acpi_find(rsdp, "MCFG", MCFG_ENTRIES);
    uint32_t size = table == NULL ? 0 : (uint32_t)acpi_field(table, ACPI_LENGTH, 4);
    for (uint32_t at = MCFG_ENTRIES; at < size && size - at >= MCFG_ENTRY_SIZE; at += MCFG_ENTRY_SIZE) {
        const uint8_t *entry = table + at;
        uint64_t first = entry[MCFG_FIRST_BUS], end = entry[MCFG_LAST_BUS] + UINT64_C(1);
        memcpy(&base, entry, sizeof base);
        if ((entry[MCFG_SEGMENT] | entry[MCFG_SEGMENT + 1]) != 0 && first < end && base < UINT64_C(1) << 52)
            registers_add(base + (first << 20), (end - first) << 20, HANDOFF_ECAM);
    }
    table = acpi_find(rsdp, "APIC", MADT_ENTRIES);
    size = table == NULL ? 0 : (uint32_t)acpi_field(table, ACPI_LENGTH, 4);
    for (uint32_t at = MADT_ENTRIES; at < size && size - at >= 2; at += length) {
        length = table[at + 1];
        if (length < 2 || length > size - at)
            break;
        if (table[at] != MADT_IOAPIC || length < MADT_IOAPIC_SIZE)
            continue;
        memcpy(&ioapic, table + at + MADT_IOAPIC_ADDRESS, sizeof ioapic);
        registers_add(ioapic & ~UINT32_C(3), 32, HANDOFF_IOAPIC);
    }
}
