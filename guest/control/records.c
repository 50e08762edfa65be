/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Pages that leave and arrive, as a file of records. A record is made when its beginning is read, and taken when it is written whole. */
#include "guest/control/records.h"

#include <string.h>

#include "guest/control/ask.h"

static size_t record_size(const struct records *records)
{
    return records->private ? MOVES_PRIVATE_RECORD : MOVES_PLAIN_RECORD;
}

/* As many as are asked for and can be had, one at least. */
static uint32_t fill(struct records *records, uint64_t offset, size_t wanted)
{
    size_t one = record_size(records);
    uint32_t result = CONTROL_OK;

    records->first = offset;
    records->size = 0;
    while (records->size == 0 || (records->size + one <= wanted && records->size < RECORDS_AT_ONCE * one)) {
        result = moves_take(records->guest, records->private, offset / one + records->size / one,
                            records->bytes + records->size);
        if (result != CONTROL_OK)
            return records->size > 0 ? CONTROL_OK : result;
        records->size += one;
    }
    return CONTROL_OK;
}

uint32_t records_read(struct records *records, uint64_t offset, void *bytes, size_t size, size_t *done)
{
    uint32_t result = CONTROL_OK;

    *done = 0;
    if (offset % record_size(records) == 0) {
        result = fill(records, offset, size);
    } else if (offset < records->first || offset - records->first >= records->size) {
        ask_refuse("a record is read from its beginning");
        result = CONTROL_INVALID;
    }
    if (result != CONTROL_OK)
        return result;
    offset -= records->first;
    *done = size < records->size - offset ? size : (size_t)(records->size - offset);
    memcpy(bytes, records->bytes + offset, *done);
    return CONTROL_OK;
}

uint32_t records_write(const struct records *records, uint64_t offset, const void *bytes, size_t size, size_t *done)
{
    size_t one = record_size(records);

    *done = 0;
    if (offset % one != 0 || size < one) {
        ask_refuse("records are written whole, each at its place");
        return CONTROL_INVALID;
    }
    while (size - *done >= one) {
        uint32_t result =
            moves_put(records->guest, records->private, (offset + *done) / one, (const uint8_t *)bytes + *done);

        if (result != CONTROL_OK)
            return *done > 0 ? CONTROL_OK : result;
        *done += one;
    }
    return CONTROL_OK;
}
