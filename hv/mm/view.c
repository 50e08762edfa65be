/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The one place that adds the C-bit to a page-table entry and to an address for the SEV firmware. */
#include "hv/mm/view.h"

#include "hv/lib/x86.h"

static uint64_t view_mask;      /* the C-bit */

void view_init(const struct handoff *handoff)
{
    view_mask = handoff->c_bit_mask;
}

uint64_t view_c_bit(void)
{
    return view_mask;
}

uint64_t view_entry_address(paddr_t page, enum memory_view view)
{
    return page.raw | (view == VIEW_ENCRYPTED ? view_mask : 0);
}

uint64_t view_firmware_address(paddr_t page, enum memory_view view)
{
    /* Linux hands the SEV firmware an address as it maps it itself (psp-mailbox.md 4). */
    return view_entry_address(page, view);
}

void cache_flush(const void *va, uint64_t size)
{
    uint64_t line = (uint64_t)(cpuid(1, 0).ebx >> 8 & 0xff) * 8;    /* APM3, Fn0000_0001 EBX */
    if (line == 0)
        line = 64;
    uintptr_t at = (uintptr_t)va & ~(uintptr_t)(line - 1), end = (uintptr_t)va + size;
    mfence();
    for (; at < end; at += line)
        clflush((const void *)at);
    mfence();
}
