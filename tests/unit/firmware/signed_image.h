/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A small firmware image, signed for a part. */
#ifndef TESTS_UNIT_FIRMWARE_SIGNED_IMAGE_H
#define TESTS_UNIT_FIRMWARE_SIGNED_IMAGE_H

#include "../../machine/firmware/internal.h"

#define IMAGE_SIZE 0x200u

/* `version`: API major, minor and build, 8 bits each. */
static inline uint32_t signed_image(struct sevfw *fw, uint8_t image[IMAGE_SIZE], uint8_t part, uint32_t version)
{
    const uint32_t signed_bytes = IMAGE_SIZE - SEVFW_EC_SIG_SIZE;
    uint8_t d[SEVFW_EC_SIZE];

    memset(image, 0, IMAGE_SIZE);
    memcpy(image, "sevfwimg", 8);
    image[0x08] = part;
    image[0x0C] = (uint8_t)(version >> 16);
    image[0x0D] = (uint8_t)(version >> 8);
    image[0x0E] = (uint8_t)version;
    sevfw_image_key(part, d);
    sevfw_ec_sign(fw, d, image, signed_bytes, image + signed_bytes);
    return IMAGE_SIZE;
}

#endif
