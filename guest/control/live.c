/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Objects without a copy: hv is asked at each read and write. */
#include "guest/control/live.h"

#include "guest/control/ask.h"
#include "guest/control/guests.h"
#include "guest/control/memory.h"

#define STREAM_PIECE 0x8000u

/* ------------------------------------------------------------- streams */

static uint32_t read_stream(const struct live *live, uint64_t position, uint32_t size, struct control_answer *answer)
{
    return ask((struct control_request){.operation = CONTROL_CONSOLE_READ,
                                        .guest = live->guest,
                                        .address = position,
                                        .data = CONTROL_DATA,
                                        .size = size},
               answer);
}

/* Where offset 0 is. */
uint32_t live_start_stream(struct live *live)
{
    struct control_answer answer;
    uint32_t result = read_stream(live, 0, 1, &answer);

    live->base = answer.value;
    return result;
}

uint32_t live_read_stream(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done)
{
    struct control_answer answer;
    uint32_t room = size < STREAM_PIECE ? (uint32_t)size : STREAM_PIECE, result;

    result = read_stream(live, live->base + offset, room, &answer);
    if (result != CONTROL_OK || answer.size == 0)
        return result;
    if (answer.value > live->base + offset) /* dropped meanwhile: it goes on with what is left */
        live->base = answer.value - offset;
    *done = answer.size < room ? answer.size : room;
    ask_get(CONTROL_DATA, bytes, (uint32_t)*done);
    return CONTROL_OK;
}

uint32_t live_write_stream(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done)
{
    struct control_request request = {
        .operation = CONTROL_CONSOLE_WRITE, .guest = live->guest, .data = CONTROL_DATA, .size = (uint32_t)size};
    struct control_answer answer;
    uint32_t result;

    (void)offset;
    ask_put(CONTROL_DATA, bytes, request.size);
    result = ask(request, &answer);
    if (result != CONTROL_OK)
        return result;
    if (answer.value == 0 && size > 0) {
        ask_refuse("the guest's UART takes no more input now");
        return CONTROL_LIMIT;
    }
    *done = answer.value < size ? (size_t)answer.value : size;
    return CONTROL_OK;
}

/* ------------------------------------------------------------- memory */

/* Its size is for reading, which ends there. */
uint32_t live_start_memory(struct live *live)
{
    struct control_guest info;
    uint32_t result = ask_guest_info(live->guest, &info);

    live->base = guests_has_sev(&info) ? MEMORY_EITHER : MEMORY_PLAIN;
    live->size = info.memory;
    return result;
}

uint32_t live_read_memory(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done)
{
    uint32_t result;

    if (offset >= live->size)
        return CONTROL_OK;
    if (size > live->size - offset)
        size = (size_t)(live->size - offset);
    result = memory_read(live->guest, (enum memory_view)live->base, offset, bytes, size);
    *done = size;
    return result;
}

uint32_t live_write_memory(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done)
{
    *done = size;
    return memory_write(live->guest, (enum memory_view)live->base, offset, bytes, size);
}

/* ------------------------------------------------------------- pages that leave and arrive */

static uint32_t start_records(struct live *live, bool private)
{
    live->records = (struct records){.private = private, .guest = live->guest, .bytes = live->records.bytes};
    return CONTROL_OK;
}

uint32_t live_start_packets(struct live *live)
{
    return start_records(live, true);
}

uint32_t live_start_plain(struct live *live)
{
    return start_records(live, false);
}

uint32_t live_read_records(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done)
{
    return records_read(&live->records, offset, bytes, size, done);
}

uint32_t live_write_records(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done)
{
    return records_write(&live->records, offset, bytes, size, done);
}
