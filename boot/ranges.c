/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Ranges of physical memory as an ascending list, into which kinds are painted one over the other. */
#include "boot/boot.h"

#include "hv/lib/string.h"

#define RANGES_MAX_PAGES (UINT64_MAX / PAGE_SIZE)
#define RANGES_NOTHING 0u       /* a kind that paints over what was there, and is not kept */

/* UEFI 2.9, 7.2 */
#define UEFI_MEMORY_NV UINT64_C(0x8000)         /* keeps its content without power */
#define UEFI_MEMORY_SP UINT64_C(0x40000)        /* set aside for a purpose of its own */

static uint32_t ranges_kind(const EFI_MEMORY_DESCRIPTOR *d)
{
    static const uint8_t kinds[EfiMaxMemoryType] = {
        [EfiLoaderCode... EfiBootServicesData] = HANDOFF_USABLE,
        [EfiConventionalMemory] = HANDOFF_USABLE,
        [EfiRuntimeServicesCode] = HANDOFF_RUNTIME_CODE,
        [EfiRuntimeServicesData] = HANDOFF_RUNTIME_DATA,
        [EfiACPIReclaimMemory... EfiACPIMemoryNVS] = HANDOFF_ACPI,
        [EfiMemoryMappedIO... EfiMemoryMappedIOPortSpace] = HANDOFF_MMIO,
    };
    const uint64_t relevant = EFI_MEMORY_WB | UEFI_MEMORY_NV | UEFI_MEMORY_SP | EFI_MEMORY_RUNTIME;
    uint32_t kind = d->Type < EfiMaxMemoryType ? kinds[d->Type] : 0;
    if (kind > HANDOFF_USABLE || (kind == HANDOFF_USABLE && (d->Attribute & relevant) == EFI_MEMORY_WB))
        return kind;
    /* Runtime services may use memory of any type that says so. */
    if ((d->Attribute & EFI_MEMORY_RUNTIME) == 0)
        return HANDOFF_RESERVED;
    return (d->Attribute & EFI_MEMORY_WB) != 0 ? HANDOFF_RUNTIME_DATA : HANDOFF_MMIO;
}

static uint64_t ranges_end(const struct handoff_range *r)
{
    return r->base + r->pages * PAGE_SIZE;
}

uint64_t ranges_total(uint32_t kind)
{
    uint64_t bytes = 0;
    for (uint32_t i = 0; i < handoff.range_count; i++)
        bytes += handoff.ranges[i].kind == kind ? handoff.ranges[i].pages * PAGE_SIZE : 0;
    return bytes;
}

static struct handoff_range painted[HANDOFF_MAX_RANGES];
static uint32_t painted_count;

/* Appends what is left of [base, end), to the last range if that is of the same kind and touches it. */
static bool ranges_append(uint64_t base, uint64_t end, uint32_t kind)
{
    struct handoff_range *last = painted_count == 0 ? NULL : &painted[painted_count - 1];
    if (base >= end || kind == RANGES_NOTHING)
        return true;
    if (last != NULL && last->kind == kind && ranges_end(last) == base) {
        last->pages += (end - base) / PAGE_SIZE;
        return true;
    }
    if (painted_count == HANDOFF_MAX_RANGES)
        return false;
    painted[painted_count++] = (struct handoff_range){base, (end - base) / PAGE_SIZE, kind, 0};
    return true;
}

bool ranges_paint(uint64_t base, uint64_t pages, uint32_t kind)
{
    base &= ~(PAGE_SIZE - 1);
    uint64_t possible = RANGES_MAX_PAGES - base / PAGE_SIZE;
    uint64_t end = base + (pages < possible ? pages : possible) * PAGE_SIZE;
    if (base == end)
        return true;

    bool room = true;
    const struct handoff_range *r = handoff.ranges, *last = r + handoff.range_count;
    painted_count = 0;
    for (; r < last && r->base < base; r++)
        room = room && ranges_append(r->base, ranges_end(r) < base ? ranges_end(r) : base, r->kind);
    room = room && ranges_append(base, end, kind);
    for (r = handoff.ranges; r < last; r++)
        room = room && ranges_append(r->base > end ? r->base : end, ranges_end(r), r->kind);
    if (!room)
        return false;
    memcpy(handoff.ranges, painted, painted_count * sizeof(*painted));
    handoff.range_count = painted_count;
    return true;
}

bool ranges_from_uefi(const void *map, uint64_t bytes, uint64_t stride, uint64_t limit, uint64_t *withheld)
{
    EFI_MEMORY_DESCRIPTOR d;
    handoff.range_count = 0;
    if (stride < sizeof(d))
        return false;
    /* First usable memory, then reserved memory over it, then kinds that hv distinguishes. */
    for (uint32_t pass = 0; pass < 3; pass++) {
        for (uint64_t offset = 0; bytes - offset >= stride; offset += stride) {
            memcpy(&d, (const uint8_t *)map + offset, sizeof(d));
            uint32_t kind = ranges_kind(&d), rank = kind == HANDOFF_RESERVED ? 1 : 2;
            if (pass == (kind == HANDOFF_USABLE ? 0 : rank) && !ranges_paint(d.PhysicalStart, d.NumberOfPages, kind))
                return false;
        }
    }
    uint64_t usable = ranges_total(HANDOFF_USABLE);
    /* Backwards, since painting may merge ranges from here on. */
    for (uint32_t i = handoff.range_count; i-- > 0;) {
        const struct handoff_range r = handoff.ranges[i];
        uint64_t from = r.base > RANGES_HT_FIRST ? r.base : RANGES_HT_FIRST;
        uint64_t end = ranges_end(&r) < RANGES_HT_END ? ranges_end(&r) : RANGES_HT_END;
        if (r.kind == HANDOFF_USABLE && from < end && !ranges_paint(from, (end - from) / PAGE_SIZE, HANDOFF_RESERVED))
            return false;
    }
    bool cut = ranges_paint(limit, RANGES_MAX_PAGES, RANGES_NOTHING);
    *withheld = usable - ranges_total(HANDOFF_USABLE);
    return cut;
}
