/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The header of the hv image, checked before it is loaded: sizes, sections in order, entry inside. */
#include "boot/boot.h"

#include "guest/crc32.h"
#include "hv/lib/string.h"

#define IMAGE_PAGE UINT64_C(4096)

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
    if (h->total_size > IMAGE_MAX_SIZE || h->total_size % IMAGE_PAGE != 0)
        return "impossible size";
    /* Read-only data, code, data and zeros follow in this order, each page aligned: so all bounds follow from the last. */
    uint64_t max = h->total_size;
    if (h->rodata_offset != 0 || h->rodata_size < sizeof *h || h->rodata_size > max || h->text_offset > max ||
        h->text_size > max || h->data_offset > max || h->data_size > max || h->bss_size > max)
        return "impossible layout";
    if (h->text_offset % IMAGE_PAGE != 0 || h->data_offset % IMAGE_PAGE != 0 || h->text_offset < h->rodata_size ||
        h->data_offset < h->text_offset + h->text_size || h->data_offset + h->data_size + h->bss_size != max)
        return "impossible layout";
    if (h->entry < h->text_offset || h->entry >= h->text_offset + h->text_size)
        return "entry outside of its code";
    if (h->data_offset + h->data_size > size)
        return "cut off";
    if (image_checksum(section, h->data_offset + h->data_size) != h->checksum)
        return "damaged: wrong checksum";
    return NULL;
}
