/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Pages that leave and arrive, as a file of records: that of page N stands at N times its size. */
#ifndef SEVISOR_CONTROL_RECORDS_H
#define SEVISOR_CONTROL_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/control/moves.h"

#define RECORDS_AT_ONCE 3u /* fill a packet of gdb's protocol */
#define RECORDS_ROOM (RECORDS_AT_ONCE * MOVES_PRIVATE_RECORD)

/* What was made last, in the caller's room: who reads on in the middle of a record gets the rest of that one, not of another packet
 * of the same page. */
struct records {
    bool private;
    uint32_t guest;
    uint64_t first; /* its first byte's place in the file */
    size_t size;
    uint8_t *bytes; /* RECORDS_ROOM */
};

/* Return enum control_result, and how many bytes were read or written: 0 with CONTROL_OK where no whole record was given. */
uint32_t records_read(struct records *records, uint64_t offset, void *bytes, size_t size, size_t *done);
uint32_t records_write(const struct records *records, uint64_t offset, const void *bytes, size_t size, size_t *done);

#endif
