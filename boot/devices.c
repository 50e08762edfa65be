/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's line, the framebuffer, and an end to all DMA. */
#include "boot.h"

#include "../hv/pci.h"
#include "../hv/string.h"
#include "../hv/x86.h"

/* Serial Port Console Redirection table, revision 2 and later. */
#define SPCR_INTERFACE 36u
#define SPCR_ADDRESS 40u
#define SPCR_SIZE 52u
#define SPCR_16550 0u
#define SPCR_16450 1u
#define SPCR_16550_GAS 0x12u
#define ADDRESS_SPACE_IO 1u

#define COM1 0x3f8u
#define UART_SCRATCH 7u

#define PCI_COMMAND 0x04u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_HEADER_TYPE 0x0cu
#define PCI_HEADER_MULTIFUNCTION (UINT32_C(1) << 23)
#define PCI_ABSENT UINT32_MAX

static bool devices_uart_at(uint16_t port)
{
    uint8_t old = in8((uint16_t)(port + UART_SCRATCH));
    out8((uint16_t)(port + UART_SCRATCH), 0x5a);
    bool first = in8((uint16_t)(port + UART_SCRATCH)) == 0x5a;
    out8((uint16_t)(port + UART_SCRATCH), 0xa5);
    bool second = in8((uint16_t)(port + UART_SCRATCH)) == 0xa5;
    out8((uint16_t)(port + UART_SCRATCH), old);
    return first && second;
}

static uint16_t devices_serial_port(uint64_t rsdp)
{
    const uint8_t *spcr = acpi_find(rsdp, "SPCR", SPCR_SIZE);
    if (spcr != NULL && spcr[SPCR_ADDRESS] == ADDRESS_SPACE_IO &&
        (spcr[SPCR_INTERFACE] == SPCR_16550 || spcr[SPCR_INTERFACE] == SPCR_16450 ||
         spcr[SPCR_INTERFACE] == SPCR_16550_GAS)) {
        uint64_t address;
        memcpy(&address, spcr + SPCR_ADDRESS + 4, sizeof address);
        if (address != 0 && address <= UINT16_MAX - UART_SCRATCH && devices_uart_at((uint16_t)address))
            return (uint16_t)address;
    }
    return devices_uart_at(COM1) ? COM1 : 0;
}

void devices_find(uint64_t rsdp)
{
    handoff.serial_port = devices_serial_port(rsdp);

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
