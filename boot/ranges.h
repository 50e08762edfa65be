/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The map of physical memory that hv gets. Pure. */
#ifndef SEVISOR_RANGES_H
#define SEVISOR_RANGES_H

#include <stdbool.h>
#include <stdint.h>

#include "boot/handoff.h"

struct ranges {
    struct handoff_range *range;    /* ascending, disjoint, neighbours of one kind merged */
    uint32_t count, max;
    uint64_t withheld;              /* bytes that the firmware calls usable, and that ranges_from_uefi() did not */
};

/* HyperTransport's own addresses: never RAM to a device, whatever a map says (AMD IOMMU specification 2.1.2, "Special Address
 * Controls"; QEMU hw/i386/pc.c: AMD_HT_START, AMD_HT_END). Boards that move DRAM out of the way may leave a remainder usable. */
#define RANGES_HT_FIRST UINT64_C(0xfd00000000)
#define RANGES_HT_END UINT64_C(0x10000000000)

/* Makes [base, base+pages) be of `kind`, whatever it was. What passes the end of the address space
 * is cut off. False: no room for another range; the map is unchanged. */
bool ranges_paint(struct ranges *ranges, uint64_t base, uint64_t pages, uint32_t kind);

/* From the firmware's map of `bytes` bytes in descriptors of `stride` (UEFI 2.9, 7.2, GetMemoryMap()).
 * Descriptors need not be sorted or disjoint: what is usable in one and not in another is not. Memory from
 * `limit` upwards is beyond the reach of the CPU and left out; what is usable in the HyperTransport range is reserved.
 * False: too many ranges, or nonsense. */
bool ranges_from_uefi(struct ranges *ranges, const void *map, uint64_t bytes, uint64_t stride, uint64_t limit);

#endif
