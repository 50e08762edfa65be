/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * SME reduces the physical address width. A BIOS that leaves SME off may have placed BARs above the reduced width. A
 * base address register (PCI 3.0, 6.2.5.1) is aligned to its size, so a range that begins below a power of two does not
 * end above it. Those of SR-IOV (PCIe 4.0, 9.3.3.14) give the address of the first virtual function.
 */
#include "boot/boot.h"

#include "hv/lib/mmio.h"
#include "hv/lib/pci.h"
#include "hv/lib/text.h"

#define PCI_BAR_MEMORY_64 4u    /* in bits 2:0 */
/* Extended capabilities: PCIe 4.0, 7.6.3. The SR-IOV one has as many registers as a device. */
enum { EXTENDED_FIRST = 0x100, EXTENDED_LAST = PCI_FUNCTION_SIZE - 0x40, EXTENDED_MOST = 480 };
enum { SRIOV = 0x0010, SRIOV_BAR_0 = 0x24, BARS = 24 };

/* The number of 64-bit BARs among the registers in [at, end) whose address exceeds the address width. `ecam`: NULL if the
 * function is reached by ports. */
static uint32_t addresses_beyond(const struct pci_space *space, uint32_t sbdf, const volatile void *ecam, uint32_t at,
                                 uint32_t end)
{
    uint32_t beyond = 0;
    for (; at + 4 < end; at += 4) {
        uint64_t low = ecam != NULL ? mmio_read32(ecam, at) : pci_read32(space, sbdf, (uint8_t)at), high;
        if ((low & 7) == PCI_BAR_MEMORY_64) {
            at += 4;
            high = ecam != NULL ? mmio_read32(ecam, at) : pci_read32(space, sbdf, (uint8_t)at);
            beyond += (high << 32 | low) >> handoff.phys_bits != 0;
        }
    }
    return beyond;
}

static uint32_t addresses_of(const struct pci_space *space, uint32_t sbdf)
{
    const volatile void *ecam = registers_ecam(space, sbdf);
    uint32_t layout = pci_layout(space, sbdf), at = EXTENDED_FIRST, header;
    uint32_t beyond = addresses_beyond(space, sbdf, ecam, PCI_BAR_0,
                                       PCI_BAR_0 + (layout == 0   ? BARS
                                                    : layout == 1 ? 8
                                                                  : 0));
    for (uint32_t i = 0; ecam != NULL && at >= EXTENDED_FIRST && at <= EXTENDED_LAST && i < EXTENDED_MOST; i++) {
        header = mmio_read32(ecam, at);
        if ((header & 0xffff) == SRIOV)
            beyond += addresses_beyond(space, sbdf, ecam, at + SRIOV_BAR_0, at + SRIOV_BAR_0 + BARS);
        at = header >> 20 & ~3u;
    }
    return beyond;
}

void addresses_check(void)
{
    struct pci_space space;
    uint32_t beyond = 0;
    char needed[28], found[28], name[PCI_NAME], where[64] = "", remedy[200] = "";
    for (uint32_t i = 0; registers_space(&i, &space);) {
        for (uint32_t sbdf = space.first; pci_next(&space, &sbdf); sbdf++) {
            uint32_t more = addresses_of(&space, sbdf);
            beyond += more;
            if (more > 0)
                text_list(where, sizeof where, pci_name(sbdf, name));
        }
    }
    text_format(needed, sizeof needed, "below 2^%u", handoff.phys_bits);
    if (beyond > 0) {
        text_format(found, sizeof found, "%u are above", beyond);
        text_format(remedy, sizeof remedy,
                    "%sout of reach once memory encryption is on; only the Secure Processor's "
                    "matters. BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit",
                    where);
    } else {
        text_format(found, sizeof found, boot.pci_unseen ? "all that can be read" : "all");
    }
    table_row(PREFLIGHT_FINE, "PCI addresses", needed, found, remedy);
}
