/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Adds processors to the MADT that the machine does not have, as a BIOS does that knows the board better than its
 * sockets; and starts Sevisor. One is named by an xAPIC entry, one by an x2APIC entry. */
#include "chain.h"

#define GHOST_APIC 77
#define GHOST_X2APIC 0x12345

struct table {
    CHAR8 signature[4];
    UINT32 length;
    UINT8 revision, checksum;
    UINT8 rest[26];
} __attribute__((packed));

struct root {
    CHAR8 signature[8];
    UINT8 checksum, oem[6], revision;
    UINT32 rsdt, length;
    UINT64 xsdt;
} __attribute__((packed));

/* Not const: newer gnu-efi's CopyMem() takes a source that is not. */
static struct ghosts {
    UINT8 apic_type, apic_length, processor, id;
    UINT32 apic_flags;
    UINT8 x2apic_type, x2apic_length;
    UINT16 reserved;
    UINT32 x2apic_id, x2apic_flags, x2apic_processor;
} __attribute__((packed)) ghosts = {
    0, 8, 200, GHOST_APIC, 1, 9, 16, 0, GHOST_X2APIC, 1, 201,
};

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table);

static void set_checksum(struct table *table)
{
    UINT8 sum = 0;

    table->checksum = 0;
    for (UINT32 i = 0; i < table->length; i++)
        sum = (UINT8)(sum + ((UINT8 *)table)[i]);
    table->checksum = (UINT8)-sum;
}

/* A longer copy, which the list then points to. */
static BOOLEAN add_ghosts(struct table *list)
{
    for (UINT32 at = sizeof(*list); at + 8 <= list->length; at += 8) {
        UINT64 *entry = (UINT64 *)((UINT8 *)list + at);
        struct table *madt = (struct table *)(UINTN)*entry, *copy;

        if (CompareMem(madt->signature, "APIC", 4) != 0)
            continue;
        if (EFI_ERROR(BS->AllocatePool(EfiACPIReclaimMemory, madt->length + sizeof(ghosts), (void **)&copy)))
            return FALSE;
        CopyMem(copy, madt, madt->length);
        CopyMem((UINT8 *)copy + madt->length, &ghosts, sizeof(ghosts));
        copy->length += sizeof(ghosts);
        set_checksum(copy);
        *entry = (UINTN)copy;
        set_checksum(list);
        return TRUE;
    }
    return FALSE;
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
    EFI_GUID acpi_20 = ACPI_20_TABLE_GUID;
    struct root *root;

    InitializeLib(image, system_table);
    if (EFI_ERROR(LibGetSystemConfigurationTable(&acpi_20, (void **)&root)) ||
        !add_ghosts((struct table *)(UINTN)root->xsdt))
        return EFI_NOT_FOUND;
    return start_sevisor(image);
}
