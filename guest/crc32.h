/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#ifndef SEVISOR_CRC32_H
#define SEVISOR_CRC32_H

#include <stdint.h>

/* CRC-32 (IEEE 802.3) of `size` bytes, continuing from `crc`; start with 0.
 * The same numbers as zlib's crc32(). */
uint32_t crc32_update(uint32_t crc, const void *data, uint64_t size);

#endif
