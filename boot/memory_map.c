/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The UEFI memory map, read as the last step before ExitBootServices and converted into the hand-over's ranges. */
#include "boot/boot.h"

/* Room for descriptors that are added between the first call and the last. */
#define MAP_SLACK 8192u

static uint8_t *map;
static UINTN map_capacity;

bool memory_map_read(UINTN *key)
{
    UINT32 version;
    UINTN stride;
    if (map == NULL) {
        map_capacity = 0;
        boot.services->GetMemoryMap(&map_capacity, NULL, key, &stride, &version);
        map_capacity += MAP_SLACK;
        void *buffer;
        if (EFI_ERROR(boot.services->AllocatePool(EfiLoaderData, map_capacity, &buffer)))
            return false;
        map = buffer;
    }
    UINTN bytes = map_capacity;
    struct ranges ranges = {handoff.ranges, 0, HANDOFF_MAX_RANGES, 0};
    /* Absent ranges have 0 pages. */
    if (EFI_ERROR(boot.services->GetMemoryMap(&bytes, (EFI_MEMORY_DESCRIPTOR *)map, key, &stride, &version)) ||
        !ranges_from_uefi(&ranges, map, bytes, stride, UINT64_C(1) << handoff.phys_bits) ||
        !ranges_paint(&ranges, handoff.manifest_base, (handoff.manifest_size + 4095) / 4096, HANDOFF_MANIFEST) ||
        !ranges_paint(&ranges, handoff.arena_base, handoff.arena_size / 4096, HANDOFF_ARENA) ||
        !ranges_paint(&ranges, handoff.startup_base, handoff.startup_base != 0 ? HANDOFF_STARTUP_PAGES : 0,
                      HANDOFF_RESERVED))
        return false;
    handoff.range_count = ranges.count;
    boot.memory_withheld = ranges.withheld;
    return true;
}

void memory_map_free(void)
{
    if (map != NULL)
        boot.services->FreePool(map);
    map = NULL;
}
