/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * ACPI registers for power-off and reset with the values to write, so that hv needs no ACPI. The sleep types are found
 * in \_S5 by searching for the bytes of a Name in AML (ACPI 6.4, 20.2); no method is run. Where \_S5 is computed, or
 * _PTS is needed first, hv falls back to the other ways.
 */
#include "boot/boot.h"

#include "hv/lib/string.h"

/* ACPI 6.4, table 5.9; PM1b's field follows PM1a's. */
/* clang-format off */
enum { FADT_DSDT = 40, FADT_PM1A_CNT = 64, FADT_FLAGS = 112, FADT_RESET = 116, FADT_RESET_VALUE = 128,
       FADT_X_DSDT = 140, FADT_X_PM1A_CNT = 172, FADT_SLEEP_CONTROL = 244 };
/* clang-format on */
#define FADT_RESET_SUPPORTED (1u << 10)
#define FADT_HW_REDUCED (1u << 20)
/* 4.8.3.2.1 and 4.8.3.7 */
enum { PM1_TYPE = 10, PM1_ENABLE = 1 << 13, SLEEP_TYPE = 2, SLEEP_ENABLE = 1 << 5 };
/* clang-format off */
enum { AML_NAME = 0x08, AML_ROOT = 0x5c, AML_PACKAGE = 0x12, AML_ONE = 0x01, AML_BYTE = 0x0a, AML_WORD = 0x0b,
       AML_DWORD = 0x0c, AML_QWORD = 0x0e };
/* clang-format on */
#define AML_START 36u
#define AML_LEAST 8u            /* bytes of the name and of the package's header */

/* Decodes the integer constant at `at` (20.2.3); returns what follows it, or NULL. */
static const uint8_t *power_integer(const uint8_t *at, const uint8_t *end, uint64_t *value)
{
    if (at >= end)
        return NULL;
    uint32_t bytes = *at == AML_BYTE ? 1 : *at == AML_WORD ? 2 : *at == AML_DWORD ? 4 : *at == AML_QWORD ? 8 : 0;
    if ((bytes == 0 && *at > AML_ONE) || (uint64_t)(end - at) <= bytes)
        return NULL;
    *value = bytes == 0 ? *at : number_at(at + 1, bytes);
    return at + 1 + bytes;
}

/* The sleep types: the first two elements of \_S5, or bytes 0 and 1 of its only one (7.4.2; ACPICA, hwxface.c). */
static bool power_s5_in(const uint8_t *aml, uint32_t types[2])
{
    uint64_t length = acpi_field(aml, ACPI_LENGTH, 4); /* 0 of a table that is not there */
    for (uint32_t at = AML_START + 1; at + AML_LEAST <= length; at++) {
        bool named = aml[at - 1] == AML_NAME || (aml[at - 1] == AML_ROOT && aml[at - 2] == AML_NAME);
        if (!named || memcmp(aml + at, "_S5_", 4) != 0 || aml[at + 4] != AML_PACKAGE)
            continue;
        /* After the length, which has up to 3 more bytes, and the number of elements. */
        const uint8_t *first = aml + at + 7 + (aml[at + 5] >> 6), *end = aml + length;
        uint64_t a, b;
        const uint8_t *next = power_integer(first, end, &a);
        if (next == NULL || (first[-1] != 1 && power_integer(next, end, &b) == NULL))
            continue;
        types[0] = a & 0xff;
        types[1] = (first[-1] == 1 ? a >> 8 : b) & 0xff;
        if (types[0] <= 7 && types[1] <= 7)
            return true;
    }
    return false;
}

void power_find(void)
{
    const uint8_t *fadt = acpi_find("FACP", FADT_SIZE_1, 0), *aml;
    uint64_t flags = acpi_field(fadt, FADT_FLAGS, 4), dsdt = acpi_field(fadt, FADT_X_DSDT, 8);
    if ((flags & FADT_RESET_SUPPORTED) != 0) {
        handoff.reset = acpi_register(FADT_RESET, 0, 1);
        if (handoff.reset.address == 0)
            table_row(PREFLIGHT_NOTE, "ACPI reset register", "a port, or in memory",
                      "in address space %lu\n"
                      "not used: Sevisor resets the machine through the UEFI firmware, then by port 0xCF9",
                      acpi_field(fadt, FADT_RESET, 1));
    }
    handoff.reset.value = (uint32_t)acpi_field(fadt, FADT_RESET_VALUE, 1);

    uint32_t types[2];
    bool off = power_s5_in(acpi_table(dsdt != 0 ? dsdt : acpi_field(fadt, FADT_DSDT, 4), "DSDT"), types);
    for (uint32_t i = 0; !off && (aml = acpi_find("SSDT", AML_START, i)) != NULL; i++)
        off = power_s5_in(aml, types);
    if (off && (flags & FADT_HW_REDUCED) != 0) {
        handoff.off[0] = acpi_register(FADT_SLEEP_CONTROL, 0, 1);
        handoff.off[0].value = types[0] << SLEEP_TYPE | SLEEP_ENABLE;
    }
    for (uint32_t i = 0; off && (flags & FADT_HW_REDUCED) == 0 && i < 2; i++) {
        handoff.off[i] = acpi_register(FADT_X_PM1A_CNT + 12 * i, FADT_PM1A_CNT + 4 * i, 2);
        handoff.off[i].keep = UINT16_MAX & ~(7u << PM1_TYPE | PM1_ENABLE);
        handoff.off[i].value = types[i] << PM1_TYPE | PM1_ENABLE;
    }
}
