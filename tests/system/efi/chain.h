/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* For applications that stand where Sevisor is expected, change the machine's looks, and start it then. */
#ifndef TESTS_SYSTEM_EFI_CHAIN_H
#define TESTS_SYSTEM_EFI_CHAIN_H

#define GNU_EFI_USE_MS_ABI      /* firmware functions are called as what they are */
#include <efi.h>
#include <efilib.h>

/* From the same disk; comes back when Sevisor does. */
static inline EFI_STATUS start_sevisor(EFI_HANDLE image)
{
    static CHAR16 path[] = L"\\EFI\\SEVISOR\\SEVISOR.EFI";
    EFI_LOADED_IMAGE *loaded;
    EFI_HANDLE sevisor;
    EFI_STATUS status = BS->HandleProtocol(image, &LoadedImageProtocol, (void **)&loaded);

    if (!EFI_ERROR(status))
        status = BS->LoadImage(FALSE, image, FileDevicePath(loaded->DeviceHandle, path), NULL, 0, &sevisor);
    if (!EFI_ERROR(status))
        status = BS->StartImage(sevisor, NULL, NULL);
    Print((CHAR16 *)L"chain: Sevisor came back: %r\r\n", status);
    return status;
}

#endif
