/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The parts with a SEV mailbox, and where their registers are. */
#include "psp/internal.h"

/* Naples; Rome and Milan; Genoa, Bergamo and Siena; Turin, and what follows it. */
static const struct psp_generation generations[] = {
    {.device_id = 0x1456, .c2pmsg = 0x10500, .int_enable = 0x10610, .int_status = 0x10614},
    {.device_id = 0x1486, .c2pmsg = 0x10900, .int_enable = 0x10690, .int_status = 0x10694},
    {.device_id = 0x14ca, .c2pmsg = 0x10900, .int_enable = 0x10690, .int_status = 0x10694},
    {.device_id = 0x156e, .c2pmsg = 0x10900, .int_enable = 0x10510, .int_status = 0x10514},
    {.device_id = 0x17d8, .c2pmsg = 0x10900, .int_enable = 0x10510, .int_status = 0x10514},
};

const struct psp_generation *psp_generation_of(uint16_t device_id)
{
    for (unsigned i = 0; i < sizeof(generations) / sizeof(*generations); i++) {
        if (generations[i].device_id == device_id)
            return &generations[i];
    }
    return NULL;
}

void psp_registers_read(const struct psp_generation *generation, volatile void *registers,
                        uint32_t cells[static PSP_CELLS])
{
    /* clang-format off */
    static const uint32_t offsets[PSP_CELLS] = {
        PSP_C2PMSG_CMDRESP, PSP_C2PMSG_ADDR_LO, PSP_C2PMSG_ADDR_HI, PSP_C2PMSG_BOOT_LOADER, [PSP_CELL_FEATURE] = PSP_C2PMSG_FEATURE,
    };
    /* clang-format on */

    for (unsigned i = 0; i < PSP_CELLS; i++)
        cells[i] = mmio_read32(registers, generation->c2pmsg + offsets[i]);
}

enum psp_error psp_feature_check(const uint32_t cells[static PSP_CELLS])
{
    if (cells[PSP_CELL_FEATURE] == PSP_ABSENT)
        return PSP_BLOCKED;
    return (cells[PSP_CELL_FEATURE] & PSP_FEATURE_SEV) ? PSP_OK : PSP_NO_SEV;
}
