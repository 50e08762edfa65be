/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * SME reduces the physical address width. A BIOS that leaves SME off may have placed BARs above the reduced width. A
 * base address register (PCI 3.0, 6.2.5.1) is aligned to its size, so a range that begins below a power of two does not
 * end above it. Those of SR-IOV (PCIe 4.0, 9.3.3.14) are aligned to the size of one virtual function's range: those of
 * the others follow.
 */
#include "boot/boot.h"

#include "hv/lib/pci.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"

#define PCI_BAR_MEMORY_64 4u    /* in bits 2:0 */
#define PCI_BAR_FLAGS UINT64_C(15)
/* Extended capabilities: PCIe 4.0, 7.6.3. The SR-IOV one has as many registers as a device. */
enum { EXTENDED_FIRST = 0x100, EXTENDED_LAST = PCI_FUNCTION_SIZE - 0x40, EXTENDED_MOST = 480 };
/* Its control register, whose other half is for status; and the bits there but VF Memory Space Enable. */
enum { SRIOV = 0x0010, SRIOV_CONTROL = 0x08, SRIOV_OTHERS = 0xfff7, SRIOV_VFS = 0x0c, SRIOV_BAR_0 = 0x24, BARS = 24 };

/* The last address of `vfs` virtual functions' ranges, by their 64-bit BAR at `at`, which is `bar`. While it is sized it
 * holds no valid address: the caller has switched decoding off. */
static uint64_t addresses_last(const struct pci_space *function, uint32_t at, uint64_t bar, uint64_t vfs)
{
    const uint32_t sbdf = function->first;
    uint64_t bytes, end;
    pci_write32(function, sbdf, at, UINT32_MAX);
    pci_write32(function, sbdf, at + 4, UINT32_MAX);
    uint64_t mask = (uint64_t)pci_read32(function, sbdf, at + 4) << 32 | pci_read32(function, sbdf, at);
    pci_write32(function, sbdf, at, (uint32_t)bar);
    pci_write32(function, sbdf, at + 4, (uint32_t)(bar >> 32));
    bool over = __builtin_mul_overflow(~(mask & ~PCI_BAR_FLAGS) + 1, vfs, &bytes) ||
                __builtin_add_overflow(bar & ~PCI_BAR_FLAGS, bytes, &end);
    return over ? UINT64_MAX : end - (bytes != 0);
}

/* The number of 64-bit BARs among the registers in [at, end) that exceed the address width. `vfs`: they are those of so many
 * virtual functions; 0: the function's own. */
static uint32_t addresses_beyond(const struct pci_space *function, uint32_t at, uint32_t end, uint32_t vfs)
{
    uint32_t beyond = 0;
    for (; at + 4 < end; at += 4) {
        uint64_t bar = pci_read32(function, function->first, at);
        if ((bar & 7) != PCI_BAR_MEMORY_64)
            continue;
        bar |= (uint64_t)pci_read32(function, function->first, at + 4) << 32;
        beyond += (vfs > 0 ? addresses_last(function, at, bar, vfs) : bar) >> handoff.phys_bits != 0;
        at += 4;
    }
    return beyond;
}

static uint32_t addresses_of(const struct pci_space *function)
{
    uint32_t layout = pci_layout(function, function->first), header;
    uint32_t bars = layout == 0 ? BARS : layout == 1 ? 8 : 0, at = function->ecam != NULL ? EXTENDED_FIRST : 0;
    uint32_t beyond = addresses_beyond(function, PCI_BAR_0, PCI_BAR_0 + bars, 0);
    for (uint32_t i = 0; at >= EXTENDED_FIRST && at <= EXTENDED_LAST && i < EXTENDED_MOST; i++) {
        header = pci_read32(function, function->first, at);
        if ((header & 0xffff) == SRIOV) {
            uint32_t vfs = pci_read32(function, function->first, at + SRIOV_VFS) >> 16;
            uint32_t control = pci_read32(function, function->first, at + SRIOV_CONTROL) & 0xffff;
            cli(); /* a driver of the UEFI firmware may use virtual functions */
            pci_write32(function, function->first, at + SRIOV_CONTROL, control & SRIOV_OTHERS);
            beyond += addresses_beyond(function, at + SRIOV_BAR_0, at + SRIOV_BAR_0 + BARS, vfs);
            pci_write32(function, function->first, at + SRIOV_CONTROL, control);
            sti();
        }
        at = header >> 20 & ~3u;
    }
    return beyond;
}

void addresses_check(void)
{
    struct pci_space space;
    uint32_t beyond = 0;
    char needed[28], name[PCI_NAME], where[64] = "", blind[PCI_NAME + 1] = "";
    for (uint32_t i = 0; registers_space(&i, &space);) {
        for (uint32_t sbdf = space.first; pci_next(&space, &sbdf); sbdf++) {
            const struct pci_space function = {registers_ecam(&space, sbdf), sbdf, 1};
            uint32_t more = addresses_of(&function);
            beyond += more;
            if (more > 0)
                text_list(where, sizeof(where), pci_name(sbdf, name));
            if (function.ecam == NULL && blind[0] == '\0')
                text_list(blind, sizeof(blind), pci_name(sbdf, name));
        }
    }
    registers_row(blind, "some by ports only",
                  "not by the MCFG, or not mapped by UEFI: BARs of virtual functions (SR-IOV) are not checked there. "
                  "Update the BIOS");
    text_format(needed, sizeof(needed), "below 2^%u", handoff.phys_bits);
    if (beyond > 0)
        table_row(PREFLIGHT_NOTE, "PCI addresses", needed,
                  "%u are above\n"
                  "%sout of reach once memory encryption is on; only the Secure Processor's matters. "
                  "BIOS: Above 4G Decoding = Disabled, or a lower MMIO limit",
                  beyond, where);
    else
        table_row(PREFLIGHT_FINE, "PCI addresses", needed, boot.pci_unseen ? "all that can be read" : "all");
}
