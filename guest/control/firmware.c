/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Commands of the SEV API (sections 5 and 6): their buffers, with offsets of the window in place of addresses. */
#include "guest/control/firmware.h"

#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/text.h"

#define PEK_CSR 0x06u
#define PEK_CERT_IMPORT 0x07u
#define PDH_CERT_EXPORT 0x08u
#define GET_ID 0x0cu
#define LAUNCH_SECRET 0x34u
#define ATTESTATION 0x36u

#define CHAIN_SIZE (3 * FIRMWARE_CERTIFICATE_SIZE)
#define ID_ROOM 256u            /* 64 bytes a socket */
#define REPORT_ROOM 256u        /* 208 bytes */
#define SECRET_HEADER 52u
#define SECRET_ANYWHERE UINT64_MAX

#define FIRST CONTROL_DATA              /* where a command's operands are in the window */
#define SECOND (CONTROL_DATA + 0x1000u)

/* A command's buffer. */
struct command {
    uint8_t bytes[80];
};

static void put32(struct command *command, size_t offset, uint32_t value)
{
    memcpy(command->bytes + offset, &value, sizeof(value));
}

static void put64(struct command *command, size_t offset, uint64_t value)
{
    memcpy(command->bytes + offset, &value, sizeof(value));
}

static uint32_t invalid(const char *words)
{
    ask_refuse(words);
    return CONTROL_INVALID;
}

/* ------------------------------------------------------------- what is read */

/* As many bytes of the window as the SEV firmware says at `length`, `room` at most. */
static void take(const struct command *command, size_t length, uint32_t offset, uint32_t room, void *bytes,
                 size_t *size)
{
    uint32_t told;

    memcpy(&told, command->bytes + length, sizeof(told));
    *size = told < room ? told : room;
    ask_get(offset, bytes, (uint32_t)*size);
}

uint32_t firmware_certificates(bool chain, void *bytes, size_t *size)
{
    struct command command = {{0}};
    uint32_t result;

    put64(&command, 0x00, FIRST);
    put32(&command, 0x08, FIRMWARE_CERTIFICATE_SIZE);
    put64(&command, 0x10, SECOND);
    put32(&command, 0x18, CHAIN_SIZE);
    result = ask_firmware(PDH_CERT_EXPORT, 0, command.bytes);
    if (chain)
        take(&command, 0x18, SECOND, CHAIN_SIZE, bytes, size);
    else
        take(&command, 0x08, FIRST, FIRMWARE_CERTIFICATE_SIZE, bytes, size);
    return result;
}

/* GET_ID and PEK_CSR: an address, a length. */
static uint32_t fetch(uint32_t id, uint32_t room, void *bytes, size_t *size)
{
    struct command command = {{0}};
    uint32_t result;

    put64(&command, 0x00, FIRST);
    put32(&command, 0x08, room);
    result = ask_firmware(id, 0, command.bytes);
    take(&command, 0x08, FIRST, room, bytes, size);
    return result;
}

uint32_t firmware_id(void *bytes, size_t *size)
{
    return fetch(GET_ID, ID_ROOM, bytes, size);
}

uint32_t firmware_csr(void *bytes, size_t *size)
{
    return fetch(PEK_CSR, FIRMWARE_CERTIFICATE_SIZE, bytes, size);
}

uint32_t firmware_report(uint32_t guest, const uint8_t *nonce, void *bytes, size_t *size)
{
    struct command command = {{0}};
    uint32_t result;

    put64(&command, 0x08, FIRST);
    memcpy(command.bytes + 0x10, nonce, FIRMWARE_NONCE_SIZE);
    put32(&command, 0x20, REPORT_ROOM);
    result = ask_firmware(ATTESTATION, guest, command.bytes);
    take(&command, 0x20, FIRST, REPORT_ROOM, bytes, size);
    return result;
}

/* ------------------------------------------------------------- what is written */

uint32_t firmware_word(const char *word, size_t length)
{
    static const struct {
        const char *word;
        uint32_t id;
    } commands[] = {
        {"init", 0x01},    {"shutdown", 0x02}, {"reset", 0x03}, {"pek-gen", 0x05},
        {"pdh-gen", 0x09}, {"df-flush", 0x0a}, {"nop", 0x0e},
    };
    struct command command = {{0}};

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (text_length(commands[i].word) == length && memcmp(commands[i].word, word, length) == 0)
            return ask_firmware(commands[i].id, 0, command.bytes);
    }
    return invalid("no such command: pek-gen, pdh-gen, df-flush, nop, shutdown, init, reset");
}

uint32_t firmware_import(const uint8_t *pek_and_oca)
{
    struct command command = {{0}};

    ask_put(FIRST, pek_and_oca, FIRMWARE_CERTIFICATE_SIZE);
    ask_put(SECOND, pek_and_oca + FIRMWARE_CERTIFICATE_SIZE, FIRMWARE_CERTIFICATE_SIZE);
    put64(&command, 0x00, FIRST);
    put32(&command, 0x08, FIRMWARE_CERTIFICATE_SIZE);
    put64(&command, 0x10, SECOND);
    put32(&command, 0x18, FIRMWARE_CERTIFICATE_SIZE);
    return ask_firmware(PEK_CERT_IMPORT, 0, command.bytes);
}

/* Where the manifest wants a secret of this length. */
static uint32_t find_place(uint32_t guest, uint32_t length, uint64_t *gpa)
{
    struct control_guest info;
    uint32_t result = ask_guest_info(guest, &info);

    if (result != CONTROL_OK)
        return result;
    if (info.secret_size == 0)
        return invalid("the guest's entry names no place for a secret: give an address");
    if (length > info.secret_size)
        return invalid("the secret is larger than the place that the guest's entry has for it");
    *gpa = info.secret_gpa;
    return CONTROL_OK;
}

uint32_t firmware_secret(uint32_t guest, const uint8_t *secret, size_t size)
{
    struct command command = {{0}};
    uint32_t length = (uint32_t)(size - FIRMWARE_SECRET_HEADER), result = CONTROL_OK;
    uint64_t gpa;

    if (length % 16 != 0)
        return invalid("the secret's ciphertext is no multiple of 16 bytes");
    memcpy(&gpa, secret + SECRET_HEADER, sizeof(gpa));
    if (gpa == SECRET_ANYWHERE)
        result = find_place(guest, length, &gpa);
    if (result != CONTROL_OK)
        return result;
    ask_put(FIRST, secret, SECRET_HEADER);
    ask_put(SECOND, secret + FIRMWARE_SECRET_HEADER, length);
    put64(&command, 0x08, FIRST);
    put32(&command, 0x10, SECRET_HEADER);
    put64(&command, 0x18, gpa);
    put32(&command, 0x20, length);
    put64(&command, 0x28, SECOND);
    put32(&command, 0x30, length);
    return ask_firmware(LAUNCH_SECRET, guest, command.bytes);
}

uint32_t firmware_session(uint32_t guest, const uint8_t *bytes)
{
    struct control_session session = {0};
    struct control_request request = {
        .operation = CONTROL_SESSION, .guest = guest, .data = CONTROL_DATA, .size = sizeof(session)};

    memcpy(&session.policy, bytes, sizeof(session.policy));
    memcpy(session.dh_cert, bytes + sizeof(session.policy), sizeof(session.dh_cert));
    memcpy(session.session, bytes + sizeof(session.policy) + sizeof(session.dh_cert), sizeof(session.session));
    ask_put(CONTROL_DATA, &session, sizeof(session));
    return ask(request, NULL);
}
