/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Finds a section of a loaded PE image (Microsoft PE/COFF, "PE Format"). Pure. */
#ifndef SEVISOR_SECTIONS_H
#define SEVISOR_SECTIONS_H

#include <stdbool.h>
#include <stdint.h>

struct section {
    const uint8_t *base;    /* page aligned relative to the image's start */
    uint64_t size;          /* bytes in memory */
};

/* The section called `name` (its first 8 characters, as PE stores them) of the image that lies at
 * `image` as the firmware loaded it, `size` bytes. Reads nothing outside. False: no such section,
 * or headers that contradict themselves. */
bool section_find(const void *image, uint64_t size, const char *name, struct section *out);

#endif
