/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Stands where Sevisor is expected, takes pages all over the memory as a firmware's drivers do, fills them with a
 * pattern that tells whether somebody else wrote to them, and then starts Sevisor.
 *
 *  - From HOLES_DENSE on, for HOLES_DENSE_PAGES pages, every 32nd: no whole large page is left there.
 *  - Elsewhere one page in every 32 MiB, except where KEEP bytes in one piece are left for Sevisor.
 */
#include "chain.h"

#define HOLES_DENSE 0x4000000ull
#define HOLES_DENSE_PAGES 0x4000u
#define DENSE_STEP 32u
#define SPARSE_STEP 0x2000000ull
#define SPARSE_OFFSET 0x7ff000ull
#define KEEP 0x18000000ull      /* at the end of the largest range */
#define PATTERN 0x53454c4f482d4556ull   /* "VE-HOLES", in memory order */

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table);

static unsigned holes, refused;

/* A driver's data stays for the run time, ACPI tables stay, and much is simply reserved. */
static EFI_MEMORY_TYPE next_type(void)
{
    static const EFI_MEMORY_TYPE rare[] = {EfiRuntimeServicesData, EfiACPIReclaimMemory, EfiACPIMemoryNVS};

    return holes % 16 == 0 ? rare[holes / 16 % 3] : EfiReservedMemoryType;
}

/* Each 8 bytes: the pattern, XOR the page's address, XOR the offset in it. */
static void take(EFI_PHYSICAL_ADDRESS address)
{
    EFI_PHYSICAL_ADDRESS page = address;
    UINT64 *words = (UINT64 *)(UINTN)address;

    if (EFI_ERROR(BS->AllocatePages(AllocateAddress, next_type(), 1, &page))) {
        refused++;
        return;
    }
    for (unsigned i = 0; i < 512; i++)
        words[i] = PATTERN ^ address << 16 ^ i;
    holes++;
}

static void take_all(void)
{
    EFI_PHYSICAL_ADDRESS largest = 0, keep_from = 0;
    UINT64 largest_size = 0;
    UINTN size = 0, key, stride;
    UINT32 version;
    UINT8 *map;

    BS->GetMemoryMap(&size, NULL, &key, &stride, &version);
    size += 4096;
    if (EFI_ERROR(BS->AllocatePool(EfiLoaderData, size, (void **)&map)) ||
        EFI_ERROR(BS->GetMemoryMap(&size, (EFI_MEMORY_DESCRIPTOR *)map, &key, &stride, &version)))
        return;
    for (UINTN at = 0; at < size; at += stride) {
        EFI_MEMORY_DESCRIPTOR *d = (EFI_MEMORY_DESCRIPTOR *)(map + at);

        if (d->Type == EfiConventionalMemory && d->NumberOfPages * 4096 > largest_size) {
            largest_size = d->NumberOfPages * 4096;
            largest = d->PhysicalStart;
        }
    }
    keep_from = largest + largest_size - KEEP;
    for (UINT64 i = 0; i < HOLES_DENSE_PAGES; i += DENSE_STEP)
        take(HOLES_DENSE + i * 4096);
    for (UINTN at = 0; at < size; at += stride) {
        EFI_MEMORY_DESCRIPTOR *d = (EFI_MEMORY_DESCRIPTOR *)(map + at);
        UINT64 end = d->PhysicalStart + d->NumberOfPages * 4096;

        if (d->Type != EfiConventionalMemory)
            continue;
        for (UINT64 page = (d->PhysicalStart & ~(SPARSE_STEP - 1)) + SPARSE_OFFSET; page + 4096 <= end;
             page += SPARSE_STEP)
            if (page >= d->PhysicalStart && (page < HOLES_DENSE || page >= HOLES_DENSE + HOLES_DENSE_PAGES * 4096) &&
                (page < keep_from || page >= keep_from + KEEP))
                take(page);
    }
    BS->FreePool(map);
}

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
    InitializeLib(image, system_table);
    take_all();
    Print((CHAR16 *)L"holes: %d pages taken, %d were not free\r\n", holes, refused);
    return start_sevisor(image);
}
