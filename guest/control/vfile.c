/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* gdb's Host I/O packets (GDB manual, appendix E.7), on objects. */
#include "guest/control/vfile.h"

#include <string.h>

#include "guest/control/objects.h"
#include "guest/control/rsp.h"

#define PATH_MAX 128u
#define STAT_SIZE 64u           /* struct stat of the file-I/O protocol (E.15.9.3): big-endian */
#define STAT_MODE 8u
#define STAT_NLINK 12u
#define STAT_SIZE_FIELD 28u
#define STAT_BLOCK_SIZE 36u
#define S_IFREG_RW 0100600u
#define REPLY_HEAD 16u          /* "F", a length, ";" */

static void result(struct text *reply, int value)
{
    text_char(reply, 'F');
    if (value < 0) {
        text_add(reply, "-1,");
        value = -value;
    }
    text_hex(reply, (uint64_t)value);
}

static void open_packet(struct cursor cursor, struct text *reply)
{
    uint8_t path[PATH_MAX];
    size_t length = 0;
    uint64_t flags, mode;

    while (length < sizeof(path) && cursor_hex_bytes(&cursor, &path[length], 1))
        length++;
    if (!cursor_word(&cursor, ",") || !cursor_hex(&cursor, &flags) || !cursor_word(&cursor, ",") ||
        !cursor_hex(&cursor, &mode))
        result(reply, -OBJECTS_EINVAL);
    else
        result(reply, objects_open((const char *)path, length, flags));
}

/* A number, and another if `second`. */
static bool numbers(struct cursor *cursor, uint64_t *first, uint64_t *second)
{
    return cursor_hex(cursor, first) && cursor_word(cursor, ",") && cursor_hex(cursor, second);
}

/* As many bytes as a packet has room for, escaped. */
static void pread_packet(struct cursor cursor, struct text *reply)
{
    static uint8_t bytes[RSP_PACKET_SIZE - REPLY_HEAD];
    uint64_t number, count, offset;
    size_t room = sizeof(bytes), fit = 0;
    int got;

    if (!numbers(&cursor, &number, &count) || !cursor_word(&cursor, ",") || !cursor_hex(&cursor, &offset)) {
        result(reply, -OBJECTS_EINVAL);
        return;
    }
    got = objects_read(number, offset, bytes, count < room ? (size_t)count : room);
    while (got > 0 && fit < (size_t)got && rsp_escaped(bytes[fit]) <= room)
        room -= rsp_escaped(bytes[fit++]);
    result(reply, got < 0 ? got : (int)fit);
    if (got >= 0) {
        text_char(reply, ';');
        text_bytes(reply, bytes, fit);
    }
}

static void pwrite_packet(struct cursor cursor, struct text *reply)
{
    uint64_t number, offset;

    if (!numbers(&cursor, &number, &offset) || !cursor_word(&cursor, ","))
        result(reply, -OBJECTS_EINVAL);
    else
        result(reply, objects_write(number, offset, cursor.at, cursor_left(&cursor)));
}

static void put_big_endian(uint8_t *at, uint64_t value, unsigned size)
{
    for (unsigned i = 0; i < size; i++)
        at[i] = (uint8_t)(value >> (size - 1 - i) * 8);
}

static void fstat_packet(struct cursor cursor, struct text *reply)
{
    uint8_t stat[STAT_SIZE] = {0};
    uint64_t number;
    int size = -OBJECTS_EINVAL;

    if (cursor_hex(&cursor, &number))
        size = objects_size(number);
    if (size < 0) {
        result(reply, size);
        return;
    }
    put_big_endian(stat + STAT_MODE, S_IFREG_RW, 4);
    put_big_endian(stat + STAT_NLINK, 1, 4);
    put_big_endian(stat + STAT_SIZE_FIELD, (uint64_t)size, 8);
    put_big_endian(stat + STAT_BLOCK_SIZE, 512, 8);
    result(reply, STAT_SIZE);
    text_char(reply, ';');
    text_bytes(reply, stat, sizeof(stat));
}

static void close_packet(struct cursor cursor, struct text *reply)
{
    uint64_t number;

    result(reply, cursor_hex(&cursor, &number) ? objects_close(number) : -OBJECTS_EINVAL);
}

/* There is one file system, whatever the process. */
static void setfs_packet(struct cursor cursor, struct text *reply)
{
    (void)cursor;
    result(reply, 0);
}

static void unlink_packet(struct cursor cursor, struct text *reply)
{
    (void)cursor;
    result(reply, objects_unlink());
}

void vfile_packet(struct cursor packet, struct text *reply)
{
    static const struct {
        const char *name;
        void (*answer)(struct cursor cursor, struct text *reply);
    } packets[] = {
        {"setfs:", setfs_packet}, {"open:", open_packet},   {"pread:", pread_packet},   {"pwrite:", pwrite_packet},
        {"fstat:", fstat_packet}, {"close:", close_packet}, {"unlink:", unlink_packet},
    };

    for (size_t i = 0; i < sizeof(packets) / sizeof(packets[0]); i++) {
        if (cursor_word(&packet, packets[i].name)) {
            packets[i].answer(packet, reply);
            return;
        }
    }
}
