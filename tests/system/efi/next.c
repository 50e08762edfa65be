/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The second entry of a boot order: when Sevisor returns to the firmware, this
 * application is started, says so on the firmware's console, and powers off.
 */
#define GNU_EFI_USE_MS_ABI      /* firmware functions are called as what they are */
#include <efi.h>
#include <efilib.h>

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table);

EFI_STATUS efi_main(EFI_HANDLE image, EFI_SYSTEM_TABLE *system_table)
{
    static CHAR16 words[] = L"next boot option: started\r\n";

    (void)image;
    system_table->ConOut->OutputString(system_table->ConOut, words);
    system_table->RuntimeServices->ResetSystem(EfiResetShutdown, EFI_SUCCESS, 0, NULL);
    return EFI_SUCCESS;
}
