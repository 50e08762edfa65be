/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* ACPI 6.4, 5.2: finds a table, by the XSDT: no board with SEV is without. The UEFI firmware's memory is mapped one to one. */
#include "boot/boot.h"

#include "hv/lib/string.h"

/* 5.2.5.3: the root pointer; 5.2.6: what each table begins with. */
enum { RSDP_REVISION = 15, RSDP_XSDT = 24, RSDP_SIZE_1 = 20, ACPI_HEADER_SIZE = 36 };
#define ACPI_LONGEST (1u << 24) /* bytes of a table: boards have DSDTs of a few hundred KiB */

/* Many boards ship wrong checksums. Like Linux, use such a table all the same, and report it: once per signature. */
static void acpi_check_sum(const void *table, uint64_t length, const char signature[static 4])
{
    uint8_t sum = 0;
    for (uint64_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)table)[i]);
    for (const char *known = boot.acpi_wrong_sums; *known != '\0'; known += 5)
        if (memcmp(known, signature, 4) == 0)
            return;
    if (sum != 0)
        text_list(boot.acpi_wrong_sums, sizeof(boot.acpi_wrong_sums), signature);
}

const void *acpi_table(uint64_t address, const char signature[static 4])
{
    const uint8_t *table = (const void *)(uintptr_t)address;
    if (table == NULL || memcmp(table, signature, 4) != 0)
        return NULL;
    uint64_t length = number_at(table + ACPI_LENGTH, 4);
    if (length < ACPI_HEADER_SIZE || length > ACPI_LONGEST)
        return NULL;
    acpi_check_sum(table, length, signature);
    return table;
}

const void *acpi_find(const char signature[static 4], uint32_t minimum, uint32_t skip)
{
    const EFI_GUID acpi_20 = ACPI_20_TABLE_GUID;
    const EFI_CONFIGURATION_TABLE *entry = boot.system->ConfigurationTable;
    const EFI_CONFIGURATION_TABLE *end = entry + boot.system->NumberOfTableEntries;
    while (entry < end && memcmp(&entry->VendorGuid, &acpi_20, sizeof(acpi_20)) != 0)
        entry++;
    const uint8_t *root = entry < end ? entry->VendorTable : NULL;
    if (root == NULL || memcmp(root, "RSD PTR ", 8) != 0 || root[RSDP_REVISION] < 2)
        return NULL;
    acpi_check_sum(root, RSDP_SIZE_1, "RSDP");
    const uint8_t *list = acpi_table(number_at(root + RSDP_XSDT, 8), "XSDT");
    for (uint32_t at = ACPI_HEADER_SIZE; list != NULL && at + 8 <= number_at(list + ACPI_LENGTH, 4); at += 8) {
        const uint8_t *table = acpi_table(number_at(list + at, 8), signature);
        if (table != NULL && number_at(table + ACPI_LENGTH, 4) >= minimum && skip-- == 0)
            return table;
    }
    return NULL;
}

uint64_t acpi_field(const uint8_t *table, uint32_t at, uint32_t bytes)
{
    return table != NULL && at + bytes <= number_at(table + ACPI_LENGTH, 4) ? number_at(table + at, bytes) : 0;
}

struct handoff_register acpi_register(uint32_t at, uint32_t narrow, uint32_t bytes)
{
    const uint8_t *fadt = acpi_find("FACP", FADT_SIZE_1, 0);
    uint64_t space = acpi_field(fadt, at, 1), address = acpi_field(fadt, at + 4, 8);
    bool memory = space == ACPI_SPACE_MEMORY && bytes == 1 && address <= UINT32_MAX;
    if (address == 0 || (!memory && (space != ACPI_SPACE_IO || address > UINT16_MAX))) {
        memory = false;
        address = narrow != 0 ? acpi_field(fadt, narrow, 4) : 0;
    }
    return (struct handoff_register){
        .address = address <= UINT16_MAX || memory ? address : 0, .port = !memory, .bytes = bytes};
}
