/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest that leaves or arrives (guest/control.h, "Moves"): the commands SEND_* and RECEIVE_* of the SEV API, section 5, and
 * what hv gives and takes of a guest's shared memory and states. */
#include "guest/control/moves.h"

#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/text.h"
#include "guest/crc32.h"

#define SEND_START 0x40u
#define SEND_UPDATE_DATA 0x41u
#define SEND_FINISH 0x43u
#define SEND_CANCEL 0x44u
#define RECEIVE_UPDATE_DATA 0x51u
#define RECEIVE_FINISH 0x53u
#define YOURS UINT32_MAX /* no command: lets a guest run that came */

#define CERTIFICATE 2084u
#define CHAIN (3 * CERTIFICATE)
#define SESSION 128u
#define HEADER 52u

#define PDH_AT CONTROL_DATA /* SEND_START's operands in the window */
#define CHAIN_AT (CONTROL_DATA + 0x1000u)
#define AMD_AT (CONTROL_DATA + 0x3000u)
#define SESSION_AT (CONTROL_DATA + 0x4000u)
#define HEADER_AT CONTROL_DATA /* a packet's */
#define PACKET_AT (CONTROL_DATA + 0x1000u)

/* What the last SEND_START gave. */
static struct {
    bool given;
    uint32_t guest;
    uint8_t bytes[MOVES_SESSION_SIZE];
} session;

static void put32(uint8_t *command, size_t offset, uint32_t value)
{
    memcpy(command + offset, &value, sizeof(value));
}

static void put64(uint8_t *command, size_t offset, uint64_t value)
{
    memcpy(command + offset, &value, sizeof(value));
}

static uint32_t sum(uint64_t number, const uint8_t *bytes, size_t size)
{
    return crc32_update(crc32_update(0, &number, sizeof(number)), bytes, size);
}

/* Of a record, whose sum stands before its bytes. */
static void seal(uint64_t number, uint8_t *record, size_t size)
{
    put32(record, 0, sum(number, record + MOVES_SUM, size - MOVES_SUM));
}

static bool is_whole(uint64_t number, const uint8_t *record, size_t size)
{
    uint32_t told;

    memcpy(&told, record, sizeof(told));
    if (told == sum(number, record + MOVES_SUM, size - MOVES_SUM))
        return true;
    ask_refuse("damaged on the line, or of another place: its sum is wrong. Nothing of it was taken");
    return false;
}

/* ------------------------------------------------------------- beginning and end */

uint32_t moves_send_start(uint32_t guest, const uint8_t *certificates, size_t size)
{
    uint8_t command[80] = {0};
    uint32_t amd = (uint32_t)(size - CERTIFICATE - CHAIN), result;

    session.given = false;
    ask_put(PDH_AT, certificates, CERTIFICATE);
    ask_put(CHAIN_AT, certificates + CERTIFICATE, CHAIN);
    ask_put(AMD_AT, certificates + CERTIFICATE + CHAIN, amd);
    put64(command, 0x08, PDH_AT);
    put32(command, 0x10, CERTIFICATE);
    put64(command, 0x18, CHAIN_AT);
    put32(command, 0x20, CHAIN);
    put64(command, 0x28, AMD_AT);
    put32(command, 0x30, amd);
    put64(command, 0x38, SESSION_AT);
    put32(command, 0x40, SESSION);
    result = ask_firmware(SEND_START, guest, command);
    if (result != CONTROL_OK)
        return result;
    session.given = true;
    session.guest = guest;
    memcpy(session.bytes, command + 0x04, sizeof(uint32_t));
    ask_get(SESSION_AT, session.bytes + sizeof(uint32_t), SESSION);
    return CONTROL_OK;
}

uint32_t moves_session(uint32_t guest, uint8_t *bytes)
{
    if (!session.given || session.guest != guest) {
        ask_refuse("the last SEND_START was none of this guest's");
        return CONTROL_STATE;
    }
    memcpy(bytes, session.bytes, sizeof(session.bytes));
    return CONTROL_OK;
}

bool moves_is_word(const char *word, size_t length, uint32_t *command)
{
    static const struct {
        const char *word;
        uint32_t command;
    } words[] = {
        {"send-finish", SEND_FINISH},
        {"send-cancel", SEND_CANCEL},
        {"receive-finish", RECEIVE_FINISH},
        {"yours", YOURS},
    };

    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        if (text_length(words[i].word) == length && memcmp(words[i].word, word, length) == 0) {
            *command = words[i].command;
            return true;
        }
    }
    return false;
}

static uint32_t run(uint32_t guest)
{
    struct control_guest info;
    uint32_t result = ask_guest_info(guest, &info);

    if (result == CONTROL_OK && info.state != CONTROL_STATE_RECEIVING) {
        ask_refuse("this guest did not come from elsewhere, or runs already");
        return CONTROL_STATE;
    }
    return result == CONTROL_OK ? ask_guest(CONTROL_RESUME, guest) : result;
}

uint32_t moves_word(uint32_t command, uint32_t guest)
{
    uint8_t buffer[80] = {0};

    if (command == YOURS)
        return run(guest);
    session.given = session.given && session.guest != guest;
    return ask_firmware(command, guest, buffer);
}

/* ------------------------------------------------------------- pages */

uint32_t moves_pages(uint32_t guest, uint64_t first, bool track, uint8_t *bytes, size_t room, size_t *size)
{
    struct control_answer answer;
    uint32_t most = room - MOVES_SUM < CONTROL_PAGES_MAX ? (uint32_t)(room - MOVES_SUM) : CONTROL_PAGES_MAX, result;

    *size = 0;
    if (first > UINT32_MAX) {
        ask_refuse("no guest has that page");
        return CONTROL_INVALID;
    }
    result = ask((struct control_request){.operation = CONTROL_PAGES,
                                          .guest = guest,
                                          .address = first * MOVES_PAGE,
                                          .argument = track ? CONTROL_PAGES_TRACK : 0,
                                          .data = CONTROL_DATA,
                                          .size = most},
                 &answer);
    if (result != CONTROL_OK)
        return result;
    most = answer.size < most ? answer.size : most;
    ask_get(CONTROL_DATA, bytes + MOVES_SUM, most);
    *size = MOVES_SUM + most;
    seal(first, bytes, *size);
    return CONTROL_OK;
}

/* SEND_UPDATE_DATA and RECEIVE_UPDATE_DATA: the same buffer. */
static uint32_t update(uint32_t id, uint32_t guest, uint64_t page)
{
    uint8_t command[80] = {0};

    put64(command, 0x08, HEADER_AT);
    put32(command, 0x10, HEADER);
    put64(command, 0x18, page * MOVES_PAGE);
    put32(command, 0x20, MOVES_PAGE);
    put64(command, 0x28, PACKET_AT);
    put32(command, 0x30, MOVES_PAGE);
    return ask_firmware(id, guest, command);
}

static uint32_t plain(enum control_operation operation, uint32_t guest, uint64_t page)
{
    return ask((struct control_request){.operation = operation,
                                        .guest = guest,
                                        .address = page * MOVES_PAGE,
                                        .data = PACKET_AT,
                                        .size = MOVES_PAGE},
               NULL);
}

uint32_t moves_take(uint32_t guest, bool private, uint64_t page, uint8_t *record)
{
    uint32_t size = private ? MOVES_PRIVATE_RECORD : MOVES_PLAIN_RECORD;
    uint32_t result = private ? update(SEND_UPDATE_DATA, guest, page) : plain(CONTROL_MEMORY_READ, guest, page);

    if (result != CONTROL_OK)
        return result;
    if (private)
        ask_get(HEADER_AT, record + MOVES_SUM, HEADER);
    ask_get(PACKET_AT, record + size - MOVES_PAGE, MOVES_PAGE);
    seal(page, record, size);
    return CONTROL_OK;
}

uint32_t moves_put(uint32_t guest, bool private, uint64_t page, const uint8_t *record)
{
    uint32_t size = private ? MOVES_PRIVATE_RECORD : MOVES_PLAIN_RECORD;

    if (!is_whole(page, record, size))
        return CONTROL_INVALID;
    if (private)
        ask_put(HEADER_AT, record + MOVES_SUM, HEADER);
    ask_put(PACKET_AT, record + size - MOVES_PAGE, MOVES_PAGE);
    return private ? update(RECEIVE_UPDATE_DATA, guest, page) : plain(CONTROL_MEMORY_WRITE, guest, page);
}

/* ------------------------------------------------------------- states */

static struct control_request state_request(enum control_operation operation, uint32_t guest, uint64_t vcpu,
                                            size_t size)
{
    return (struct control_request){.operation = operation,
                                    .guest = guest,
                                    .vcpu = vcpu == MOVES_WHOLE_GUEST ? CONTROL_WHOLE_GUEST : (uint32_t)vcpu,
                                    .data = CONTROL_DATA,
                                    .size = (uint32_t)size};
}

static bool has_vcpu(uint64_t vcpu)
{
    if (vcpu <= MOVES_WHOLE_GUEST)
        return true;
    ask_refuse("no guest has that vCPU");
    return false;
}

uint32_t moves_state_get(uint32_t guest, uint64_t vcpu, uint8_t *bytes, size_t room, size_t *size)
{
    struct control_answer answer;
    uint32_t result;

    *size = 0;
    if (!has_vcpu(vcpu))
        return CONTROL_INVALID;
    result = ask(state_request(CONTROL_STATE_GET, guest, vcpu, room - MOVES_SUM), &answer);
    if (result != CONTROL_OK)
        return result;
    *size = MOVES_SUM + (answer.size < room - MOVES_SUM ? answer.size : room - MOVES_SUM);
    ask_get(CONTROL_DATA, bytes + MOVES_SUM, (uint32_t)*size - MOVES_SUM);
    seal(vcpu, bytes, *size);
    return CONTROL_OK;
}

uint32_t moves_state_set(uint32_t guest, uint64_t vcpu, const uint8_t *bytes, size_t size)
{
    if (!has_vcpu(vcpu) || !is_whole(vcpu, bytes, size))
        return CONTROL_INVALID;
    ask_put(CONTROL_DATA, bytes + MOVES_SUM, (uint32_t)size - MOVES_SUM);
    return ask(state_request(CONTROL_STATE_SET, guest, vcpu, size - MOVES_SUM), NULL);
}
