/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The framebuffer, and an end to all DMA. */
#include "boot.h"

#include "../hv/pci.h"

#define PCI_COMMAND 0x04u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_HEADER_TYPE 0x0cu
#define PCI_HEADER_MULTIFUNCTION (UINT32_C(1) << 23)
#define PCI_ABSENT UINT32_MAX

void devices_find(void)
{
    EFI_GUID guid = EFI_GRAPHICS_OUTPUT_PROTOCOL_GUID;
    EFI_GRAPHICS_OUTPUT_PROTOCOL *gop;
    if (EFI_ERROR(boot.services->LocateProtocol(&guid, NULL, (void **)&gop)) || gop->Mode == NULL || gop->Mode->Info == NULL)
        return;
    const EFI_GRAPHICS_OUTPUT_MODE_INFORMATION *info = gop->Mode->Info;
    if (info->PixelFormat != PixelRedGreenBlueReserved8BitPerColor &&
        info->PixelFormat != PixelBlueGreenRedReserved8BitPerColor)
        return;
    handoff.framebuffer_base = gop->Mode->FrameBufferBase;
    handoff.framebuffer_width = info->HorizontalResolution;
    handoff.framebuffer_height = info->VerticalResolution;
    handoff.framebuffer_stride = info->PixelsPerScanLine;
}

void devices_stop_bus_masters(void)
{
    uint32_t functions = 1;
    for (uint32_t bdf = 0; bdf <= UINT16_MAX; bdf++) {
        if (bdf % 8 == 0)
            functions = 1;
        if (bdf % 8 >= functions || pci_read32((uint16_t)bdf, 0) == PCI_ABSENT)
            continue;
        if (bdf % 8 == 0 && (pci_read32((uint16_t)bdf, PCI_HEADER_TYPE) & PCI_HEADER_MULTIFUNCTION) != 0)
            functions = 8;
        /* The status half is written as zeros, which leaves it alone. */
        uint32_t command = pci_read32((uint16_t)bdf, PCI_COMMAND) & 0xffff;
        if ((command & PCI_COMMAND_MASTER) != 0)
            pci_write32((uint16_t)bdf, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
    }
}
