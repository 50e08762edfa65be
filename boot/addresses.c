/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Memory encryption takes address bits away, of which BIOSes that leave it off know nothing when they place devices.
 * A base address register (PCI 3.0, 6.2.5.1) says where its device begins; being aligned to its size, the device cannot
 * begin below a power of two and end above.
 */
#include "boot/boot.h"

#include "hv/lib/pci.h"
#include "hv/lib/text.h"

#define PCI_HEADER_TYPE 0x0cu
#define PCI_BAR_0 0x10u
#define PCI_BAR_MEMORY_64 4u    /* in bits 2:0 */

/* How many of this function's registers are at `limit` or above. */
static uint32_t addresses_beyond(uint16_t bdf, uint64_t limit)
{
    uint32_t beyond = 0, layout = pci_read32(bdf, PCI_HEADER_TYPE) >> 16 & 0x7f;
    uint8_t end = layout == 0 ? PCI_BAR_0 + 24 : layout == 1 ? PCI_BAR_0 + 8 : 0;
    for (uint8_t bar = PCI_BAR_0; bar + 4 < end; bar = (uint8_t)(bar + 4)) {
        uint64_t low = pci_read32(bdf, bar);
        if ((low & 7) == PCI_BAR_MEMORY_64) {
            bar = (uint8_t)(bar + 4);
            beyond += ((uint64_t)pci_read32(bdf, bar) << 32 | low) >= limit;
        }
    }
    return beyond;
}

void addresses_check(void)
{
    uint32_t beyond = 0, used = 0;
    char needed[28], found[28], where[64] = "", remedy[200] = "";
    for (uint32_t bdf = 0; pci_next(&bdf); bdf++) {
        uint32_t more = addresses_beyond((uint16_t)bdf, UINT64_C(1) << handoff.phys_bits);
        beyond += more;
        if (more > 0 && sizeof where - used > sizeof "00:00.0,")
            used += (uint32_t)text_format(where + used, sizeof where - used, "%02x:%02x.%x,", bdf >> 8, bdf >> 3 & 31,
                                          bdf & 7);
    }
    text_format(needed, sizeof needed, "below 2^%u", handoff.phys_bits);
    text_format(found, sizeof found, beyond == 0 ? "all of segment 0" : "%u are above", beyond);
    if (beyond > 0)
        text_format(remedy, sizeof remedy, "%s out of reach once memory encryption is on; only the Secure Processor's "
                    "matters. BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit", where);
    preflight_row(HANDOFF_FINE, "PCI addresses", needed, found, remedy);
}
