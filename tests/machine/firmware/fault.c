/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The text form of a mailbox fault: "kind:command[:argument][:skip=N][:count=N]". */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* strsep */
#endif
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "mailbox.h"
#include "sevfw_abi.h"

static const struct named {
    const char *name;
    uint32_t value;
} commands[] =
    {
#define ONE(name, value) {#name, value},
        SEVFW_COMMAND_LIST(ONE)},
  statuses[] = {SEVFW_STATUS_LIST(ONE)},
  kinds[] = {
      {"hang", MAILBOX_FAULT_HANG}, {"status", MAILBOX_FAULT_STATUS},   {"late", MAILBOX_FAULT_STATUS_LATE},
      {"slow", MAILBOX_FAULT_SLOW}, {"corrupt", MAILBOX_FAULT_CORRUPT}, {"reset", MAILBOX_FAULT_RESET},
};

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool number(const char *text, uint64_t max, uint64_t *value)
{
    char *end;

    *value = strtoull(text, &end, 0);
    return text[0] >= '0' && text[0] <= '9' && *end == '\0' && *value <= max;
}

/* By name, or by number where `by_number` allows. */
static bool lookup(const struct named *table, size_t count, const char *text, bool by_number, uint32_t *value)
{
    uint64_t found;

    for (size_t i = 0; i < count; i++) {
        if (strcasecmp(table[i].name, text) == 0) {
            *value = table[i].value;
            return true;
        }
    }
    if (!by_number || !number(text, 0xffff, &found)) {
        return false;
    }
    *value = (uint32_t)found;
    return true;
}

static bool duration(const char *text, uint64_t *ns)
{
    static const struct named units[] = {{"ns", 1}, {"us", 1000}, {"ms", 1000000}, {"s", 1000000000}};
    char *end;
    uint64_t value = strtoull(text, &end, 10);
    uint32_t unit;

    if (end == text || value > 1000000 || !lookup(units, COUNT(units), end, false, &unit)) {
        return false;
    }
    *ns = value * unit;
    return true;
}

static bool option(const char *text, struct mailbox_fault *fault)
{
    uint64_t value;

    if (strncmp(text, "skip=", 5) == 0 && number(text + 5, UINT32_MAX, &value)) {
        fault->skip = (uint32_t)value;
        return true;
    }
    if (strncmp(text, "count=", 6) == 0 && number(text + 6, UINT32_MAX, &value)) {
        fault->count = (uint32_t)value;
        return true;
    }
    return false;
}

/* The parts of a fault's text, in order; NULL where the text ends. */
static bool parse(char *copy, struct mailbox_fault *fault)
{
    char *rest = copy;
    char *part = strsep(&rest, ":");
    uint32_t value;

    if (!lookup(kinds, COUNT(kinds), part, false, &value)) {
        return false;
    }
    fault->kind = (enum mailbox_fault_kind)value;
    part = strsep(&rest, ":");
    if (!part || (strcasecmp(part, "any") != 0 && !lookup(commands, COUNT(commands), part, true, &fault->command))) {
        return false;
    }
    if (fault->kind == MAILBOX_FAULT_STATUS || fault->kind == MAILBOX_FAULT_STATUS_LATE) {
        part = strsep(&rest, ":");
        if (!part || !lookup(statuses, COUNT(statuses), part, true, &value)) {
            return false;
        }
        fault->status = (uint16_t)value;
    }
    if (fault->kind == MAILBOX_FAULT_SLOW) {
        part = strsep(&rest, ":");
        if (!part || !duration(part, &fault->delay_ns)) {
            return false;
        }
    }
    while ((part = strsep(&rest, ":")) != NULL) {
        if (!option(part, fault)) {
            return false;
        }
    }
    return true;
}

bool mailbox_parse_fault(const char *text, struct mailbox_fault *fault)
{
    struct mailbox_fault parsed = {0};
    char *copy;
    bool ok;

    if (strcmp(text, "none") == 0) {
        *fault = parsed;
        return true;
    }
    copy = strdup(text);
    ok = copy && parse(copy, &parsed);
    free(copy);
    if (ok) {
        *fault = parsed;
    }
    return ok;
}
