/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * DOWNLOAD_FIRMWARE, in a format of the model's own: a head of 16 bytes, anything, and a signature by ECDSA on P-384 over
 * SHA-256 of all before it, with a TEST key for each part. What is in AMD's files is not known here, and not imitated; which
 * status means what is the natural reading of their names.
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

enum {
    MAGIC = 0x00,
    PART = 0x08,
    VERSION = 0x0C,         /* API major, minor, build */
    HEAD_SIZE = 0x10,
};

static const char magic[] = "sevfwimg";

void sevfw_image_key(uint8_t part, uint8_t d[SEVFW_EC_SIZE])
{
    static const uint8_t no_secret[] = "Sevisor test images, not a secret";

    d[0] = 0; /* below the group's order */
    sevfw_kdf(no_secret, sizeof(no_secret) - 1, "sevfw-image", &part, sizeof(part), d + 1, SEVFW_EC_SIZE - 1);
}

static bool signed_for(uint8_t part, const uint8_t *image, uint32_t signed_bytes)
{
    uint8_t d[SEVFW_EC_SIZE], xy[SEVFW_EC_SIG_SIZE];

    sevfw_image_key(part, d);
    sevfw_ec_public(d, xy);
    return sevfw_ec_verify(xy, image, signed_bytes, image + signed_bytes);
}

static uint16_t accept(struct sevfw *fw, const uint8_t *image, uint32_t size)
{
    if (size < HEAD_SIZE + SEVFW_EC_SIG_SIZE) {
        return SEVFW_INVALID_LENGTH;
    }
    if (memcmp(image + MAGIC, magic, sizeof(magic) - 1) != 0 || image[PART] != fw->config.part ||
        !signed_for(fw->config.part, image, size - SEVFW_EC_SIG_SIZE)) {
        return SEVFW_BAD_SIGNATURE;
    }
    fw->running = (struct sevfw_version){image[VERSION], image[VERSION + 1], image[VERSION + 2]};
    return SEVFW_SUCCESS;
}

uint16_t sevfw_download_firmware(struct sevfw *fw, struct sevfw_call *call)
{
    uint32_t size = sevfw_get32(call->buf + 0x08);
    uint8_t *image = malloc(size);
    uint16_t status = SEVFW_RESOURCE_LIMIT;

    if (image) {
        status = fw->ops.read(fw->opaque, sevfw_get64(call->buf + 0x00), image, size) ? accept(fw, image, size)
                                                                                      : SEVFW_INVALID_ADDRESS;
    }
    free(image);
    return status;
}
