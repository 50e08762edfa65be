/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* ACPI 6.4, 5.2: finds a table. The firmware's memory is mapped one to one. */
#include "boot/boot.h"

#include "hv/lib/string.h"

struct acpi_rsdp {
    char signature[8];
    uint8_t checksum;
    char oem[6];
    uint8_t revision;
    uint32_t rsdt;
    uint32_t length;
    uint64_t xsdt;
    uint8_t extended_checksum, reserved[3];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_rsdp) == 36, "ACPI 6.4, 5.2.5.3");
#define ACPI_RSDP_1_SIZE 20u
#define ACPI_LONGEST (1u << 24)     /* bytes of a table: boards have DSDTs of a few hundred KiB */

struct acpi_header {
    char signature[4];
    uint32_t length;
    uint8_t revision, checksum;
    uint8_t oem[26];
} __attribute__((packed));
_Static_assert(sizeof(struct acpi_header) == 36, "ACPI 6.4, 5.2.6");

/* Boards with wrong checksums run for years: Linux tells of them, and uses the tables. So does the preflight, by this name. */
static void acpi_check_sum(const void *table, uint64_t length, const char signature[static 4])
{
    uint8_t sum = 0;
    for (uint64_t i = 0; i < length; i++)
        sum = (uint8_t)(sum + ((const uint8_t *)table)[i]);
    for (const char *known = boot.acpi_wrong_sums; *known != '\0'; known += 5)
        if (memcmp(known, signature, 4) == 0)
            return;
    if (sum != 0)
        text_list(boot.acpi_wrong_sums, sizeof boot.acpi_wrong_sums, signature);
}

uint64_t acpi_rsdp(void)
{
    const EFI_GUID acpi_20 = ACPI_20_TABLE_GUID, acpi_10 = ACPI_TABLE_GUID;
    uint64_t old = 0;
    for (UINTN i = 0; i < boot.system->NumberOfTableEntries; i++) {
        const EFI_CONFIGURATION_TABLE *entry = &boot.system->ConfigurationTable[i];
        if (memcmp(&entry->VendorGuid, &acpi_20, sizeof acpi_20) == 0)
            return (uintptr_t)entry->VendorTable;
        if (memcmp(&entry->VendorGuid, &acpi_10, sizeof acpi_10) == 0)
            old = (uintptr_t)entry->VendorTable;
    }
    return old;
}

const void *acpi_table(uint64_t address, const char signature[static 4])
{
    const struct acpi_header *header = (const void *)(uintptr_t)address;
    if (address == 0 || memcmp(header->signature, signature, 4) != 0 || header->length < sizeof *header ||
        header->length > ACPI_LONGEST)
        return NULL;
    acpi_check_sum(header, header->length, signature);
    return header;
}

const void *acpi_find(uint64_t rsdp, const char signature[static 4], uint32_t minimum)
{
    uint32_t at = 0;
    return acpi_find_next(rsdp, signature, minimum, &at);
}

const void *acpi_find_next(uint64_t rsdp, const char signature[static 4], uint32_t minimum, uint32_t *at)
{
    const struct acpi_rsdp *root = (const void *)(uintptr_t)rsdp;
    if (root == NULL || memcmp(root->signature, "RSD PTR ", 8) != 0)
        return NULL;
    acpi_check_sum(root, ACPI_RSDP_1_SIZE, "RSDP");
    bool wide = root->revision >= 2 && root->xsdt != 0;
    const struct acpi_header *list = acpi_table(wide ? root->xsdt : root->rsdt, wide ? "XSDT" : "RSDT");
    if (list == NULL)
        return NULL;
    uint32_t entry_size = wide ? 8 : 4;
    const uint8_t *entries = (const uint8_t *)(list + 1);
    while (*at < (list->length - sizeof *list) / entry_size) {
        uint64_t address = 0;
        memcpy(&address, entries + (*at)++ * entry_size, entry_size);
        const struct acpi_header *table = acpi_table(address, signature);
        if (table != NULL && table->length >= minimum)
            return table;
    }
    return NULL;
}

uint64_t acpi_field(const uint8_t *table, uint32_t at, uint32_t bytes)
{
    const struct acpi_header *header = (const void *)table;
    uint64_t value = 0;
    if (at + bytes <= header->length)
        memcpy(&value, table + at, bytes);
    return value;
}

struct handoff_register acpi_register(const uint8_t *fadt, uint32_t at, uint32_t narrow, uint32_t bytes)
{
    uint64_t space = acpi_field(fadt, at, 1), address = acpi_field(fadt, at + 4, 8);
    bool memory = space == ACPI_SPACE_MEMORY && bytes == 1 && address <= UINT32_MAX;
    if (address == 0 || (!memory && (space != ACPI_SPACE_IO || address > UINT16_MAX))) {
        memory = false;
        address = narrow != 0 ? acpi_field(fadt, narrow, 4) : 0;
    }
    return (struct handoff_register){.address = address <= UINT16_MAX || memory ? address : 0, .port = !memory, .bytes = bytes};
}
