/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What README.md lists as objects, as files: one that is read is made when it is opened, one that is written is carried out when
 * it is closed. Others (live.c) are read and written as they are by then. */
#include "guest/control/objects.h"

#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/bulk.h"
#include "guest/control/firmware.h"
#include "guest/control/guests.h"
#include "guest/control/live.h"
#include "guest/control/moves.h"
#include "guest/control/status.h"
#include "guest/control/text.h"

#define FILES 4u

#define FILE_ROOM FIRMWARE_SECRET_MAX
_Static_assert(FILE_ROOM >= RECORDS_ROOM && FILE_ROOM >= MOVES_CERTIFICATES_MAX &&
                   FILE_ROOM >= MOVES_SUM + CONTROL_PAGES_MAX,
               "room for all of them");

#define CAN_READ 1u
#define CAN_WRITE 2u

struct file;

struct object {
    const char *name;
    uint8_t access;
    uint16_t least, most; /* bytes that may be written */
    uint32_t (*make)(struct file *file); /* fills the copy */
    uint32_t (*carry_out)(struct file *file);
    /* Without a copy: */
    uint32_t (*start)(struct live *live);
    uint32_t (*read)(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done);
    uint32_t (*write)(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done);
};

struct file {
    const struct object *object; /* NULL: not open */
    bool writes;
    uint32_t guest;
    uint64_t number; /* in its name */
    struct live live;
    size_t size;
    uint8_t nonce[FIRMWARE_NONCE_SIZE];
    uint8_t content[FILE_ROOM];
};

static struct file files[FILES];

static int error_of(uint32_t result)
{
    static const uint8_t numbers[] = {
        [CONTROL_UNKNOWN] = OBJECTS_EINVAL, [CONTROL_INVALID] = OBJECTS_EINVAL, [CONTROL_NO_GUEST] = OBJECTS_ENOENT,
        [CONTROL_STATE] = OBJECTS_EBUSY,    [CONTROL_POLICY] = OBJECTS_EACCES,  [CONTROL_IN_USE] = OBJECTS_EBUSY,
        [CONTROL_NO_SEV] = OBJECTS_ENODEV,  [CONTROL_SEV_FAILED] = OBJECTS_EIO, [CONTROL_NOT_SHARED] = OBJECTS_EACCES,
        [CONTROL_LIMIT] = OBJECTS_ENOSPC,
    };

    return result < sizeof(numbers) && numbers[result] != 0 ? -(int)numbers[result] : -OBJECTS_EIO;
}

static int refuse(enum objects_errno error, const char *words)
{
    ask_refuse(words);
    return -(int)error;
}

/* ------------------------------------------------------------- read */

static uint32_t make_platform_status(struct file *file)
{
    struct control_platform platform;
    struct text text = {.at = (char *)file->content, .size = sizeof(file->content)};
    uint32_t result = ask_platform_info(&platform);

    if (result == CONTROL_OK)
        status_platform(&text, &platform);
    file->size = text.length;
    return result;
}

static uint32_t make_guest_status(struct file *file)
{
    struct control_guest info;
    struct text text = {.at = (char *)file->content, .size = sizeof(file->content)};
    uint32_t result = ask_guest_info(file->guest, &info);

    if (result == CONTROL_OK)
        status_guest(&text, file->guest, &info);
    file->size = text.length;
    return result;
}

static uint32_t make_digest(struct file *file)
{
    struct control_guest info;
    uint32_t result = ask_guest_info(file->guest, &info);

    memcpy(file->content, info.digest, sizeof(info.digest));
    file->size = sizeof(info.digest);
    return result;
}

static uint32_t make_measurement(struct file *file)
{
    static const uint8_t none[sizeof((struct control_guest){0}.measure)];
    struct control_guest info;
    uint32_t result = ask_guest_info(file->guest, &info);

    if (result == CONTROL_OK && memcmp(info.measure, none, sizeof(none)) == 0) {
        ask_refuse("this guest has not been measured yet");
        return CONTROL_STATE;
    }
    memcpy(file->content, info.measure, sizeof(info.measure));
    memcpy(file->content + sizeof(info.measure), info.mnonce, sizeof(info.mnonce));
    file->size = sizeof(info.measure) + sizeof(info.mnonce);
    return result;
}

static uint32_t make_pdh(struct file *file)
{
    return firmware_certificates(false, file->content, &file->size);
}

static uint32_t make_chain(struct file *file)
{
    return firmware_certificates(true, file->content, &file->size);
}

static uint32_t make_id(struct file *file)
{
    return firmware_id(file->content, &file->size);
}

static uint32_t make_csr(struct file *file)
{
    return firmware_csr(file->content, &file->size);
}

static uint32_t make_report(struct file *file)
{
    return firmware_report(file->guest, file->nonce, file->content, &file->size);
}

static uint32_t make_session(struct file *file)
{
    file->size = MOVES_SESSION_SIZE;
    return moves_session(file->guest, file->content);
}

static uint32_t make_pages(struct file *file)
{
    return moves_pages(file->guest, file->number, false, file->content, sizeof(file->content), &file->size);
}

static uint32_t make_dirty(struct file *file)
{
    return moves_pages(file->guest, file->number, true, file->content, sizeof(file->content), &file->size);
}

static uint32_t make_state(struct file *file)
{
    return moves_state_get(file->guest, file->number, file->content, sizeof(file->content), &file->size);
}

/* ------------------------------------------------------------- write */

/* The content as a word, without a newline at its end. */
static size_t word_length(const struct file *file)
{
    return file->size > 0 && file->content[file->size - 1] == '\n' ? file->size - 1 : file->size;
}

static uint32_t carry_out_platform_command(struct file *file)
{
    return firmware_word((const char *)file->content, word_length(file));
}

static uint32_t carry_out_import(struct file *file)
{
    return firmware_import(file->content);
}

static uint32_t carry_out_firmware(struct file *file)
{
    return bulk_command(file->live.guest);
}

static uint32_t carry_out_platform_state(struct file *file)
{
    (void)file;
    return bulk_init_ex();
}

static uint32_t carry_out_image(struct file *file)
{
    (void)file;
    return bulk_download();
}

static uint32_t carry_out_secret(struct file *file)
{
    return firmware_secret(file->guest, file->content, file->size);
}

static uint32_t carry_out_session(struct file *file)
{
    return firmware_session(file->guest, file->content);
}

static uint32_t carry_out_guest_command(struct file *file)
{
    const char *word = (const char *)file->content;
    enum control_operation operation;
    uint32_t command;

    if (moves_is_word(word, word_length(file), &command))
        return moves_word(command, file->guest);
    if (guests_is_command(word, word_length(file), &operation))
        return guests_command(operation, file->guest);
    ask_refuse("no such command: launch, end, pause, resume, receive, send-finish, send-cancel, receive-finish, yours");
    return CONTROL_INVALID;
}

static uint32_t carry_out_send(struct file *file)
{
    return moves_send_start(file->guest, file->content, file->size);
}

static uint32_t carry_out_state(struct file *file)
{
    return moves_state_set(file->guest, file->number, file->content, file->size);
}

/* ------------------------------------------------------------- the objects */

#define REPORT "report-"

/* clang-format off */
#define BOTH (CAN_READ | CAN_WRITE)
#define STREAM .start = live_start_stream, .read = live_read_stream
#define RECORDS .read = live_read_records, .write = live_write_records

#define FIRMWARE BOTH, .start = bulk_start, .read = bulk_read, .write = bulk_write, .carry_out = carry_out_firmware
#define STATE .start = bulk_start_state, .read = bulk_read_data, .write = bulk_write_data, .carry_out = carry_out_platform_state

static const struct object platform_objects[] = {
    {"/platform/status", CAN_READ, .make = make_platform_status},
    {"/platform/pdh", CAN_READ, .make = make_pdh},
    {"/platform/chain", CAN_READ, .make = make_chain},
    {"/platform/id", CAN_READ, .make = make_id},
    {"/platform/pek.csr", CAN_READ, .make = make_csr},
    {"/platform/pek-import", CAN_WRITE, FIRMWARE_IMPORT_SIZE, FIRMWARE_IMPORT_SIZE, .carry_out = carry_out_import},
    {"/platform/command", CAN_WRITE, 1, 16, .carry_out = carry_out_platform_command},
    {"/platform/firmware", FIRMWARE},
    {"/platform/state", BOTH, STATE},
    {"/platform/image", CAN_WRITE, .start = bulk_start, .write = bulk_write_data, .carry_out = carry_out_image},
    {"/log", CAN_READ, STREAM},
};
static const struct object guest_objects[] = {
    {"status", CAN_READ, .make = make_guest_status},
    {"command", CAN_WRITE, 1, 16, .carry_out = carry_out_guest_command},
    {"console", BOTH, STREAM, .write = live_write_stream},
    {"digest", CAN_READ, .make = make_digest},
    {"measurement", CAN_READ, .make = make_measurement},
    {"secret", CAN_WRITE, FIRMWARE_SECRET_MIN, FIRMWARE_SECRET_MAX, .carry_out = carry_out_secret},
    {"session", CAN_WRITE, FIRMWARE_SESSION_SIZE, FIRMWARE_SESSION_SIZE, .carry_out = carry_out_session},
    {"memory", BOTH, .start = live_start_memory, .read = live_read_memory, .write = live_write_memory},
    {"firmware", FIRMWARE},
    {"send", BOTH, MOVES_CERTIFICATES_MIN, MOVES_CERTIFICATES_MAX, .make = make_session, .carry_out = carry_out_send},
    {"packets", BOTH, .start = live_start_packets, RECORDS},
    {"plain", BOTH, .start = live_start_plain, RECORDS},
};
/* Their names end in a hexadecimal number. */
static const struct object numbered_objects[] = {
    {"pages-", CAN_READ, .make = make_pages},
    {"dirty-", CAN_READ, .make = make_dirty},
    {"state-", BOTH, MOVES_SUM + 1, FILE_ROOM, .make = make_state, .carry_out = carry_out_state},
};
static const struct object report_object = {REPORT, CAN_READ, .make = make_report};
/* clang-format on */

static const struct object *named(const struct object *objects, size_t count, const struct cursor *path)
{
    for (size_t i = 0; i < count; i++) {
        struct cursor cursor = *path;

        if (cursor_word(&cursor, objects[i].name) && cursor_left(&cursor) == 0)
            return &objects[i];
    }
    return NULL;
}

static const struct object *no_object(void)
{
    ask_refuse("no such object: guest/control/README.md has the list");
    return NULL;
}

/* /guest/NAME/..., from NAME on. */
static const struct object *guest_object(struct file *file, struct cursor path)
{
    const uint8_t *name = path.at;
    const struct object *object;

    while (path.at < path.end && *path.at != '/')
        path.at++;
    if (path.at == path.end)
        return no_object();
    if (!guests_find((const char *)name, (size_t)(path.at - name), &file->guest))
        return NULL;
    path.at++;
    object = named(guest_objects, sizeof(guest_objects) / sizeof(guest_objects[0]), &path);
    if (object != NULL)
        return object;
    for (size_t i = 0; i < sizeof(numbered_objects) / sizeof(numbered_objects[0]); i++) {
        struct cursor cursor = path;

        if (cursor_word(&cursor, numbered_objects[i].name) && cursor_hex(&cursor, &file->number) &&
            cursor_left(&cursor) == 0)
            return &numbered_objects[i];
    }
    if (cursor_word(&path, REPORT) && cursor_hex_bytes(&path, file->nonce, FIRMWARE_NONCE_SIZE) &&
        cursor_left(&path) == 0)
        return &report_object;
    return no_object();
}

static const struct object *find(struct file *file, const char *path, size_t length)
{
    struct cursor cursor = {(const uint8_t *)path, (const uint8_t *)path + length};
    const struct object *object;

    if (cursor_word(&cursor, "/guest/"))
        return guest_object(file, cursor);
    object = named(platform_objects, sizeof(platform_objects) / sizeof(platform_objects[0]), &cursor);
    return object != NULL ? object : no_object();
}

static bool is_live(const struct file *file)
{
    return file->object->start != NULL;
}

/* NULL: no such open file. */
static struct file *file_of(uint64_t number)
{
    if (number < FILES && files[number].object != NULL)
        return &files[number];
    ask_refuse("no such open object");
    return NULL;
}

/* What is only written needs no copy of what it was. */
static uint32_t begin(struct file *file)
{
    if (is_live(file)) {
        file->live = (struct live){.guest = file->guest, .writes = file->writes, .records.bytes = file->content};
        if (file->object->name[0] == '/') /* the others are of guests */
            file->live.guest = CONTROL_LOG;
        return file->object->start(&file->live);
    }
    return file->writes || file->object->make == NULL ? CONTROL_OK : file->object->make(file);
}

static int prepare(struct file *file, const struct object *object, uint64_t flags)
{
    uint64_t access = flags & 3;
    uint32_t result;

    if (access == OBJECTS_READ_WRITE && (object->read == NULL || object->write == NULL || object->carry_out != NULL))
        return refuse(OBJECTS_EINVAL, "this object is opened for reading, or for writing");
    if (access != OBJECTS_WRITE && (object->access & CAN_READ) == 0)
        return refuse(OBJECTS_EACCES, "this object cannot be read");
    if (access != OBJECTS_READ && (object->access & CAN_WRITE) == 0)
        return refuse(OBJECTS_EACCES, "this object cannot be written");
    file->object = object;
    file->writes = access != OBJECTS_READ;
    file->size = 0;
    result = begin(file);
    if (result == CONTROL_OK)
        return 0;
    file->object = NULL;
    return error_of(result);
}

int objects_open(const char *path, size_t length, uint64_t flags)
{
    const struct object *object;
    unsigned number = 0;
    int error;

    while (number < FILES && files[number].object != NULL)
        number++;
    if (number == FILES)
        return refuse(OBJECTS_EMFILE, "four objects are open: close one");
    object = find(&files[number], path, length);
    if (object == NULL)
        return -OBJECTS_ENOENT;
    error = prepare(&files[number], object, flags);
    return error != 0 ? error : (int)number;
}

int objects_read(uint64_t number, uint64_t offset, void *bytes, size_t size)
{
    struct file *file = file_of(number);
    size_t done = 0;
    uint32_t result;

    if (file == NULL)
        return -OBJECTS_EBADF;
    if ((file->object->access & CAN_READ) == 0)
        return refuse(OBJECTS_EACCES, "this object cannot be read");
    if (is_live(file)) {
        result = file->object->read(&file->live, offset, bytes, size, &done);
        return result == CONTROL_OK ? (int)done : error_of(result);
    }
    if (offset >= file->size)
        return 0;
    if (size > file->size - offset)
        size = file->size - offset;
    memcpy(bytes, file->content + offset, size);
    return (int)size;
}

int objects_write(uint64_t number, uint64_t offset, const void *bytes, size_t size)
{
    struct file *file = file_of(number);
    size_t done = 0;
    uint32_t result;

    if (file == NULL)
        return -OBJECTS_EBADF;
    if (!file->writes)
        return refuse(OBJECTS_EACCES, "this object is not open for writing");
    if (is_live(file)) {
        result = file->object->write(&file->live, offset, bytes, size, &done);
        file->size += done;
        return result == CONTROL_OK ? (int)done : error_of(result);
    }
    if (offset > file->size)
        return refuse(OBJECTS_EINVAL, "an object is written from its beginning, without holes");
    if (size > file->object->most - offset || offset > file->object->most)
        return refuse(OBJECTS_EFBIG, "more bytes than this object takes");
    memcpy(file->content + offset, bytes, size);
    if (offset + size > file->size)
        file->size = (size_t)offset + size;
    return (int)size;
}

int objects_size(uint64_t number)
{
    struct file *file = file_of(number);

    if (file == NULL)
        return -OBJECTS_EBADF;
    return is_live(file) ? 0 : (int)file->size;
}

int objects_close(uint64_t number)
{
    struct file *file = file_of(number);
    const struct object *object;
    uint32_t result;

    if (file == NULL)
        return -OBJECTS_EBADF;
    object = file->object;
    file->object = NULL;
    if (object->carry_out == NULL || !file->writes || file->size == 0)
        return 0;
    if (file->size < object->least)
        return refuse(OBJECTS_EINVAL, "fewer bytes than this object takes: nothing was done");
    result = object->carry_out(file);
    return result == CONTROL_OK ? 0 : error_of(result);
}

int objects_unlink(void)
{
    return refuse(OBJECTS_EACCES, "objects cannot be deleted");
}

void objects_close_all(void)
{
    for (unsigned i = 0; i < FILES; i++)
        files[i].object = NULL;
}
