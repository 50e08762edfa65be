/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The server of GDB's remote protocol (GDB manual, appendix E): a packet, a reply. */
#include "guest/control/server.h"

#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/inspect.h"
#include "guest/control/machine.h"
#include "guest/control/monitor.h"
#include "guest/control/objects.h"
#include "guest/control/registers.h"
#include "guest/control/reply.h"
#include "guest/control/rsp.h"
#include "guest/control/run.h"
#include "guest/control/tables.h"
#include "guest/control/vfile.h"
#include "guest/manifest_format.h"

#define DOCUMENT_SIZE 0x40000u /* 512 guests in the longest table */

static struct rsp line;
static char reply_bytes[RSP_PACKET_SIZE];
static struct text reply;
static bool silent;             /* the answer comes later, or never */
static bool waits;              /* for a stop, after vCont */
static uint32_t guest, vcpu;    /* of Hg */

static char document[DOCUMENT_SIZE];    /* of the last qXfer that began */
static size_t document_length;

/* ------------------------------------------------------------- replies */

/* Text for the debugger's user: O packets. */
static void show(const char *words, size_t length)
{
    static char packet[RSP_PACKET_SIZE];

    while (length > 0) {
        size_t now = length < sizeof(packet) / 2 - 1 ? length : sizeof(packet) / 2 - 1;
        struct text text = {.at = packet, .size = sizeof(packet)};

        text_char(&text, 'O');
        text_hex_bytes(&text, words, now);
        rsp_send(&line, packet, text.length);
        words += now;
        length -= now;
    }
}

static void show_output(void)
{
    char words[1024];
    struct text text = {.at = words, .size = sizeof(words)};

    while (run_output(&text)) {
        show(words, text.length);
        text.length = 0;
    }
}

/* ------------------------------------------------------------- the session */

/* A new client: what the one before left is let go. */
static void supported(struct cursor cursor)
{
    (void)cursor;
    run_detach_all();
    objects_close_all();
    waits = false;
    guest = vcpu = 0;
    if (line.no_ack) {
        line.no_ack = false;
        machine_send((const uint8_t *)"+", 1);
    }
    text_add(&reply, "PacketSize=");
    text_hex(&reply, RSP_PACKET_SIZE);
    text_add(&reply, ";QStartNoAckMode+;multiprocess+;hwbreak+;vContSupported+;qXfer:features:read+;qXfer:threads:read+"
                     ";qXfer:osdata:read+");
}

static void start_no_ack_mode(struct cursor cursor)
{
    (void)cursor;
    rsp_send(&line, "OK", 2);
    line.no_ack = true;
    silent = true;
}

static void extended(struct cursor cursor)
{
    (void)cursor;
    reply_ok(&reply);
}

static void why_stopped(struct cursor cursor)
{
    uint32_t first;

    (void)cursor;
    if (run_first_attached(&first))
        run_stop_reply(&reply, first, 0);
    else
        text_add(&reply, "W00");
}

/* The thread, if it is one of an attached guest. */
static bool is_thread(const struct run_thread *thread, struct control_guest *info)
{
    return thread->guest >= 1 && thread->guest <= (int64_t)MANIFEST_MAX_GUESTS &&
           run_attached()[thread->guest - 1] != 0 && ask_guest_info((uint32_t)thread->guest - 1, info) == CONTROL_OK &&
           thread->vcpu <= (int64_t)info->vcpus;
}

/* Hg: of the following packets. Hc is of packets that vCont replaces. */
static void set_thread(struct cursor cursor)
{
    struct control_guest info;
    struct run_thread thread;
    bool general = cursor_word(&cursor, "g");

    if ((!general && !cursor_word(&cursor, "c")) || !run_parse_thread(&cursor, &thread)) {
        reply_bad(&reply);
        return;
    }
    if (general && thread.guest >= 1) {
        if (!is_thread(&thread, &info)) {
            reply_bad(&reply);
            return;
        }
        guest = (uint32_t)thread.guest - 1;
        vcpu = thread.vcpu > 0 ? (uint32_t)thread.vcpu - 1 : 0;
    }
    reply_ok(&reply);
}

static void is_alive(struct cursor cursor)
{
    struct control_guest info;
    struct run_thread thread;

    if (run_parse_thread(&cursor, &thread) && is_thread(&thread, &info))
        reply_ok(&reply);
    else
        reply_bad(&reply);
}

static void current_thread(struct cursor cursor)
{
    (void)cursor;
    text_add(&reply, "QC");
    if (run_attached()[guest] != 0)
        tables_thread_id(&reply, guest, vcpu);
    else
        text_char(&reply, '0');
}

static void threads(struct cursor cursor)
{
    char separator = 'm';

    (void)cursor;
    for (uint32_t i = 0; i < MANIFEST_MAX_GUESTS; i++) {
        struct control_guest info;

        if (run_attached()[i] == 0 || ask_guest_info(i, &info) != CONTROL_OK)
            continue;
        for (uint32_t j = 0; j < info.vcpus; j++) {
            text_char(&reply, separator);
            tables_thread_id(&reply, i, j);
            separator = ',';
        }
    }
    if (separator == 'm')
        text_char(&reply, 'l');
}

static void no_more_threads(struct cursor cursor)
{
    (void)cursor;
    text_char(&reply, 'l');
}

static void was_attached(struct cursor cursor)
{
    (void)cursor;
    text_char(&reply, '1');
}

/* ------------------------------------------------------------- documents */

/* A piece of the document; the first one makes it. `offset,length` */
static void transfer(struct cursor cursor, bool made)
{
    uint64_t offset, length;
    size_t at, end, room = RSP_PACKET_SIZE - 1;

    if (!made || !cursor_hex(&cursor, &offset) || !cursor_word(&cursor, ",") || !cursor_hex(&cursor, &length)) {
        text_add(&reply, "E00");
        return;
    }
    at = offset < document_length ? (size_t)offset : document_length;
    end = at;
    if (length < room)
        room = (size_t)length;
    while (end < document_length && rsp_escaped((uint8_t)document[end]) <= room)
        room -= rsp_escaped((uint8_t)document[end++]);
    text_char(&reply, end == document_length ? 'l' : 'm');
    text_bytes(&reply, document + at, end - at);
}

/* Whether the transfer begins: the document is to be made. */
static bool begins(const struct cursor *cursor)
{
    struct cursor copy = *cursor;

    return cursor_word(&copy, "0,");
}

static struct text new_document(void)
{
    return (struct text){.at = document, .size = sizeof(document)};
}

static void features(struct cursor cursor)
{
    bool made = cursor_word(&cursor, "target.xml:");

    if (made && begins(&cursor)) {
        struct text text = new_document();

        registers_describe(&text);
        document_length = text.length;
    }
    transfer(cursor, made);
}

static void thread_list(struct cursor cursor)
{
    if (begins(&cursor)) {
        struct text text = new_document();

        tables_threads(&text, run_attached(), MANIFEST_MAX_GUESTS);
        document_length = text.length;
    }
    transfer(cursor, true);
}

static void osdata(struct cursor cursor)
{
    struct cursor annex = {cursor.at, cursor.at};
    bool made = true;

    while (annex.end < cursor.end && *annex.end != ':')
        annex.end++;
    cursor.at = annex.end;
    made = cursor_word(&cursor, ":");
    if (made && begins(&cursor)) {
        struct text text = new_document();

        made = tables_osdata(&text, annex);
        document_length = text.length;
    }
    transfer(cursor, made);
}

/* ------------------------------------------------------------- processes */

/* A process id, from 1, at the packet's end. */
static bool process(struct cursor cursor, uint32_t *index)
{
    uint64_t number;

    if (!cursor_hex(&cursor, &number) || cursor_left(&cursor) != 0 || number == 0 || number > MANIFEST_MAX_GUESTS) {
        ask_refuse("no such guest: `info os guests` has their numbers");
        return false;
    }
    *index = (uint32_t)number - 1;
    return true;
}

/* The stop reply of a guest that is attached from now on. */
static void attached(uint32_t index, uint32_t result)
{
    if (result != CONTROL_OK) {
        reply_refused(&reply, result);
        return;
    }
    guest = index;
    vcpu = 0;
    run_stop_reply(&reply, guest, 0);
}

static void attach(struct cursor cursor)
{
    uint32_t index;

    if (process(cursor, &index))
        attached(index, run_attach(index));
    else
        reply_refused(&reply, CONTROL_NO_GUEST);
}

/* `FILENAME[;ARGUMENT]...`, in hexadecimal: the name is the guest's. */
static void run(struct cursor cursor)
{
    char name[MANIFEST_NAME_SIZE];
    size_t length = 0;
    uint32_t index = 0, result;

    while (length < sizeof(name) && cursor_hex_bytes(&cursor, &name[length], 1))
        length++;
    result = run_launch(name, length, &index);
    attached(index, result);
}

static void kill_process(struct cursor cursor)
{
    uint32_t index;

    reply_result(&reply, process(cursor, &index) ? run_kill(index) : CONTROL_NO_GUEST);
}

/* `D;PID`, or `D`: all. */
static void detach(struct cursor cursor)
{
    uint32_t index;

    if (cursor_word(&cursor, ";")) {
        reply_result(&reply, process(cursor, &index) ? run_detach(index) : CONTROL_NO_GUEST);
        return;
    }
    run_detach_all();
    reply_ok(&reply);
}

static void continue_actions(struct cursor cursor)
{
    (void)cursor;
    text_add(&reply, "vCont;c;C;s;S;t");
}

static void continue_guests(struct cursor cursor)
{
    uint32_t result = run_continue(cursor);

    if (result != CONTROL_OK) {
        reply_refused(&reply, result);
        return;
    }
    waits = true;
    silent = true;
}

static void command(struct cursor cursor)
{
    static char words[DOCUMENT_SIZE / 8];
    struct text text = {.at = words, .size = sizeof(words)};
    char typed[128];
    size_t length = 0;

    while (length < sizeof(typed) && cursor_hex_bytes(&cursor, &typed[length], 1))
        length++;
    show_output();
    monitor_command(&text, typed, length);
    show(words, text.length);
    reply_ok(&reply);
}

/* Without a reply: gdb does not wait for one. */
static void kill_all(struct cursor cursor)
{
    (void)cursor;
    silent = true;
}

/* ------------------------------------------------------------- packets */

/* Those that begin like another one come before it. */
static const struct {
    const char *begins;
    void (*handle)(struct cursor cursor);
} packets[] = {
    {"qSupported", supported},
    {"QStartNoAckMode", start_no_ack_mode},
    {"!", extended},
    {"?", why_stopped},
    {"H", set_thread},
    {"T", is_alive},
    {"qfThreadInfo", threads},
    {"qsThreadInfo", no_more_threads},
    {"qAttached", was_attached},
    {"qXfer:features:read:", features},
    {"qXfer:threads:read::", thread_list},
    {"qXfer:osdata:read:", osdata},
    {"qRcmd,", command},
    {"D", detach},
    {"k", kill_all},
    {"vCont?", continue_actions},
    {"vCont", continue_guests},
    {"vAttach;", attach},
    {"vRun;", run},
    {"vKill;", kill_process},
};

static void handle(struct cursor packet)
{
    if (cursor_word(&packet, "vFile:")) {
        vfile_packet(packet, &reply);
        return;
    }
    if (cursor_left(&packet) == 2 && cursor_word(&packet, "qC")) {
        current_thread(packet);
        return;
    }
    for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
        if (cursor_word(&packet, packets[i].begins)) {
            packets[i].handle(packet);
            return;
        }
    }
    inspect_packet(guest, vcpu, packet, &reply);
}

static void begin_reply(void)
{
    reply = (struct text){.at = reply_bytes, .size = sizeof(reply_bytes)};
}

static void stopped(void)
{
    waits = false;
    show_output();
    rsp_send(&line, reply.at, reply.length);
}

void server_byte(uint8_t byte)
{
    enum rsp_event event = rsp_byte(&line, byte);

    if (event == RSP_PACKET) {
        begin_reply();
        silent = false;
        handle((struct cursor){line.packet, line.packet + line.length});
        if (!silent)
            rsp_send(&line, reply.at, reply.length);
    } else if (event == RSP_INTERRUPT && waits) {
        begin_reply();
        run_interrupt(&reply);
        stopped();
    }
}

void server_poll(void)
{
    begin_reply();
    if (run_poll(&reply) && waits)
        stopped();
    else if (waits)
        show_output();
}
