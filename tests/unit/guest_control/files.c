/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Objects as files, by vFile packets on the line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "tests/unit/guest_control/files.h"
#include "tests/unit/guest_control/line.h"

char files_content[0x8000];

/* What follows F: a number from 0, or -errno. */
int files_result(const char *reply)
{
    unsigned value;

    assert_int_equal(*reply, 'F');
    if (sscanf(reply, "F-1,%x", &value) == 1)
        return -(int)value;
    assert_int_equal(sscanf(reply, "F%x", &value), 1);
    return (int)value;
}

int files_open(const char *path, int flags)
{
    char packet[512] = "vFile:open:";

    for (const char *at = path; *at != '\0'; at++)
        sprintf(packet + strlen(packet), "%02x", (unsigned char)*at);
    sprintf(packet + strlen(packet), ",%x,1c0", flags);
    return files_result(line_ask(packet));
}

int files_close(int number)
{
    char packet[64];

    sprintf(packet, "vFile:close:%x", number);
    return files_result(line_ask(packet));
}

/* Into files_content, from `offset` of the object on. */
int files_read(int number, size_t count, uint64_t offset)
{
    char packet[128];
    const char *reply, *data;
    int got;

    sprintf(packet, "vFile:pread:%x,%zx,%llx", number, count, (unsigned long long)offset);
    reply = line_ask(packet);
    got = files_result(reply);
    if (got < 0)
        return got;
    data = strchr(reply, ';') + 1;
    assert_int_equal(line_taken_size() - (size_t)(data - reply), got);
    memcpy(files_content, data, (size_t)got);
    files_content[got] = '\0';
    return got;
}

int files_write(int number, uint64_t offset, const void *bytes, size_t size)
{
    static char packet[0x5000];
    int length = sprintf(packet, "vFile:pwrite:%x,%llx,", number, (unsigned long long)offset);

    memcpy(packet + length, bytes, size);
    line_packet(packet, (size_t)length + size);
    return files_result(line_taken());
}

/* All of it; its length, or -errno. */
int files_get(const char *path)
{
    int number = files_open(path, FILES_READ), got;

    if (number < 0)
        return number;
    got = files_read(number, 0x4000, 0);
    assert_int_equal(files_close(number), 0);
    return got;
}

int files_put(const char *path, const void *bytes, size_t size)
{
    int number = files_open(path, FILES_WRITE);

    if (number < 0)
        return number;
    assert_int_equal(files_write(number, 0, bytes, size), (int)size);
    return files_close(number);
}
