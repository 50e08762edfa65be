/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The hv image, checked before it is loaded: it is of this version, whole and undamaged. */
#include "boot/boot.h"

#include "guest/crc32.h"
#include "hv/lib/string.h"

static uint32_t image_checksum(const void *section, uint64_t size)
{
    const uint8_t *bytes = section;
    const uint64_t at = offsetof(struct hv_image_header, checksum), behind = at + sizeof(uint32_t);
    static const uint8_t zeros[sizeof(uint32_t)];
    uint32_t crc = crc32_update(0, bytes, at);
    crc = crc32_update(crc, zeros, sizeof zeros);
    return crc32_update(crc, bytes + behind, size - behind);
}

const char *image_check(const void *section, uint64_t size, struct hv_image_header *h)
{
    if (size < sizeof *h)
        return "shorter than its header";
    memcpy(h, section, sizeof *h);
    if (h->magic != HV_IMAGE_MAGIC)
        return "no hv image";
    if (h->version != HANDOFF_VERSION)
        return "another version's image";
    /* What the checksum covers is as the linker laid it out: linker/hv.ld has ASSERTs for that. */
    uint64_t bytes;
    if (__builtin_add_overflow(h->data_offset, h->data_size, &bytes) || bytes < sizeof *h || bytes > size)
        return "cut off";
    return image_checksum(section, bytes) != h->checksum ? "damaged: wrong checksum" : NULL;
}
