/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Packets that look into a stopped vCPU, or change it: registers, memory, breakpoints. */
#include "guest/control/inspect.h"

#include "guest/control/ask.h"
#include "guest/control/breakpoints.h"
#include "guest/control/guests.h"
#include "guest/control/memory.h"
#include "guest/control/registers.h"
#include "guest/control/reply.h"
#include "guest/control/rsp.h"
#include "guest/control/run.h"

#define MEMORY_PIECE (RSP_PACKET_SIZE / 2 - 8)  /* bytes, of two digits each */

struct target {
    uint32_t guest, vcpu;
    struct text *reply;
};

static uint8_t piece[RSP_PACKET_SIZE];  /* memory on its way */

/* False: refused. */
static bool current(struct target target, struct control_vcpu *state)
{
    uint32_t result = ask_vcpu_get(target.guest, target.vcpu, state);

    if (result != CONTROL_OK)
        reply_refused(target.reply, result);
    return result == CONTROL_OK;
}

static void get_registers(struct target target, struct cursor cursor)
{
    struct control_vcpu state;
    uint32_t result = ask_vcpu_get(target.guest, target.vcpu, &state);

    (void)cursor;
    if (result == CONTROL_OK)
        registers_add_all(target.reply, &state);
    else if (result == CONTROL_STATE)   /* it is being launched: it has none yet */
        registers_add_all(target.reply, NULL);
    else
        reply_refused(target.reply, result);
}

static void set_registers(struct target target, struct cursor cursor)
{
    struct control_vcpu state;

    if (!current(target, &state))
        return;
    if (registers_set_all(&state, &cursor))
        reply_result(target.reply, ask_vcpu_set(target.guest, target.vcpu, &state));
    else
        reply_bad(target.reply);
}

static void get_register(struct target target, struct cursor cursor)
{
    struct control_vcpu state;
    uint64_t number;

    if (!cursor_hex(&cursor, &number))
        reply_bad(target.reply);
    else if (current(target, &state) && !registers_add(target.reply, &state, number))
        reply_bad(target.reply);
}

static void set_register(struct target target, struct cursor cursor)
{
    struct control_vcpu state;
    uint64_t number;

    if (!cursor_hex(&cursor, &number) || !cursor_word(&cursor, "=")) {
        reply_bad(target.reply);
        return;
    }
    if (!current(target, &state))
        return;
    if (registers_set(&state, number, &cursor))
        reply_result(target.reply, ask_vcpu_set(target.guest, target.vcpu, &state));
    else
        reply_bad(target.reply);
}

/* `address,length`, then `after` */
static bool range(struct cursor *cursor, uint64_t *address, uint64_t *length, const char *after)
{
    return cursor_hex(cursor, address) && cursor_word(cursor, ",") && cursor_hex(cursor, length) &&
           cursor_word(cursor, after);
}

static bool current_with_info(struct target target, struct control_vcpu *state, struct control_guest *info)
{
    return ask_guest_info(target.guest, info) == CONTROL_OK && current(target, state);
}

/* A part is an answer, too: what lies below the first page that cannot be read. */
static void get_memory(struct target target, struct cursor cursor)
{
    struct control_vcpu state;
    struct control_guest info;
    uint64_t address, length;
    size_t got = 0;
    uint32_t result = CONTROL_OK;

    if (!range(&cursor, &address, &length, "")) {
        reply_bad(target.reply);
        return;
    }
    if (!current_with_info(target, &state, &info))
        return;
    if (length > MEMORY_PIECE)
        length = MEMORY_PIECE;
    while (got < length && result == CONTROL_OK) {
        size_t now = 4096 - (size_t)((address + got) % 4096);

        now = now < length - got ? now : (size_t)length - got;
        result = memory_read_virtual(target.guest, guests_has_sev(&info), &state, address + got, piece + got, now);
        if (result == CONTROL_OK)
            got += now;
    }
    if (got == 0 && length > 0)
        reply_refused(target.reply, result);
    else
        text_hex_bytes(target.reply, piece, got);
}

static void write_memory(struct target target, uint64_t address, const uint8_t *bytes, size_t size)
{
    struct control_vcpu state;
    struct control_guest info;

    if (current_with_info(target, &state, &info))
        reply_result(target.reply,
                     memory_write_virtual(target.guest, guests_has_sev(&info), &state, address, bytes, size));
}

static void set_memory(struct target target, struct cursor cursor)
{
    uint64_t address, length;

    if (range(&cursor, &address, &length, ":") && length <= sizeof(piece) &&
        cursor_hex_bytes(&cursor, piece, (size_t)length))
        write_memory(target, address, piece, (size_t)length);
    else
        reply_bad(target.reply);
}

static void set_memory_binary(struct target target, struct cursor cursor)
{
    uint64_t address, length;

    if (range(&cursor, &address, &length, ":") && length <= cursor_left(&cursor))
        write_memory(target, address, cursor.at, (size_t)length);
    else
        reply_bad(target.reply);
}

/* `kind,address,length`. Kind 0, a breakpoint in memory, is not offered. */
static void breakpoint(struct target target, struct cursor cursor, bool insert)
{
    struct control_guest info;
    uint64_t kind, address, length;
    uint32_t result;

    if (!cursor_hex(&cursor, &kind) || !cursor_word(&cursor, ",") || !range(&cursor, &address, &length, "")) {
        reply_bad(target.reply);
        return;
    }
    if (kind < BREAKPOINT_EXECUTE || kind > BREAKPOINT_ACCESS)
        return;
    result = ask_guest_info(target.guest, &info);
    if (result == CONTROL_OK && insert) {
        run_has_breakpoints(target.guest);
        result = breakpoints_insert(target.guest, info.vcpus, (enum breakpoint_kind)kind, address, length);
    } else if (result == CONTROL_OK) {
        result = breakpoints_remove(target.guest, info.vcpus, (enum breakpoint_kind)kind, address, length);
    }
    reply_result(target.reply, result);
}

static void insert_breakpoint(struct target target, struct cursor cursor)
{
    breakpoint(target, cursor, true);
}

static void remove_breakpoint(struct target target, struct cursor cursor)
{
    breakpoint(target, cursor, false);
}

void inspect_packet(uint32_t guest, uint32_t vcpu, struct cursor packet, struct text *reply)
{
    static const struct {
        const char *begins;
        void (*handle)(struct target target, struct cursor cursor);
    } packets[] = {
        {"g", get_registers},     {"G", set_registers},     {"p", get_register},
        {"P", set_register},      {"m", get_memory},        {"M", set_memory},
        {"X", set_memory_binary}, {"Z", insert_breakpoint}, {"z", remove_breakpoint},
    };
    struct target target = {guest, vcpu, reply};

    for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
        if (cursor_word(&packet, packets[i].begins)) {
            packets[i].handle(target, packet);
            return;
        }
    }
}
