/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* gdb's XML documents of guests (GDB manual, appendix E.12 and E.20): the tables of `info os`, and threads. */
#include "guest/control/tables.h"

#include "guest/control/ask.h"
#include "guest/control/guests.h"
#include "guest/control/status.h"

void tables_thread_id(struct text *text, uint32_t guest, uint32_t vcpu)
{
    text_char(text, 'p');
    text_hex(text, guest + 1u);
    text_char(text, '.');
    text_hex(text, vcpu + 1u);
}

static void escaped(struct text *text, const char *value, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (value[i] == '<')
            text_add(text, "&lt;");
        else if (value[i] == '>')
            text_add(text, "&gt;");
        else if (value[i] == '&')
            text_add(text, "&amp;");
        else if (value[i] == '"')
            text_add(text, "&quot;");
        else
            text_char(text, value[i] >= ' ' ? value[i] : ' ');
    }
}

static void column(struct text *text, const char *name, const char *value, size_t length)
{
    text_add(text, "<column name=\"");
    text_add(text, name);
    text_add(text, "\">");
    escaped(text, value, length);
    text_add(text, "</column>");
}

static void words_column(struct text *text, const char *name, const char *value)
{
    column(text, name, value, text_length(value));
}

static void number_column(struct text *text, const char *name, uint64_t value)
{
    char digits[24];
    struct text number = {.at = digits, .size = sizeof(digits)};

    text_number(&number, value);
    column(text, name, digits, number.length);
}

static void guest_item(struct text *text, uint32_t guest)
{
    struct control_guest info;
    char digits[24];
    struct text policy = {.at = digits, .size = sizeof(digits)};

    if (ask_guest_info(guest, &info) != CONTROL_OK)
        return;
    text_add(&policy, "0x");
    text_hex(&policy, info.policy);
    text_add(text, "<item>");
    number_column(text, "Guest", guest + 1u);
    column(text, "Name", info.name, text_field_length(info.name, sizeof(info.name)));
    words_column(text, "State", guests_state_name(info.state));
    words_column(text, "Encryption", guests_encryption_name(info.encryption));
    number_column(text, "vCPUs", info.vcpus);
    number_column(text, "Memory", info.memory);
    column(text, "Policy", digits, policy.length);
    number_column(text, "ASID", info.asid);
    number_column(text, "Launches", info.launches);
    text_add(text, "</item>\n");
}

static void guests_table(struct text *text)
{
    uint32_t count = guests_count();

    for (uint32_t guest = 0; guest < count; guest++)
        guest_item(text, guest);
}

/* The lines of /platform/status. */
static void platform_table(struct text *text)
{
    struct control_platform platform;
    char lines[2048];
    struct text status = {.at = lines, .size = sizeof(lines)};

    ask_platform_info(&platform);
    status_platform(&status, &platform);
    for (size_t at = 0; at < status.length;) {
        size_t end = at, colon;

        while (lines[end] != '\n')
            end++;
        for (colon = at; lines[colon] != ':';)
            colon++;
        text_add(text, "<item>");
        column(text, "Key", lines + at, colon - at);
        column(text, "Value", lines + colon + 2, end - colon - 2);
        text_add(text, "</item>\n");
        at = end + 1;
    }
}

static void list(struct text *text)
{
    static const char *const tables[][3] = {
        {"guests", "guests of the manifest: a process each, attach to the number", "Guests"},
        {"platform", "the SEV platform and the hypervisor", "Platform"},
    };

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        text_add(text, "<item>");
        words_column(text, "Type", tables[i][0]);
        words_column(text, "Description", tables[i][1]);
        words_column(text, "Title", tables[i][2]);
        text_add(text, "</item>\n");
    }
}

bool tables_osdata(struct text *text, struct cursor annex)
{
    static const struct {
        const char *annex, *type;
        void (*fill)(struct text *text);
    } tables[] = {
        {"", "types", list},
        {"guests", "guests", guests_table},
        {"platform", "platform", platform_table},
    };

    for (size_t i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
        struct cursor cursor = annex;

        if (!cursor_word(&cursor, tables[i].annex) || cursor_left(&cursor) != 0)
            continue;
        text_add(text, "<?xml version=\"1.0\"?>\n<!DOCTYPE osdata SYSTEM \"osdata.dtd\">\n<osdata type=\"");
        text_add(text, tables[i].type);
        text_add(text, "\">\n");
        tables[i].fill(text);
        text_add(text, "</osdata>\n");
        return true;
    }
    return false;
}

static void thread(struct text *text, const struct control_guest *info, uint32_t guest, uint32_t index)
{
    static const char *const states[] = {"runnable", "halted", "waits for STARTUP"};
    struct control_vcpu vcpu;
    bool known = ask_vcpu_get(guest, index, &vcpu) == CONTROL_OK;

    text_add(text, "<thread id=\"");
    tables_thread_id(text, guest, index);
    if (known) {
        text_add(text, "\" core=\"");
        text_number(text, vcpu.cpu);
    }
    text_add(text, "\" name=\"");
    escaped(text, info->name, text_field_length(info->name, sizeof(info->name)));
    text_add(text, "\">");
    text_add(text, guests_state_name(info->state));
    if (known && vcpu.state < sizeof(states) / sizeof(states[0])) {
        text_add(text, ", ");
        text_add(text, states[vcpu.state]);
    }
    text_add(text, "</thread>\n");
}

void tables_threads(struct text *text, const uint8_t *attached, uint32_t guests)
{
    text_add(text, "<?xml version=\"1.0\"?>\n<threads>\n");
    for (uint32_t guest = 0; guest < guests; guest++) {
        struct control_guest info;

        if (attached[guest] == 0 || ask_guest_info(guest, &info) != CONTROL_OK)
            continue;
        for (uint32_t vcpu = 0; vcpu < info.vcpus; vcpu++)
            thread(text, &info, guest, vcpu);
    }
    text_add(text, "</threads>\n");
}
