/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The manifest's validator. */
#ifndef SEVISOR_MANIFEST_H
#define SEVISOR_MANIFEST_H

#include "guest/manifest_errors.h"
#include "guest/manifest_format.h"

/* Where the first error was found; -1 where it does not apply. */
struct manifest_where {
    int32_t guest;
    int32_t step;
};

/* Validates a whole manifest of `size` bytes (the PE section may be longer
 * than total_size, by padding). Reads each byte inside [0, size) only. `where`
 * may be NULL. The payload's checksum is part of it. */
enum manifest_error manifest_check(const void *manifest, uint64_t size, struct manifest_where *where);

/* "MANIFEST_BAD_MAGIC", and a sentence for people. */
const char *manifest_error_name(enum manifest_error error);
const char *manifest_error_text(enum manifest_error error);

#endif
