/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Objects that are read and written as they are by then: streams of text, memory, and pages that leave and arrive. */
#ifndef SEVISOR_CONTROL_LIVE_H
#define SEVISOR_CONTROL_LIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/control/records.h"

/* One that is open. */
struct live {
    uint32_t guest; /* CONTROL_LOG: none, and hv's log in place of its console */
    bool writes;
    uint64_t base; /* streams: position of offset 0; memory: enum memory_view */
    uint64_t size; /* memory: its bytes */
    struct records records; /* its room is the opener's */
};

/* All return enum control_result. `done`: how many bytes; none at the end. */
uint32_t live_start_stream(struct live *live);
uint32_t live_read_stream(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done);
uint32_t live_write_stream(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done);
uint32_t live_start_memory(struct live *live);
uint32_t live_read_memory(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done);
uint32_t live_write_memory(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done);
uint32_t live_start_packets(struct live *live);
uint32_t live_start_plain(struct live *live);
uint32_t live_read_records(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done);
uint32_t live_write_records(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done);

#endif
