/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * SME reduces the physical address width. A BIOS that leaves SME off may have placed BARs above the reduced width. A
 * base address register (PCI 3.0, 6.2.5.1) is aligned to its size, so a range that begins below a power of two does not
 * end above it. Those of SR-IOV (PCIe 4.0, 9.3.3.14) are aligned to the size of one virtual function's range: those of
 * the others follow.
 */
#include "boot/boot.h"

#include "hv/lib/mmio.h"
#include "hv/lib/pci.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"

#define PCI_BAR_MEMORY_64 4u    /* in bits 2:0 */
#define PCI_BAR_FLAGS 15u
/* Extended capabilities: PCIe 4.0, 7.6.3. The SR-IOV one has as many registers as a device. */
enum { EXTENDED_FIRST = 0x100, EXTENDED_LAST = PCI_FUNCTION_SIZE - 0x40, EXTENDED_MOST = 480 };
enum { SRIOV = 0x0010, SRIOV_CONTROL = 0x08, SRIOV_VFS = 0x0c, SRIOV_BAR_0 = 0x24, BARS = 24 };
#define SRIOV_IN_USE 9u         /* VF Enable, VF Memory Space Enable */

/* The last address of `vfs` virtual functions' ranges from `base` on, by the 64-bit BAR at `at`. While it is sized it holds
 * no valid address, which nothing decodes as long as virtual functions are off. */
static uint64_t addresses_last(volatile void *ecam, uint32_t at, uint64_t base, uint64_t vfs)
{
    uint64_t bytes, last;
    uint32_t low = mmio_read32(ecam, at), high = mmio_read32(ecam, at + 4);
    cli();
    mmio_write32(ecam, at, UINT32_MAX);
    mmio_write32(ecam, at + 4, UINT32_MAX);
    uint64_t mask = (uint64_t)mmio_read32(ecam, at + 4) << 32 | (mmio_read32(ecam, at) & ~PCI_BAR_FLAGS);
    mmio_write32(ecam, at, low);
    mmio_write32(ecam, at + 4, high);
    sti();
    bool over = __builtin_mul_overflow(~mask + 1, vfs, &bytes) || __builtin_add_overflow(base, bytes, &last);
    return over ? UINT64_MAX : bytes == 0 ? base : last - 1;
}

/* The number of 64-bit BARs among the registers in [at, end) that exceed the address width. `ecam`: NULL if the function is
 * reached by ports. `vfs`: of so many virtual functions; 0: of the function itself. */
static uint32_t addresses_beyond(const struct pci_space *space, uint32_t sbdf, volatile void *ecam, uint32_t at,
                                 uint32_t end, uint32_t vfs)
{
    uint32_t beyond = 0;
    for (; at + 4 < end; at += 4) {
        uint64_t low = ecam != NULL ? mmio_read32(ecam, at) : pci_read32(space, sbdf, (uint8_t)at), high;
        if ((low & 7) != PCI_BAR_MEMORY_64)
            continue;
        high = ecam != NULL ? mmio_read32(ecam, at + 4) : pci_read32(space, sbdf, (uint8_t)(at + 4));
        uint64_t last = high << 32 | (low & ~PCI_BAR_FLAGS);
        if (vfs > 0)
            last = addresses_last(ecam, at, last, vfs);
        beyond += last >> handoff.phys_bits != 0;
        at += 4;
    }
    return beyond;
}

static uint32_t addresses_of(const struct pci_space *space, uint32_t sbdf, volatile void *ecam)
{
    uint32_t layout = pci_layout(space, sbdf), at = EXTENDED_FIRST, header;
    uint32_t beyond = addresses_beyond(space, sbdf, ecam, PCI_BAR_0,
                                       PCI_BAR_0 + (layout == 0   ? BARS
                                                    : layout == 1 ? 8
                                                                  : 0),
                                       0);
    for (uint32_t i = 0; ecam != NULL && at >= EXTENDED_FIRST && at <= EXTENDED_LAST && i < EXTENDED_MOST; i++) {
        header = mmio_read32(ecam, at);
        if ((header & 0xffff) == SRIOV) {
            bool in_use = (mmio_read32(ecam, at + SRIOV_CONTROL) & SRIOV_IN_USE) != 0;
            boot.pci_unseen |= in_use; /* those are not sized */
            beyond += addresses_beyond(space, sbdf, ecam, at + SRIOV_BAR_0, at + SRIOV_BAR_0 + BARS,
                                       in_use ? 0 : mmio_read32(ecam, at + SRIOV_VFS) >> 16);
        }
        at = header >> 20 & ~3u;
    }
    return beyond;
}

void addresses_check(void)
{
    struct pci_space space;
    uint32_t beyond = 0;
    char needed[28], found[28], name[PCI_NAME], where[64] = "", blind[PCI_NAME + 1] = "", remedy[200] = "";
    for (uint32_t i = 0; registers_space(&i, &space);) {
        for (uint32_t sbdf = space.first; pci_next(&space, &sbdf); sbdf++) {
            volatile void *ecam = registers_ecam(&space, sbdf);
            uint32_t more = addresses_of(&space, sbdf, ecam);
            beyond += more;
            if (more > 0)
                text_list(where, sizeof where, pci_name(sbdf, name));
            if (ecam == NULL && blind[0] == '\0')
                text_list(blind, sizeof blind, pci_name(sbdf, name));
        }
    }
    registers_row(blind, "some by ports only",
                  "not by the MCFG, or not mapped by UEFI: BARs of virtual functions (SR-IOV) are not checked there. "
                  "Update the BIOS");
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
