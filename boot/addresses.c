/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Memory encryption takes address bits away, of which BIOSes that leave it off know nothing when they place devices.
 * A base address register (PCI 3.0, 6.2.5.1) says where its device begins; being aligned to its size, the device cannot
 * begin below a power of two and end above.
 */
#include "boot/boot.h"

#include "hv/lib/pci.h"
#include "hv/lib/text.h"

#define PCI_BAR_MEMORY_64 4u    /* in bits 2:0 */

/* How many of this function's registers are at `limit` or above. */
static uint32_t addresses_beyond(const struct pci_space *space, uint32_t sbdf, uint64_t limit)
{
    uint32_t beyond = 0, layout = pci_layout(space, sbdf);
    uint8_t end = layout == 0 ? PCI_BAR_0 + 24 : layout == 1 ? PCI_BAR_0 + 8 : 0;
    for (uint8_t bar = PCI_BAR_0; bar + 4 < end; bar = (uint8_t)(bar + 4)) {
        uint64_t low = pci_read32(space, sbdf, bar);
        if ((low & 7) == PCI_BAR_MEMORY_64) {
            bar = (uint8_t)(bar + 4);
            beyond += ((uint64_t)pci_read32(space, sbdf, bar) << 32 | low) >= limit;
        }
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
            uint32_t more = addresses_beyond(&space, sbdf, UINT64_C(1) << handoff.phys_bits);
            beyond += more;
            if (more > 0)
                text_list(where, sizeof where, pci_name(sbdf, name));
        }
    }
    text_format(needed, sizeof needed, "below 2^%u", handoff.phys_bits);
    if (beyond > 0) {
        text_format(found, sizeof found, "%u are above", beyond);
        text_format(remedy, sizeof remedy, "%sout of reach once memory encryption is on; only the Secure Processor's "
                    "matters. BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit", where);
    } else {
        text_format(found, sizeof found, boot.pci_unseen ? "all that can be read" : "all");
    }
    table_row(PREFLIGHT_FINE, "PCI addresses", needed, found, remedy);
}
