/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* UEFI's console, and the stack protector's functions. */
#include "boot/boot.h"

#include "hv/lib/string.h"
#include "hv/lib/text.h"

#define TEXT_LINE 256u

void text_print(const char *format, ...)
{
    char line[TEXT_LINE];
    CHAR16 wide[2 * TEXT_LINE + 1];
    va_list arguments;
    va_start(arguments, format);
    text_format_list(line, sizeof(line), format, arguments);
    va_end(arguments);

    size_t n = 0;
    for (const char *c = line; *c != '\0'; c++) {
        if (*c == '\n')
            wide[n++] = '\r';
        wide[n++] = (CHAR16)(*c >= ' ' && *c <= '~' ? *c : *c == '\n' ? '\n' : '?');
    }
    wide[n] = 0;
    if (boot.system->ConOut != NULL)
        boot.system->ConOut->OutputString(boot.system->ConOut, wide);
}

void text_list(char *list, size_t size, const char *word)
{
    size_t n = strlen(list);
    if (size - n > strlen(word) + 1)
        text_format(list + n, size - n, "%s ", word);
}

uint64_t __stack_chk_guard = UINT64_C(0x5eb1a57ed0900d00);
_Noreturn void __stack_chk_fail(void);

_Noreturn void __stack_chk_fail(void)
{
    text_print("Sevisor: stack smashed in the boot application (a bug, or bad memory): back to the boot order\n");
    boot.services->Exit(boot.handle, EFI_ABORTED, 0, NULL);
    __builtin_trap();
}
