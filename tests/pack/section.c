/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* An EFI application for test_pe.py and test_boot.py: finds the packed section in its own
 * loaded image, validates it, says so, and switches the machine off. */
#include <efi.h>
#include <efilib.h>

#include "guest/manifest.h"

/* What the packer knows Sevisor's files by: the magic number of struct hv_image_header (boot/handoff.h). */
__attribute__((section(".hv"), used, aligned(4096))) static const UINT64 hv[512] = {0x00564852535645baull};

/* gnu-efi has no types for PE headers; offsets are from the PE/COFF format. */
static const UINT8 *find(const UINT8 *image, UINT32 *size)
{
    const UINT8 *pe = image + *(const UINT32 *)(image + 0x3c);
    UINT16 count = *(const UINT16 *)(pe + 6);
    const UINT8 *section = pe + 24 + *(const UINT16 *)(pe + 20);

    for (; count > 0; count--, section += 40) {
        if (CompareMem(section, ".manifest", 8) == 0) {
            *size = *(const UINT32 *)(section + 8);
            return image + *(const UINT32 *)(section + 12);
        }
    }
    return NULL;
}

EFI_STATUS efi_main(EFI_HANDLE handle, EFI_SYSTEM_TABLE *table)
{
    EFI_LOADED_IMAGE *loaded;
    const UINT8 *manifest;
    UINT32 size = 0;

    InitializeLib(handle, table);
    if (uefi_call_wrapper(BS->HandleProtocol, 3, handle, &LoadedImageProtocol, (void **)&loaded) != EFI_SUCCESS)
        return EFI_LOAD_ERROR;
    manifest = find(loaded->ImageBase, &size);
    if (manifest == NULL)
        Print(L"section: none\n");
    else
        Print(L"section: %d bytes, %a\n", size, manifest_error_name(manifest_check(manifest, size, NULL)));
    uefi_call_wrapper(RT->ResetSystem, 4, EfiResetShutdown, EFI_SUCCESS, 0, NULL);
    return EFI_SUCCESS;
}
