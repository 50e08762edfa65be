/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which boot option a reset leads to, as the UEFI boot manager would choose (UEFI 2.9, 3.3, 8.2). */
#include "boot/boot.h"

#define BOOT_OPTIONS 256u
#define LOAD_OPTION_ACTIVE 0x00000001u
#define LOAD_OPTION_CATEGORY 0x00001f00u        /* 0: boot */
#define LOAD_OPTION_SIZE 4096u          /* bytes: a device path and what an operating system put behind it */

static EFI_GUID global_variable = EFI_GLOBAL_VARIABLE;

/* Whether the boot manager would start this option in its order (UEFI 2.9, 3.1.3): it is active, and no application. What
 * BootNext names it starts without looking. */
static bool bootnext_would_start(uint16_t option)
{
    static uint32_t load_option[LOAD_OPTION_SIZE / 4];
    static CHAR16 name[] = L"Boot0000";
    UINTN size = sizeof(load_option);
    for (uint32_t i = 0; i < 4; i++)
        name[4 + i] = (CHAR16) "0123456789ABCDEF"[option >> 4 * (3 - i) & 0xf];
    return !EFI_ERROR(boot.system->RuntimeServices->GetVariable(name, &global_variable, NULL, &size, load_option)) &&
           size >= 4 && (load_option[0] & (LOAD_OPTION_ACTIVE | LOAD_OPTION_CATEGORY)) == LOAD_OPTION_ACTIVE;
}

void bootnext_find(void)
{
    bool follows = false;
    static uint16_t order[BOOT_OPTIONS];
    uint16_t current = 0;
    UINTN size = sizeof(current), bytes = sizeof(order);
    handoff.boot_next = HANDOFF_NO_OPTION;
    if (EFI_ERROR(boot.system->RuntimeServices->GetVariable(L"BootCurrent", &global_variable, NULL, &size, &current)) ||
        EFI_ERROR(boot.system->RuntimeServices->GetVariable(L"BootOrder", &global_variable, NULL, &bytes, order)))
        return;
    for (uint64_t i = 0; i < bytes / sizeof(*order) && handoff.boot_next == HANDOFF_NO_OPTION; i++) {
        if (follows && bootnext_would_start(order[i]))
            handoff.boot_next = order[i];
        follows |= order[i] == current;
    }
}

void bootnext_set(void)
{
    const UINT32 kept = EFI_VARIABLE_NON_VOLATILE | EFI_VARIABLE_BOOTSERVICE_ACCESS | EFI_VARIABLE_RUNTIME_ACCESS;
    uint16_t option = (uint16_t)handoff.boot_next;
    if (handoff.boot_next != HANDOFF_NO_OPTION)
        boot.system->RuntimeServices->SetVariable(L"BootNext", &global_variable, kept, sizeof(option), &option);
}
