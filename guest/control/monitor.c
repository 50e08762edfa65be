/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What people type behind `monitor` in gdb. Failures are told in the text: an error would end gdb's script. */
#include "guest/control/monitor.h"

#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/guests.h"

static void help(struct text *text)
{
    text_add(text, "monitor list          guests, with their states\n"
                   "monitor launch NAME   end, pause, resume likewise\n"
                   "monitor why           the reason of the last refusal\n"
                   "info os guests        the same as a table; attach to the number\n"
                   "remote get, put       objects: /platform/status, /log, /guest/NAME/status, and others\n");
}

static void padded(struct text *text, const char *word, size_t length, size_t width)
{
    text_bytes(text, word, length);
    do
        text_char(text, ' ');
    while (++length < width);
}

static void list(struct text *text)
{
    uint32_t count = guests_count();

    for (uint32_t guest = 0; guest < count; guest++) {
        struct control_guest info;
        const char *state, *encryption;

        if (ask_guest_info(guest, &info) != CONTROL_OK)
            continue;
        state = guests_state_name(info.state);
        encryption = guests_encryption_name(info.encryption);
        text_number(text, guest + 1u);
        text_char(text, ' ');
        padded(text, info.name, text_field_length(info.name, sizeof(info.name)), 20);
        padded(text, state, text_length(state), 12);
        padded(text, encryption, text_length(encryption), 6);
        text_number(text, info.memory >> 20);
        text_add(text, " MiB\n");
    }
}

static void error(struct text *text)
{
    text_add(text, "error: ");
    text_add(text, ask_why());
    text_char(text, '\n');
}

static void why(struct text *text)
{
    text_add(text, ask_why());
    text_char(text, '\n');
}

/* A word that starts or stops the guest that is named behind it. */
static void life(struct text *text, const char *command, size_t length)
{
    enum control_operation operation;
    const char *space = memchr(command, ' ', length);
    size_t word = space != NULL ? (size_t)(space - command) : length;
    uint32_t guest;

    if (!guests_is_command(command, word, &operation)) {
        text_add(text, "error: no such command; monitor help lists them\n");
        return;
    }
    if (space == NULL) {
        text_add(text, "error: the guest's name is missing\n");
        return;
    }
    while (word < length && command[word] == ' ')
        word++;
    if (!guests_find(command + word, length - word, &guest) || guests_command(operation, guest) != CONTROL_OK)
        error(text);
}

void monitor_command(struct text *text, const char *command, size_t length)
{
    static const struct {
        const char *word;
        void (*tell)(struct text *text);
    } commands[] = {{"help", help}, {"list", list}, {"why", why}};

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (text_length(commands[i].word) == length && memcmp(commands[i].word, command, length) == 0) {
            commands[i].tell(text);
            return;
        }
    }
    life(text, command, length);
}
