/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Judges the hv image before it is loaded. Pure. */
#ifndef SEVISOR_IMAGE_H
#define SEVISOR_IMAGE_H

#include <stddef.h>
#include <stdint.h>

#include "boot/handoff.h"

#define IMAGE_MAX_SIZE (UINT64_C(8) << 20)      /* linker/hv.ld has the same limit */

/* NULL when `section` of `size` bytes holds a sane hv image, whose header is copied to `header`; else why not. */
const char *image_check(const void *section, uint64_t size, struct hv_image_header *header);

#endif
