/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A sorted list of free runs, neighbours merged; the smallest that is large enough is used. */
#include "hv/lib/runs.h"

#include "hv/lib/string.h"

static void runs_remove(struct runs *runs, uint32_t i)
{
    memmove(&runs->run[i], &runs->run[i + 1], (runs->count - i - 1) * sizeof(struct run));
    runs->count--;
}

static bool runs_insert(struct runs *runs, uint32_t i, uint64_t base, uint64_t size)
{
    if (runs->count == RUNS_MAX)
        return false;
    memmove(&runs->run[i + 1], &runs->run[i], (runs->count - i) * sizeof(struct run));
    runs->run[i] = (struct run){base, size};
    runs->count++;
    return true;
}

bool runs_give(struct runs *runs, uint64_t base, uint64_t size)
{
    uint64_t end, first;
    if (__builtin_add_overflow(base, size, &end) || __builtin_add_overflow(base, SIZE_2M - 1, &first))
        return false;
    first &= ~(SIZE_2M - 1);
    end &= ~(SIZE_2M - 1);
    if (first >= end)
        return true;

    uint32_t i = 0;                         /* of the first run behind it */
    while (i < runs->count && runs->run[i].base < first)
        i++;
    struct run *before = i > 0 ? &runs->run[i - 1] : NULL, *after = i < runs->count ? &runs->run[i] : NULL;
    if ((before != NULL && before->base + before->size > first) || (after != NULL && after->base < end))
        return false;
    bool joins_before = before != NULL && before->base + before->size == first,
         joins_after = after != NULL && after->base == end;
    if (joins_before && joins_after) {
        before->size += end - first + after->size;
        runs_remove(runs, i);
    } else if (joins_before) {
        before->size += end - first;
    } else if (joins_after) {
        *after = (struct run){first, after->size + end - first};
    } else {
        return runs_insert(runs, i, first, end - first);
    }
    return true;
}

static bool runs_take_aligned(struct runs *runs, uint64_t size, uint64_t align, uint64_t *base)
{
    uint32_t best = RUNS_MAX;
    for (uint32_t i = 0; i < runs->count; i++) {
        const struct run *r = &runs->run[i];
        uint64_t skip = -r->base & (align - 1);
        if (r->size >= skip && r->size - skip >= size && (best == RUNS_MAX || r->size < runs->run[best].size))
            best = i;
    }
    if (best == RUNS_MAX)
        return false;

    struct run *r = &runs->run[best];
    uint64_t head = -r->base & (align - 1);
    uint64_t tail = r->size - head - size;
    *base = r->base + head;
    if (head > 0 && tail > 0) {
        if (!runs_insert(runs, best + 1, *base + size, tail))
            return false;
        r->size = head;
    } else if (head > 0) {
        r->size = head;
    } else if (tail > 0) {
        *r = (struct run){*base + size, tail};
    } else {
        runs_remove(runs, best);
    }
    return true;
}

bool runs_take(struct runs *runs, uint64_t size, uint64_t *base)
{
    uint64_t rounded;
    if (size == 0 || __builtin_add_overflow(size, SIZE_2M - 1, &rounded))
        return false;
    rounded &= ~(SIZE_2M - 1);
    return (rounded >= SIZE_1G && runs_take_aligned(runs, rounded, SIZE_1G, base)) ||
           runs_take_aligned(runs, rounded, SIZE_2M, base);
}

uint64_t runs_total(const struct runs *runs)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < runs->count; i++)
        total += runs->run[i].size;
    return total;
}
