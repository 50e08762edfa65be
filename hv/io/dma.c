/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "hv/io/dma.h"

#include "hv/mm/hostmap.h"
#include "hv/console/log.h"
#include "hv/lib/pci.h"

#define PCI_COMMAND 0x04u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_HEADER_TYPE 0x0cu
#define PCI_HEADER_BRIDGE (UINT32_C(0x7f) << 16)        /* layout 0 is a device's */
#define PCI_HEADER_MULTIFUNCTION (UINT32_C(1) << 23)
#define PCI_BUSES 0x18u         /* of a bridge: primary, secondary, subordinate */
#define PCI_ABSENT UINT32_MAX
#define PCI_FUNCTIONS 0x10000u  /* of a segment */

/* 82093AA data sheet, 3.2, as AMD's FCHs and NBIOs have them */
#define IOAPIC_SELECT 0x00u
#define IOAPIC_WINDOW 0x10u
#define IOAPIC_VERSION 1u       /* bits 23:16: the last entry */
#define IOAPIC_ENTRIES 0x10u    /* two words each */
#define IOAPIC_MASKED (UINT32_C(1) << 16)
#define IOAPIC_MODE (UINT32_C(7) << 8)
#define IOAPIC_MODE_SMI (UINT32_C(2) << 8)

/* Configuration space of segment 0, by ports; or of the buses of another that are mapped. */
struct dma_space {
    volatile void *ecam;        /* NULL: ports */
    uint32_t functions;
};

static uint32_t dma_read(const struct dma_space *space, uint32_t bdf, uint8_t offset)
{
    return space->ecam == NULL ? pci_read32((uint16_t)bdf, offset) : mmio_read32(space->ecam, ((uint64_t)bdf << 12) + offset);
}

/* The Secure Processor, and the bridges above it: Linux' pci_set_master() for it leaves bus mastering on in all of them. */
static bool dma_serves_psp(const struct handoff *handoff, const struct dma_space *space, uint32_t bdf, bool bridge)
{
    if (space->ecam != NULL || handoff->psp_present == 0)
        return false;       /* discovery has seen segment 0 only */
    if (!bridge)
        return bdf == handoff->psp_bdf;
    uint32_t buses = dma_read(space, bdf, PCI_BUSES), bus = handoff->psp_bdf >> 8;
    uint32_t secondary = buses >> 8 & 0xff, subordinate = buses >> 16 & 0xff;
    return secondary != 0 && secondary <= bus && bus <= subordinate;
}

static void dma_stop_masters(const struct handoff *handoff, const struct dma_space *space, bool bridges)
{
    uint32_t functions = 1;
    for (uint32_t bdf = 0; bdf < space->functions; bdf++) {
        if (bdf % 8 == 0)
            functions = 1;
        if (bdf % 8 >= functions || dma_read(space, bdf, 0) == PCI_ABSENT)
            continue;
        uint32_t header = dma_read(space, bdf, PCI_HEADER_TYPE);
        if (bdf % 8 == 0 && (header & PCI_HEADER_MULTIFUNCTION) != 0)
            functions = 8;
        bool bridge = (header & PCI_HEADER_BRIDGE) != 0;
        if (bridge != bridges)
            continue;
        /* The status half is written as zeros, which leaves it alone. */
        uint32_t before = dma_read(space, bdf, PCI_COMMAND) & 0xffff;
        uint32_t after = dma_serves_psp(handoff, space, bdf, bridge) ? before | PCI_COMMAND_MASTER : before & ~PCI_COMMAND_MASTER;
        if (after != before && space->ecam == NULL)
            pci_write32((uint16_t)bdf, PCI_COMMAND, after);
        else if (after != before)
            mmio_write32(space->ecam, ((uint64_t)bdf << 12) + PCI_COMMAND, after);
    }
}

static void dma_mask_ioapic(volatile void *ioapic)
{
    mmio_write32(ioapic, IOAPIC_SELECT, IOAPIC_VERSION);
    uint32_t version = mmio_read32(ioapic, IOAPIC_WINDOW);
    if (version == PCI_ABSENT)
        return;
    for (uint32_t i = 0; i <= (version >> 16 & 0xff); i++) {
        mmio_write32(ioapic, IOAPIC_SELECT, IOAPIC_ENTRIES + 2 * i);
        uint32_t entry = mmio_read32(ioapic, IOAPIC_WINDOW);
        if ((entry & IOAPIC_MODE) != IOAPIC_MODE_SMI)       /* those are the firmware's, and Linux leaves them, too */
            mmio_write32(ioapic, IOAPIC_WINDOW, entry | IOAPIC_MASKED);
    }
}

void dma_stop(const struct handoff *handoff)
{
    /* A bridge that forwards nothing may hang the requests of what is below: that first, in all segments. */
    for (uint32_t bridges = 0; bridges < 2; bridges++) {
        struct dma_space space = {NULL, PCI_FUNCTIONS};
        dma_stop_masters(handoff, &space, bridges != 0);
        for (uint32_t i = 0; i < handoff->register_count; i++) {
            const struct handoff_registers *r = &handoff->registers[i];
            if (r->kind != HANDOFF_ECAM)
                continue;
            space = (struct dma_space){mmio_map(paddr(r->base), r->size), (uint32_t)(r->size >> 12)};
            if (space.ecam == NULL) {
                log_print(LOG_ERROR, "PCI: no room to map the configuration space at %lx: devices there keep their DMA", r->base);
                continue;
            }
            dma_stop_masters(handoff, &space, bridges != 0);
            mmio_unmap(space.ecam, r->size);
        }
    }
    for (uint32_t i = 0; i < handoff->register_count; i++) {
        const struct handoff_registers *r = &handoff->registers[i];
        if (r->kind != HANDOFF_IOAPIC)
            continue;
        volatile void *ioapic = mmio_map(paddr(r->base), r->size);
        ASSERT(ioapic != NULL);         /* small windows need nothing from the pool, and none is open */
        dma_mask_ioapic(ioapic);
        mmio_unmap(ioapic, r->size);
    }
}
