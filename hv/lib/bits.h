/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What is taken of things that are counted from 0: an array of bits. */
#ifndef SEVISOR_BITS_H
#define SEVISOR_BITS_H

#include "hv/lib/panic.h"
#include "hv/lib/types.h"

static inline bool bits_has(const uint64_t *bits, uint64_t i)
{
    return (bits[i / 64] >> (i % 64) & 1) != 0;
}

/* [first, first+count) is taken, or free again, all of which was the other before. */
static inline void bits_mark(uint64_t *bits, uint64_t first, uint64_t count, bool taken)
{
    for (uint64_t i = first; i < first + count; i++) {
        ASSERT(bits_has(bits, i) != taken);
        bits[i / 64] ^= UINT64_C(1) << (i % 64);
    }
}

/* Takes the lowest `count` in a row of [from, limit) that are free; the first of them, or `limit`: there are none. */
static inline uint64_t bits_take(uint64_t *bits, uint64_t from, uint64_t limit, uint64_t count)
{
    uint64_t run = 0;
    for (uint64_t i = from; i < limit; i++) {
        run = bits_has(bits, i) ? 0 : run + 1;
        if (run == count) {
            bits_mark(bits, i + 1 - count, count, true);
            return i + 1 - count;
        }
    }
    return limit;
}

#endif
