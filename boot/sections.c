/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The sections of the running EFI file, as the firmware loaded them. */
#include "boot/sections.h"

#include "hv/lib/string.h"

#define SECTION_ALIGN 4096u
#define SECTION_NAME 8u
#define DOS_MAGIC 0x5a4du           /* "MZ" */
#define PE_MAGIC 0x00004550u        /* "PE\0\0" */

struct dos_header {
    uint16_t magic;
    uint8_t between[58];
    uint32_t pe_offset;
};
_Static_assert(sizeof(struct dos_header) == 64, "DOS header");

struct pe_header {
    uint32_t magic;
    uint16_t machine, section_count;
    uint32_t time, symbols, symbol_count;
    uint16_t optional_size, characteristics;
};
_Static_assert(sizeof(struct pe_header) == 24, "PE signature and COFF file header");

struct section_header {
    uint8_t name[SECTION_NAME];
    uint32_t virtual_size, virtual_address, raw_size, raw_offset;
    uint32_t relocations, lines;
    uint16_t relocation_count, line_count;
    uint32_t characteristics;
};
_Static_assert(sizeof(struct section_header) == 40, "PE section header");

/* Copies `count` bytes from `offset` if they are inside. */
static bool section_read(const uint8_t *image, uint64_t size, uint64_t offset, void *out, uint64_t count)
{
    if (offset > size || size - offset < count)
        return false;
    memcpy(out, image + offset, count);
    return true;
}

bool section_find(const void *image, uint64_t size, const char *name, struct section *out)
{
    uint8_t wanted[SECTION_NAME] = {0};
    for (uint32_t i = 0; i < SECTION_NAME && name[i] != '\0'; i++)
        wanted[i] = (uint8_t)name[i];

    struct dos_header dos;
    struct pe_header pe;
    if (!section_read(image, size, 0, &dos, sizeof dos) || dos.magic != DOS_MAGIC ||
        !section_read(image, size, dos.pe_offset, &pe, sizeof pe) || pe.magic != PE_MAGIC)
        return false;
    uint64_t table = (uint64_t)dos.pe_offset + sizeof pe + pe.optional_size;
    for (uint32_t i = 0; i < pe.section_count; i++) {
        struct section_header header;
        if (!section_read(image, size, table + i * sizeof header, &header, sizeof header))
            return false;
        if (memcmp(header.name, wanted, sizeof wanted) != 0)
            continue;
        uint64_t bytes = header.virtual_size != 0 ? header.virtual_size : header.raw_size;
        if (bytes == 0 || header.virtual_address % SECTION_ALIGN != 0 || header.virtual_address > size ||
            size - header.virtual_address < bytes)
            return false;
        *out = (struct section){(const uint8_t *)image + header.virtual_address, bytes};
        return true;
    }
    return false;
}
