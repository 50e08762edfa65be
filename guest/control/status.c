/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The texts of /platform/status and /guest/NAME/status: a line a field, `key: value`. */
#include "guest/control/status.h"

#include "guest/control/guests.h"

static void key(struct text *text, const char *name)
{
    text_add(text, name);
    text_add(text, ": ");
}

static void words(struct text *text, const char *name, const char *value)
{
    key(text, name);
    text_add(text, value);
    text_char(text, '\n');
}

/* Of hv, which may fill it up to the last byte; a line stays a line. */
static void field(struct text *text, const char *name, const char *value, size_t size)
{
    size_t length = text_field_length(value, size);

    key(text, name);
    for (size_t i = 0; i < length; i++)
        text_char(text, value[i] >= ' ' ? value[i] : ' ');
    text_char(text, '\n');
}

static void number(struct text *text, const char *name, uint64_t value)
{
    key(text, name);
    text_number(text, value);
    text_char(text, '\n');
}

static void hex(struct text *text, const char *name, uint64_t value)
{
    key(text, name);
    text_add(text, "0x");
    text_hex(text, value);
    text_char(text, '\n');
}

static void bytes(struct text *text, const char *name, const void *value, size_t size)
{
    key(text, name);
    text_hex_bytes(text, value, size);
    text_char(text, '\n');
}

static const char *name_of(const char *const *names, size_t count, uint32_t value)
{
    return value < count ? names[value] : "unknown";
}

void status_platform(struct text *text, const struct control_platform *platform)
{
    static const char *const states[] = {"uninit", "init", "working"};

    number(text, "version", platform->version);
    number(text, "guests", platform->guests);
    number(text, "self", platform->self);
    number(text, "cpus", platform->cpus);
    key(text, "api");
    text_number(text, platform->api_major);
    text_char(text, '.');
    text_number(text, platform->api_minor);
    text_char(text, '\n');
    number(text, "build", platform->build);
    words(text, "state", name_of(states, sizeof(states) / sizeof(states[0]), platform->state));
    words(text, "owner", platform->owner != 0 ? "external" : "self");
    words(text, "sev-ready", platform->sev_ready != 0 ? "yes" : "no");
    number(text, "asids", platform->asids);
    number(text, "asids-used", platform->asids_used);
    number(text, "tsc-khz", platform->tsc_khz);
    number(text, "tsc", platform->tsc);
    number(text, "memory", platform->memory);
    number(text, "memory-free", platform->memory_free);
    number(text, "commands", platform->commands);
    number(text, "command-us", platform->command_us);
    field(text, "refusal", platform->refusal, sizeof(platform->refusal));
}

static void progress(struct text *text, const struct control_guest *info)
{
    static const char *const ends[] = {"none", "poweroff", "reset", "crash", "destroyed", "refused"};
    static const char *const phases[] = {"memory", "copy", "launch-start", "launch-update", "measured", "finished"};

    number(text, "launches", info->launches);
    words(text, "end", name_of(ends, sizeof(ends) / sizeof(ends[0]), info->end));
    words(text, "phase", name_of(phases, sizeof(phases) / sizeof(phases[0]), info->phase));
    hex(text, "flags", info->flags);
    number(text, "memory", info->memory);
    number(text, "done", info->done);
    number(text, "total", info->total);
}

void status_guest(struct text *text, uint32_t index, const struct control_guest *info)
{
    field(text, "name", info->name, sizeof(info->name));
    number(text, "index", index);
    words(text, "state", guests_state_name(info->state));
    words(text, "encryption", guests_encryption_name(info->encryption));
    number(text, "vcpus", info->vcpus);
    hex(text, "policy", info->policy);
    number(text, "asid", info->asid);
    number(text, "handle", info->handle);
    progress(text, info);
    hex(text, "secret-gpa", info->secret_gpa);
    number(text, "secret-size", info->secret_size);
    number(text, "commands", info->commands);
    number(text, "run-tsc", info->run_tsc);
    number(text, "alive-tsc", info->alive_tsc);
    text_add(text, "exits:");
    for (size_t i = 0; i < sizeof(info->exits) / sizeof(info->exits[0]); i++) {
        text_char(text, ' ');
        text_number(text, info->exits[i]);
    }
    text_char(text, '\n');
    number(text, "console-first", info->console_first);
    number(text, "console-end", info->console_end);
    bytes(text, "digest", info->digest, sizeof(info->digest));
    bytes(text, "measure", info->measure, sizeof(info->measure));
    bytes(text, "mnonce", info->mnonce, sizeof(info->mnonce));
    field(text, "end-reason", info->end_reason, sizeof(info->end_reason));
}
