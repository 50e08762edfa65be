/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The sections of the running EFI file, as the firmware loaded them; and the hv image in one of them, checked before it is
 * loaded: it is of this version, whole and undamaged. */
#include "boot/boot.h"

#include "guest/crc32.h"
#include "hv/lib/string.h"

/* Offsets of fields in the DOS header; in the PE signature with the COFF header, which the optional header and the
 * section headers follow; in a section header. */
enum { DOS_MAGIC = 0x5a4d, DOS_PE = 60 };
enum { PE_MAGIC = 0x00004550, PE_SECTIONS = 6, PE_OPTIONAL_SIZE = 20, PE_SIZE = 24 };
/* clang-format off */
enum { SECTION_NAME_SIZE = 8, SECTION_VIRTUAL_SIZE = 8, SECTION_ADDRESS = 12, SECTION_RAW_SIZE = 16, SECTION_SIZE = 40 };
/* clang-format on */

/* The number at this offset of the image; 0: not entirely inside. */
static uint64_t section_number(const void *image, uint64_t size, uint64_t at, uint32_t bytes)
{
    return at <= size && size - at >= bytes ? number_at((const uint8_t *)image + at, bytes) : 0;
}

bool section_find(const void *image, uint64_t size, const char *name, struct section *out)
{
    uint64_t wanted = 0, pe = section_number(image, size, DOS_PE, 4);
    memcpy(&wanted, name, strlen(name) < sizeof(wanted) ? strlen(name) : sizeof(wanted));
    if (section_number(image, size, 0, 2) != DOS_MAGIC || section_number(image, size, pe, 4) != PE_MAGIC)
        return false;
    uint64_t at = pe + PE_SIZE + section_number(image, size, pe + PE_OPTIONAL_SIZE, 2);
    uint64_t end = at + section_number(image, size, pe + PE_SECTIONS, 2) * SECTION_SIZE;
    for (; at < end && at + SECTION_SIZE <= size; at += SECTION_SIZE) {
        const uint8_t *header = (const uint8_t *)image + at;
        if (number_at(header, SECTION_NAME_SIZE) != wanted)
            continue;
        uint64_t base = number_at(header + SECTION_ADDRESS, 4), bytes = number_at(header + SECTION_VIRTUAL_SIZE, 4);
        bytes = bytes != 0 ? bytes : number_at(header + SECTION_RAW_SIZE, 4);
        if (bytes == 0 || base % PAGE_SIZE != 0 || base > size || size - base < bytes)
            return false;
        *out = (struct section){(const uint8_t *)image + base, bytes};
        return true;
    }
    return false;
}

const char *image_check(const void *section, uint64_t size, struct hv_image_header *h)
{
    if (size < sizeof(*h))
        return "shorter than its header";
    memcpy(h, section, sizeof(*h));
    if (h->magic != HV_IMAGE_MAGIC)
        return "no hv image";
    if (h->version != HANDOFF_VERSION)
        return "another version's image";
    /* What the checksum covers is as the linker laid it out: linker/hv.ld has ASSERTs for that. */
    uint64_t bytes;
    if (__builtin_add_overflow(h->data_offset, h->data_size, &bytes) || bytes < sizeof(*h) || bytes > size)
        return "cut off";
    const uint64_t behind = offsetof(struct hv_image_header, checksum) + sizeof(h->checksum);
    uint32_t checksum = crc32_update(0, (const uint8_t *)section + behind, bytes - behind);
    return checksum != h->checksum ? "damaged: wrong checksum" : NULL;
}
