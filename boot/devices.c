/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The framebuffer. */
#include "boot/boot.h"

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
