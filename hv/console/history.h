/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The last bytes of a stream: of what a guest printed, of hv's own lines. Under the console lock. */
#ifndef SEVISOR_HISTORY_H
#define SEVISOR_HISTORY_H

#include "hv/lib/types.h"

#define HISTORY_SIZE 16384u /* a power of two */

struct history {
    uint8_t *bytes; /* HISTORY_SIZE; NULL: nothing is kept */
    uint64_t total; /* bytes ever */
};

static inline void history_add(struct history *history, uint8_t byte)
{
    if (history->bytes != NULL)
        history->bytes[history->total++ % HISTORY_SIZE] = byte;
}

/* Position of the first byte that is kept. */
static inline uint64_t history_first(const struct history *history)
{
    return history->total > HISTORY_SIZE ? history->total - HISTORY_SIZE : 0;
}

/* At most `size` bytes from *position on, which is set to that of the first of them. Returns how many. */
static inline uint32_t history_read(const struct history *history, uint64_t *position, uint8_t *bytes, uint32_t size)
{
    uint32_t count = 0;
    if (*position < history_first(history))
        *position = history_first(history);
    if (*position > history->total)
        *position = history->total;
    for (; count < size && *position + count < history->total; count++)
        bytes[count] = history->bytes[(*position + count) % HISTORY_SIZE];
    return count;
}

#endif
