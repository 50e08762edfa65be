/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What README.md lists as objects, as files: one that is read is made when it is opened, one that is written is carried out when
 * it is closed. Streams (log, console) and memory are read and written as they are. */
#include "guest/control/objects.h"

#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/firmware.h"
#include "guest/control/guests.h"
#include "guest/control/memory.h"
#include "guest/control/status.h"
#include "guest/control/text.h"

#define FILES 4u
#define STREAM_PIECE 0x8000u

#define FILE_ROOM FIRMWARE_SECRET_MAX

#define CAN_READ 1u
#define CAN_WRITE 2u

struct file;

struct object {
    const char *name;
    uint8_t access;
    bool live; /* read and written as it is, without a copy in the file */
    uint16_t least, most; /* bytes that may be written */
    uint32_t (*make)(struct file *file); /* fills the copy */
    uint32_t (*carry_out)(struct file *file);
};

struct file {
    const struct object *object; /* NULL: not open */
    bool writes;
    uint32_t guest;
    uint64_t base; /* streams: position of offset 0 */
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
    enum control_operation operation;

    if (!guests_is_command((const char *)file->content, word_length(file), &operation)) {
        ask_refuse("no such command: launch, end, pause, resume");
        return CONTROL_INVALID;
    }
    return guests_command(operation, file->guest);
}

/* ------------------------------------------------------------- streams and memory */

/* /log is hv's, the others are of guests. */
static uint32_t stream_of(const struct file *file)
{
    return file->object->name[0] == '/' ? CONTROL_LOG : file->guest;
}

static uint32_t read_stream(uint32_t stream, uint64_t position, uint32_t size, struct control_answer *answer)
{
    return ask((struct control_request){.operation = CONTROL_CONSOLE_READ,
                                        .guest = stream,
                                        .address = position,
                                        .data = CONTROL_DATA,
                                        .size = size},
               answer);
}

/* Where offset 0 is. */
static uint32_t make_stream(struct file *file)
{
    struct control_answer answer;
    uint32_t result = read_stream(stream_of(file), 0, 1, &answer);

    file->base = answer.value;
    return result;
}

static int stream_read(struct file *file, uint64_t offset, void *bytes, size_t size)
{
    struct control_answer answer;
    uint32_t room = size < STREAM_PIECE ? (uint32_t)size : STREAM_PIECE, result;

    result = read_stream(stream_of(file), file->base + offset, room, &answer);
    if (result != CONTROL_OK)
        return error_of(result);
    if (answer.size == 0)
        return 0;
    if (answer.value > file->base + offset) /* dropped meanwhile: it goes on with what is left */
        file->base = answer.value - offset;
    room = answer.size < room ? answer.size : room;
    ask_get(CONTROL_DATA, bytes, room);
    return (int)room;
}

static int stream_write(struct file *file, const void *bytes, size_t size)
{
    struct control_request request = {
        .operation = CONTROL_CONSOLE_WRITE, .guest = file->guest, .data = CONTROL_DATA, .size = (uint32_t)size};
    struct control_answer answer;
    uint32_t result;

    ask_put(CONTROL_DATA, bytes, request.size);
    result = ask(request, &answer);
    if (result != CONTROL_OK)
        return error_of(result);
    if (answer.value == 0 && size > 0)
        return refuse(OBJECTS_ENOSPC, "the guest's UART takes no more input now");
    return (int)(answer.value < size ? answer.value : size);
}

/* Its size is for reading, which ends there. */
static uint32_t make_memory(struct file *file)
{
    struct control_guest info;
    uint32_t result = ask_guest_info(file->guest, &info);

    file->base = guests_has_sev(&info) ? MEMORY_EITHER : MEMORY_PLAIN;
    file->size = (size_t)info.memory;
    return result;
}

/* ------------------------------------------------------------- the objects */

#define REPORT "report-"

/* clang-format off */
static const struct object platform_objects[] = {
    {"/platform/status", CAN_READ, false, 0, 0, make_platform_status, NULL},
    {"/platform/pdh", CAN_READ, false, 0, 0, make_pdh, NULL},
    {"/platform/chain", CAN_READ, false, 0, 0, make_chain, NULL},
    {"/platform/id", CAN_READ, false, 0, 0, make_id, NULL},
    {"/platform/pek.csr", CAN_READ, false, 0, 0, make_csr, NULL},
    {"/platform/pek-import", CAN_WRITE, false, FIRMWARE_IMPORT_SIZE, FIRMWARE_IMPORT_SIZE, NULL, carry_out_import},
    {"/platform/command", CAN_WRITE, false, 1, 16, NULL, carry_out_platform_command},
    {"/log", CAN_READ, true, 0, 0, make_stream, NULL},
};
static const struct object guest_objects[] = {
    {"status", CAN_READ, false, 0, 0, make_guest_status, NULL},
    {"command", CAN_WRITE, false, 1, 16, NULL, carry_out_guest_command},
    {"console", CAN_READ | CAN_WRITE, true, 0, 0, make_stream, NULL},
    {"digest", CAN_READ, false, 0, 0, make_digest, NULL},
    {"measurement", CAN_READ, false, 0, 0, make_measurement, NULL},
    {"secret", CAN_WRITE, false, FIRMWARE_SECRET_MIN, FIRMWARE_SECRET_MAX, NULL, carry_out_secret},
    {"session", CAN_WRITE, false, FIRMWARE_SESSION_SIZE, FIRMWARE_SESSION_SIZE, NULL, carry_out_session},
    {"memory", CAN_READ | CAN_WRITE, true, 0, 0, make_memory, NULL},
};
static const struct object report_object = {REPORT, CAN_READ, false, 0, 0, make_report, NULL};
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

static bool is_memory(const struct file *file)
{
    return file->object->make == make_memory;
}

/* NULL: no such open file. */
static struct file *file_of(uint64_t number)
{
    if (number < FILES && files[number].object != NULL)
        return &files[number];
    ask_refuse("no such open object");
    return NULL;
}

static int prepare(struct file *file, const struct object *object, uint64_t flags)
{
    uint64_t access = flags & 3;
    uint32_t result;

    if (access == OBJECTS_READ_WRITE && (object->access != (CAN_READ | CAN_WRITE)))
        return refuse(OBJECTS_EINVAL, "this object is opened for reading, or for writing");
    if (access != OBJECTS_WRITE && (object->access & CAN_READ) == 0)
        return refuse(OBJECTS_EACCES, "this object cannot be read");
    if (access != OBJECTS_READ && (object->access & CAN_WRITE) == 0)
        return refuse(OBJECTS_EACCES, "this object cannot be written");
    file->object = object;
    file->writes = access != OBJECTS_READ;
    file->size = 0;
    if (object->make == NULL)
        return 0;
    result = object->make(file);
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
    uint32_t result;

    if (file == NULL)
        return -OBJECTS_EBADF;
    if ((file->object->access & CAN_READ) == 0)
        return refuse(OBJECTS_EACCES, "this object cannot be read");
    if (file->object->live && !is_memory(file))
        return stream_read(file, offset, bytes, size);
    if (offset >= file->size)
        return 0;
    if (size > file->size - offset)
        size = file->size - offset;
    if (is_memory(file)) {
        result = memory_read(file->guest, (enum memory_view)file->base, offset, bytes, size);
        return result == CONTROL_OK ? (int)size : error_of(result);
    }
    memcpy(bytes, file->content + offset, size);
    return (int)size;
}

int objects_write(uint64_t number, uint64_t offset, const void *bytes, size_t size)
{
    struct file *file = file_of(number);
    uint32_t result;

    if (file == NULL)
        return -OBJECTS_EBADF;
    if (!file->writes)
        return refuse(OBJECTS_EACCES, "this object is not open for writing");
    if (is_memory(file)) {
        result = memory_write(file->guest, (enum memory_view)file->base, offset, bytes, size);
        return result == CONTROL_OK ? (int)size : error_of(result);
    }
    if (file->object->live)
        return stream_write(file, bytes, size);
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
    return file->object->live ? 0 : (int)file->size;
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
