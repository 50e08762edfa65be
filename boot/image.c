/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The hv image, checked before it is loaded: it is of this version, whole and undamaged. */
#include "boot/boot.h"

#include "guest/crc32.h"
#include "hv/lib/string.h"

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
