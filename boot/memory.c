/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Memory from UEFI; and its memory map, read as the last step before ExitBootServices and converted into the hand-over's
 * ranges. */
#include "boot/boot.h"

#define ALLOCATIONS 2u /* hv's arena with the bridge, pages to start CPUs from */

static struct handoff_range allocated[ALLOCATIONS];
static uint32_t allocated_count;

uint64_t memory_allocate(uint64_t bytes, uint64_t highest)
{
    EFI_PHYSICAL_ADDRESS base = highest;
    UINTN pages = (bytes + PAGE_SIZE - 1) / PAGE_SIZE;
    if (allocated_count == ALLOCATIONS ||
        EFI_ERROR(boot.services->AllocatePages(AllocateMaxAddress, EfiLoaderData, pages, &base)))
        return 0;
    allocated[allocated_count++] = (struct handoff_range){.base = base, .pages = pages};
    return base;
}

void memory_free(void)
{
    for (; allocated_count > 0; allocated_count--)
        boot.services->FreePages(allocated[allocated_count - 1].base, allocated[allocated_count - 1].pages);
}

bool memory_map_read(UINTN *key)
{
    UINT32 version;
    static EFI_MEMORY_DESCRIPTOR map[2 * HANDOFF_MAX_RANGES]; /* which are yet to be merged */
    UINTN stride, bytes = sizeof(map);
    const uint64_t limit = UINT64_C(1) << handoff.phys_bits;
    const uint64_t manifest_pages = (handoff.manifest_size + PAGE_SIZE - 1) / PAGE_SIZE;
    /* Absent ranges have 0 pages. */
    return !EFI_ERROR(boot.services->GetMemoryMap(&bytes, map, key, &stride, &version)) &&
           ranges_from_uefi(map, bytes, stride, limit, &boot.memory_withheld) &&
           ranges_paint(handoff.manifest_base, manifest_pages, HANDOFF_MANIFEST) &&
           ranges_paint(handoff.arena_base, handoff.arena_size / PAGE_SIZE, HANDOFF_ARENA) &&
           ranges_paint(handoff.startup_base, handoff.startup_base != 0 ? HANDOFF_STARTUP_PAGES : 0, HANDOFF_RESERVED);
}
