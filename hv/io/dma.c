/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Bus mastering goes off, endpoints first and bridges last, and IOAPICs are masked. */
#include "hv/io/dma.h"

#include "hv/console/log.h"
#include "hv/lib/mmio.h"
#include "hv/lib/panic.h"
#include "hv/lib/pci.h"
#include "hv/mm/window.h"

/* 82093AA data sheet, 3.2, as AMD's FCHs and NBIOs have them */
#define IOAPIC_SELECT 0x00u
#define IOAPIC_WINDOW 0x10u
#define IOAPIC_VERSION 1u       /* bits 23:16: the last entry */
#define IOAPIC_ABSENT UINT32_MAX
#define IOAPIC_ENTRIES 0x10u    /* two words each */
#define IOAPIC_MASKED (UINT32_C(1) << 16)
#define IOAPIC_MODE (UINT32_C(7) << 8)
#define IOAPIC_MODE_SMI (UINT32_C(2) << 8)

/* The Secure Processor, and the bridges above it: Linux' pci_set_master() for it leaves bus mastering on in all of them. */
static bool dma_serves_psp(const struct psp_location *psp, const struct pci_space *space, uint32_t sbdf, bool bridge)
{
    if (psp->bar == 0 || sbdf >> 16 != psp->function.sbdf >> 16)
        return false;
    if (!bridge)
        return sbdf == psp->function.sbdf;
    uint32_t buses = pci_read32(space, sbdf, PCI_BUSES), bus = psp->function.sbdf >> 8 & 0xff;
    uint32_t secondary = buses >> 8 & 0xff, subordinate = buses >> 16 & 0xff;
    return secondary != 0 && secondary <= bus && bus <= subordinate;
}

static void dma_stop_masters(const struct psp_location *psp, const struct pci_space *space, bool bridges)
{
    for (uint32_t sbdf = space->first; pci_next(space, &sbdf); sbdf++) {
        bool bridge = pci_layout(space, sbdf) != 0;
        if (bridge != bridges)
            continue;
        /* The status half is written as zeros, which leaves it alone. */
        uint32_t before = pci_read32(space, sbdf, PCI_COMMAND) & 0xffff;
        uint32_t after =
            dma_serves_psp(psp, space, sbdf, bridge) ? before | PCI_COMMAND_MASTER : before & ~PCI_COMMAND_MASTER;
        if (after != before)
            pci_write32(space, sbdf, PCI_COMMAND, after);
    }
}

static void dma_mask_ioapic(volatile void *ioapic)
{
    mmio_write32(ioapic, IOAPIC_SELECT, IOAPIC_VERSION);
    uint32_t version = mmio_read32(ioapic, IOAPIC_WINDOW);
    if (version == IOAPIC_ABSENT)
        return;
    for (uint32_t i = 0; i <= (version >> 16 & 0xff); i++) {
        mmio_write32(ioapic, IOAPIC_SELECT, IOAPIC_ENTRIES + 2 * i);
        uint32_t entry = mmio_read32(ioapic, IOAPIC_WINDOW);
        if ((entry & IOAPIC_MODE) != IOAPIC_MODE_SMI) /* those are the firmware's, and Linux leaves them, too */
            mmio_write32(ioapic, IOAPIC_WINDOW, entry | IOAPIC_MASKED);
    }
}

void dma_stop(const struct handoff *handoff)
{
    /* A bridge that forwards nothing may hang the requests of what is below: that first, in all segments. */
    for (uint32_t bridges = 0; bridges < 2; bridges++) {
        for (uint32_t i = 0; i < handoff->register_count; i++) {
            const struct handoff_registers *r = &handoff->registers[i];
            if (r->kind != HANDOFF_PCI)
                continue;
            struct pci_space space = {NULL, r->first, (uint32_t)(r->size / PCI_FUNCTION_SIZE)};
            if (r->base != 0 && (space.ecam = mmio_map(paddr(r->base), r->size)) == NULL) {
                log_print(LOG_ERROR,
                          "PCI: no room to map the configuration space of segment %04x: devices there keep their DMA",
                          r->first >> 16);
                continue;
            }
            dma_stop_masters(&handoff->psp, &space, bridges != 0);
            if (space.ecam != NULL)
                mmio_unmap(space.ecam, r->size);
        }
    }
    for (uint32_t i = 0; i < handoff->register_count; i++) {
        const struct handoff_registers *r = &handoff->registers[i];
        if (r->kind != HANDOFF_IOAPIC)
            continue;
        volatile void *ioapic = mmio_map(paddr(r->base), r->size);
        ASSERT(ioapic != NULL); /* small windows need nothing from the pool, and none is open */
        dma_mask_ioapic(ioapic);
        mmio_unmap(ioapic, r->size);
    }
}
