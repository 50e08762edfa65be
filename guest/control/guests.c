/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guests by name, the words that start and stop them, and names for their states. */
#include "guest/control/guests.h"

#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/text.h"
#include "guest/manifest_format.h"

uint32_t guests_count(void)
{
    struct control_platform platform;

    if (ask_platform_info(&platform) != CONTROL_OK)
        return 0;
    return platform.guests < MANIFEST_MAX_GUESTS ? platform.guests : MANIFEST_MAX_GUESTS;
}

bool guests_find(const char *name, size_t length, uint32_t *guest)
{
    uint32_t count = guests_count();

    for (*guest = 0; *guest < count; ++*guest) {
        struct control_guest info;

        if (ask_guest_info(*guest, &info) == CONTROL_OK && text_field_length(info.name, sizeof(info.name)) == length &&
            memcmp(info.name, name, length) == 0)
            return true;
    }
    ask_refuse("no guest has this name: `monitor list` or `info os guests` has those of the manifest");
    return false;
}

static const struct {
    const char *word;
    enum control_operation operation;
} commands[] = {
    {"launch", CONTROL_LAUNCH}, {"end", CONTROL_END},         {"pause", CONTROL_PAUSE},
    {"resume", CONTROL_RESUME}, {"receive", CONTROL_RECEIVE},
};

bool guests_is_command(const char *word, size_t length, enum control_operation *operation)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (text_length(commands[i].word) == length && memcmp(commands[i].word, word, length) == 0) {
            *operation = commands[i].operation;
            return true;
        }
    }
    return false;
}

uint32_t guests_command(enum control_operation operation, uint32_t guest)
{
    struct control_platform platform;
    struct control_guest info;

    if (operation == CONTROL_RESUME && ask_guest_info(guest, &info) == CONTROL_OK &&
        info.state == CONTROL_STATE_RECEIVING) {
        ask_refuse("this guest came from elsewhere, where it may still run: `yours` lets it run here");
        return CONTROL_STATE;
    }
    if (operation == CONTROL_PAUSE || operation == CONTROL_END) {
        if (ask_platform_info(&platform) != CONTROL_OK)
            return ASK_NO_ANSWER;
        if (platform.self == guest) {
            ask_refuse("this is the control guest itself");
            return CONTROL_STATE;
        }
    }
    return ask_guest(operation, guest);
}

const char *guests_state_name(uint32_t state)
{
    static const char *const names[] = {"none",   "launching", "session", "held",    "running",
                                        "paused", "ending",    "ended",   "refused", "receiving"};

    return state < sizeof(names) / sizeof(names[0]) ? names[state] : "unknown";
}

const char *guests_encryption_name(uint32_t encryption)
{
    static const char *const names[] = {"none", "host", "sev"};

    return encryption < sizeof(names) / sizeof(names[0]) ? names[encryption] : "unknown";
}

bool guests_has_sev(const struct control_guest *info)
{
    return info->encryption == MANIFEST_ENCRYPTION_SEV;
}
