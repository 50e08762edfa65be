/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The sections of the running EFI file, as the firmware loaded them. */
#include "boot/boot.h"

#include "hv/lib/string.h"

/* Offsets of fields in the DOS header; in the PE signature with the COFF header, which the optional header and the
 * section headers follow; in a section header. */
enum { DOS_MAGIC = 0x5a4d, DOS_PE = 60, DOS_SIZE = 64 };
enum { PE_MAGIC = 0x00004550, PE_SECTIONS = 6, PE_OPTIONAL_SIZE = 20, PE_SIZE = 24 };
/* clang-format off */
enum { SECTION_NAME_SIZE = 8, SECTION_VIRTUAL_SIZE = 8, SECTION_ADDRESS = 12, SECTION_RAW_SIZE = 16, SECTION_SIZE = 40 };
/* clang-format on */

/* NULL: not entirely inside the image. */
static const uint8_t *section_part(const void *image, uint64_t size, uint64_t offset, uint64_t bytes)
{
    return offset <= size && size - offset >= bytes ? (const uint8_t *)image + offset : NULL;
}

bool section_find(const void *image, uint64_t size, const char *name, struct section *out)
{
    char wanted[SECTION_NAME_SIZE] = {0};
    memcpy(wanted, name, strlen(name) < sizeof(wanted) ? strlen(name) : sizeof(wanted));
    const uint8_t *dos = section_part(image, size, 0, DOS_SIZE), *header;
    if (dos == NULL || number_at(dos, 2) != DOS_MAGIC)
        return false;
    uint64_t at = number_at(dos + DOS_PE, 4);
    const uint8_t *pe = section_part(image, size, at, PE_SIZE);
    if (pe == NULL || number_at(pe, 4) != PE_MAGIC)
        return false;
    at += PE_SIZE + number_at(pe + PE_OPTIONAL_SIZE, 2);
    for (uint64_t left = number_at(pe + PE_SECTIONS, 2); left > 0; left--, at += SECTION_SIZE) {
        header = section_part(image, size, at, SECTION_SIZE);
        if (header == NULL)
            return false;
        if (memcmp(header, wanted, sizeof(wanted)) != 0)
            continue;
        uint64_t base = number_at(header + SECTION_ADDRESS, 4), bytes = number_at(header + SECTION_VIRTUAL_SIZE, 4);
        bytes = bytes != 0 ? bytes : number_at(header + SECTION_RAW_SIZE, 4);
        if (bytes == 0 || base % PAGE_SIZE != 0 || section_part(image, size, base, bytes) == NULL)
            return false;
        *out = (struct section){section_part(image, size, base, bytes), bytes};
        return true;
    }
    return false;
}
