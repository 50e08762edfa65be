/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* BootNext, set by GetVariable and SetVariable as the UEFI boot manager would choose. */
#include "hv/lib/bootnext.h"

/* UEFI 2.9, 8.2: GetVariable() and SetVariable() of the runtime services. */
struct guid {
    uint32_t a;
    uint16_t b, c;
    uint8_t d[8];
};
typedef uint64_t __attribute__((ms_abi)) (*get_variable_t)(const uint16_t *name, const struct guid *vendor,
                                                           uint32_t *attributes, uint64_t *size, void *data);
typedef uint64_t __attribute__((ms_abi)) (*set_variable_t)(const uint16_t *name, const struct guid *vendor,
                                                           uint32_t attributes, uint64_t size, const void *data);

/* UEFI 2.9, 3.3: the boot manager's variables. */
static const struct guid global_variable = {
    0x8be4df61, 0x93ca, 0x11d2, {0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c}};
enum { VARIABLE_NON_VOLATILE = 1, VARIABLE_BOOT_SERVICES = 2, VARIABLE_RUNTIME = 4 };
#define BOOT_OPTIONS 256u
#define LOAD_OPTION_ACTIVE 0x00000001u
#define LOAD_OPTION_CATEGORY 0x00001f00u        /* 0: boot */
#define LOAD_OPTION_SIZE 4096u          /* bytes: a device path and what an operating system put behind it */

/* Whether the boot manager would start this option in its order (UEFI 2.9, 3.1.3): it is active, and no application. What
 * BootNext names it starts without looking. */
static bool bootnext_would_start(get_variable_t get, uint16_t option)
{
    static uint32_t load_option[LOAD_OPTION_SIZE / 4];
    static uint16_t name[] = u"Boot0000";
    uint64_t size = sizeof load_option;
    for (uint32_t i = 0; i < 4; i++)
        name[4 + i] = (uint16_t)"0123456789ABCDEF"[option >> 4 * (3 - i) & 0xf];
    return get(name, &global_variable, NULL, &size, load_option) == 0 && size >= 4 &&
           (load_option[0] & (LOAD_OPTION_ACTIVE | LOAD_OPTION_CATEGORY)) == LOAD_OPTION_ACTIVE;
}

bool bootnext_set(uint64_t get_variable, uint64_t set_variable, uint16_t *option)
{
    bool follows = false;
    uint16_t current = 0, order[BOOT_OPTIONS];
    uint64_t size = sizeof current, bytes = sizeof order;
    get_variable_t get = (get_variable_t)(uintptr_t)get_variable;
    set_variable_t set = (set_variable_t)(uintptr_t)set_variable;
    if (get(u"BootCurrent", &global_variable, NULL, &size, &current) != 0 ||
        get(u"BootOrder", &global_variable, NULL, &bytes, order) != 0)
        return false;
    for (uint64_t i = 0; i < bytes / sizeof *order; i++) {
        *option = order[i];
        if (follows && bootnext_would_start(get, *option))
            return set(u"BootNext", &global_variable, VARIABLE_NON_VOLATILE | VARIABLE_BOOT_SERVICES | VARIABLE_RUNTIME,
                       sizeof *option, option) == 0;
        follows |= *option == current;
    }
    return false;
}
