/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Names of commands and statuses, for traces and faults. */
#include "internal.h"

struct name {
    const char *name;
    uint16_t number;
};

static const struct name command_names[] = {
#define ROW(text, value) {#text, value},
    SEVFW_COMMAND_LIST(ROW)};

static const struct name status_names[] = {SEVFW_STATUS_LIST(ROW)
#undef ROW
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const char *name_of(const struct name *names, size_t count, uint32_t number)
{
    for (size_t i = 0; i < count; i++) {
        if (names[i].number == number) {
            return names[i].name;
        }
    }
    return NULL;
}

static bool number_of(const struct name *names, size_t count, const char *name, uint16_t *number)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i].name, name) == 0) {
            *number = names[i].number;
            return true;
        }
    }
    return false;
}

const char *sevfw_command_name(uint32_t id)
{
    return name_of(command_names, COUNT(command_names), id);
}

const char *sevfw_status_name(uint16_t status)
{
    return name_of(status_names, COUNT(status_names), status);
}

bool sevfw_command_by_name(const char *name, uint32_t *id)
{
    uint16_t number;

    if (!number_of(command_names, COUNT(command_names), name, &number)) {
        return false;
    }
    *id = number;
    return true;
}

bool sevfw_status_by_name(const char *name, uint16_t *status)
{
    return number_of(status_names, COUNT(status_names), name, status);
}
