/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Commands of the SEV firmware as a client gives them, with data of up to 832 KiB: nothing is checked here that hv checks. */
#include "guest/control/bulk.h"

#include <string.h>

#include "guest/control/ask.h"

#define DOWNLOAD_FIRMWARE 0x0bu
#define INIT_EX 0x0du
#define NOP 0x0eu

static struct control_request request; /* as it is written */
static size_t written; /* bytes, `request` included */
static struct control_answer answer;
static uint32_t room; /* bytes of data that belong to it */

static uint32_t invalid(const char *words)
{
    ask_refuse(words);
    return CONTROL_INVALID;
}

static void begin(void)
{
    memset(&request, 0, sizeof(request));
    written = 0;
}

uint32_t bulk_start(struct live *live)
{
    if (live->writes)
        begin();
    return CONTROL_OK;
}

uint32_t bulk_write(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done)
{
    const uint8_t *from = bytes;
    size_t head = 0;

    (void)live;
    if (offset > written)
        return invalid("a command is written from its beginning, without holes");
    if (offset > sizeof(request) + BULK_ROOM || size > sizeof(request) + BULK_ROOM - offset)
        return invalid("more bytes than the window has room for");
    if (offset < sizeof(request)) {
        head = sizeof(request) - (size_t)offset;
        head = size < head ? size : head;
        memcpy((uint8_t *)&request + offset, from, head);
    }
    if (size > head)
        ask_put(BULK_DATA + (uint32_t)(offset + head - sizeof(request)), from + head, (uint32_t)(size - head));
    if (offset + size > written)
        written = (size_t)offset + size;
    *done = size;
    return CONTROL_OK;
}

uint32_t bulk_write_data(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done)
{
    if (written < sizeof(request))
        written = sizeof(request);
    if (offset > BULK_ROOM)
        return invalid("more bytes than the window has room for");
    return bulk_write(live, offset + sizeof(request), bytes, size, done);
}

/* Room for answers shows nothing of earlier commands. */
static void clear_room(void)
{
    static const uint8_t zeros[256];

    for (size_t at = written - sizeof(request); at < room; at += sizeof(zeros))
        ask_put(BULK_DATA + (uint32_t)at, zeros, (uint32_t)(room - at < sizeof(zeros) ? room - at : sizeof(zeros)));
}

/* Time inside of the secure processor's commands so far. */
static uint64_t spent(void)
{
    struct control_platform platform;

    return ask_platform_info(&platform) == CONTROL_OK ? platform.command_us : 0;
}

uint32_t bulk_command(uint32_t guest)
{
    struct control_request wanted = {.operation = CONTROL_FIRMWARE,
                                     .guest = guest,
                                     .data = request.data,
                                     .size = request.size,
                                     .command = request.command};
    uint64_t before;
    uint32_t result;

    if (written < sizeof(request))
        return invalid("a command begins with struct control_request");
    if (request.argument > BULK_ROOM)
        return invalid("more bytes of data are wanted than the window has room for");
    room = (uint32_t)request.argument;
    clear_room();
    memcpy(wanted.buffer, request.buffer, sizeof(wanted.buffer));
    before = spent();
    result = ask(wanted, &answer);
    if (result != CONTROL_OK && answer.text[0] == '\0')
        memcpy(answer.text, ask_why(), sizeof(answer.text) - 1);
    answer.sequence = request.sequence;
    answer.result = result;
    answer.value = spent() - before;
    return result;
}

static void put32(size_t offset, uint32_t value)
{
    memcpy(request.buffer + offset, &value, sizeof(value));
}

uint32_t bulk_init_ex(void)
{
    if (written != sizeof(request) + BULK_STATE_SIZE)
        return invalid("INIT_EX's state has 32768 bytes");
    request.command = INIT_EX;
    put32(0x00, 0x24); /* the buffer's length */
    put32(0x18, BULK_DATA);
    put32(0x20, BULK_STATE_SIZE);
    return bulk_command(CONTROL_LOG);
}

uint32_t bulk_download(void)
{
    request.command = DOWNLOAD_FIRMWARE;
    put32(0x00, BULK_DATA);
    put32(0x08, (uint32_t)(written - sizeof(request)));
    return bulk_command(CONTROL_LOG);
}

/* ------------------------------------------------------------- what is read */

uint32_t bulk_read_data(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done)
{
    (void)live;
    if (offset >= room)
        return CONTROL_OK;
    *done = size < room - offset ? size : room - (size_t)offset;
    ask_get(BULK_DATA + (uint32_t)offset, bytes, (uint32_t)*done);
    return CONTROL_OK;
}

uint32_t bulk_read(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done)
{
    if (offset >= sizeof(answer))
        return bulk_read_data(live, offset - sizeof(answer), bytes, size, done);
    *done = size < sizeof(answer) - offset ? size : sizeof(answer) - (size_t)offset;
    memcpy(bytes, (const uint8_t *)&answer + offset, *done);
    return CONTROL_OK;
}

/* NOP brings it along (CONTROL_FIRMWARE). */
uint32_t bulk_start_state(struct live *live)
{
    uint32_t result;

    begin();
    if (live->writes)
        return CONTROL_OK;
    written = sizeof(request);
    request.command = NOP;
    request.data = BULK_DATA;
    request.size = BULK_STATE_SIZE;
    request.argument = BULK_STATE_SIZE;
    result = bulk_command(live->guest);
    if (result == CONTROL_OK && answer.size != BULK_STATE_SIZE) {
        ask_refuse("the platform's state is in its flash: only after INIT_EX is it kept here");
        return CONTROL_STATE;
    }
    return result;
}
