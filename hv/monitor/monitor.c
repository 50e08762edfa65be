/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Output. Guests' bytes are gathered to lines, and each line goes out whole with its guest's
 * name before it; what has no newline is shown after a short silence and is then the "open" line,
 * which is continued if nobody wrote in between, and else shown again from its start.
 */
#include "hv/monitor/monitor.h"

#include "hv/console/console.h"
#include "hv/console/line.h"
#include "hv/cpu/clock.h"
#include "hv/lib/text.h"
#include "hv/monitor/monitor_view.h"
#include "hv/vm/guest.h"

#define PREFIX_SIZE (MANIFEST_NAME_SIZE + 2u)
#define PRINT_SIZE 512u
#define LOST_SIZE sizeof " [4294967295 bytes lost]"

static struct {
    uint32_t attached;      /* guest that gets the input, or MONITOR_NOBODY */
    uint32_t open;          /* guest whose unfinished line stands last on the console, or MONITOR_NOBODY */
    uint64_t open_position; /* console_position() then */
    uint32_t unshown;       /* guests with bytes that the operator has not seen */
} output = { .attached = MONITOR_NOBODY, .open = MONITOR_NOBODY };

_Static_assert((VUART_HISTORY & (VUART_HISTORY - 1)) == 0, "the ring's index wraps with its counter");

void monitor_init(void)
{
    output.attached = output.open = MONITOR_NOBODY;
    output.unshown = 0;
    line_set_colour(false);
    monitor_input_init();
    monitor_view_init();
}

static bool line_is_open(uint32_t guest)
{
    return output.open == guest && output.open_position == console_position();
}

void monitor_print(const char *format, ...)
{
    char text[PRINT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    size_t length = text_format_list(text, sizeof text, format, arguments);
    va_end(arguments);
    console_begin();
    line_write(LINE_PLAIN, text, length < sizeof text ? length : sizeof text - 1);
    console_end();
}

/* A guest must not steer the operator's terminal, nor forge another guest's lines. Who
 * attaches to it asks for its escape sequences; line ends are ours in any case. */
static bool passes(uint8_t byte, bool raw)
{
    if ((byte >= 0x20 && byte < 0x7f) || byte == '\t')
        return true;
    return raw && (byte == '\b' || byte == '\a' || byte == 0x1b || byte >= 0x80);
}

static size_t append(char *text, size_t length, const uint8_t *bytes, uint32_t count, bool raw)
{
    for (uint32_t i = 0; i < count; i++) {
        if (passes(bytes[i], raw))
            text[length++] = (char)bytes[i];
        else if (bytes[i] >= 0x80)
            text[length++] = '?';
    }
    return length;
}

/* The name alone is coloured: the text is the guest's, which may have colours of its own. */
static size_t put_prefix(char *text, uint32_t guest)
{
    static const uint8_t colours[] = {LINE_GREEN, LINE_YELLOW, LINE_CYAN, LINE_MAGENTA, LINE_BLUE, LINE_RED};
    const char *name = guests[guest].config != NULL ? guests[guest].config->name : "?";
    size_t length = line_put_style(text, colours[guest % sizeof colours]);
    size_t needed = text_format(text + length, PREFIX_SIZE + 1, "%s| ", name);
    length += needed < PREFIX_SIZE ? needed : PREFIX_SIZE;
    return length + line_put_style(text + length, LINE_PLAIN);
}

static bool is_unshown(const struct vuart *uart)
{
    return uart->line_length > uart->line_shown;
}

/* Shows what the operator has not seen of the guest's line; `complete`: and ends it. */
static void show_line(uint32_t guest, bool complete)
{
    struct vuart *uart = &guests[guest].uart;
    char text[PREFIX_SIZE + 1 + VUART_LINE + 3 * LINE_STYLE_SIZE + LOST_SIZE];
    size_t length = 0;
    bool raw = output.attached == guest;
    uint32_t lost = complete ? __atomic_exchange_n(&uart->lost, 0, __ATOMIC_RELAXED) : 0;

    console_set_owner(guest + 1);
    if (line_is_open(guest)) {
        length = append(text, 0, uart->line + uart->line_shown, uart->line_length - uart->line_shown, raw);
    } else {
        line_fresh();
        length = put_prefix(text, guest);
        length = append(text, length, uart->line, uart->line_length, raw);
    }
    if (complete) {
        length += line_put_style(text + length, LINE_PLAIN);
        if (lost > 0)
            length += text_format(text + length, LOST_SIZE, " [%u bytes lost]", lost);
        text[length++] = '\n';
    }
    console_write(text, length);
    console_set_owner(0);

    output.unshown -= is_unshown(uart);
    uart->line_shown = uart->line_length;
    output.open = complete ? MONITOR_NOBODY : guest;
    output.open_position = console_position();
    if (complete || uart->line_length == VUART_LINE)
        uart->line_length = uart->line_shown = 0;   /* a longer line goes on as the open line */
}

static void take_output(uint32_t guest, uint8_t byte)
{
    struct vuart *uart = &guests[guest].uart;
    if (uart->history != NULL)
        uart->history[uart->history_total++ % VUART_HISTORY] = byte;
    if (byte == '\n') {
        show_line(guest, true);
        return;
    }
    if (byte == '\r' || byte == 0)
        return;
    output.unshown += !is_unshown(uart);
    uart->line[uart->line_length++] = byte;
    uart->line_tsc = clock_tsc();
    if (uart->line_length == VUART_LINE)
        show_line(guest, false);
}

void monitor_guest_output(uint32_t guest, uint8_t byte)
{
    if (guest >= GUEST_MAX)
        return;
    console_begin();
    take_output(guest, byte);
    console_end();
}

void monitor_show_prompts(void)
{
    if (__atomic_load_n(&output.unshown, __ATOMIC_RELAXED) == 0)
        return;
    console_begin();
    uint64_t now = clock_tsc(), silence = clock_us_to_tsc(MONITOR_PROMPT_US);
    for (uint32_t guest = 0, count = guest_count(); guest < count; guest++) {
        if (is_unshown(&guests[guest].uart) && now - guests[guest].uart.line_tsc >= silence)
            show_line(guest, false);
    }
    console_end();
}

void monitor_guest_ended(uint32_t guest, bool for_good)
{
    static const char detached[] = "monitor: the attached guest has ended: detached";
    uint32_t unread = vuart_forget_input(&guests[guest].uart);
    monitor_tell_losses();
    if (unread > 0)
        monitor_print("monitor: %s ended without reading the last %u bytes of input", guests[guest].config->name, unread);
    console_begin();
    if (guests[guest].uart.line_length > 0)
        show_line(guest, true);
    if (for_good && output.attached == guest) {
        output.attached = MONITOR_NOBODY;
        line_write(LINE_PLAIN, detached, sizeof detached - 1);
    }
    console_end();
}

void monitor_attach(uint32_t guest)
{
    output.attached = guest;
}

uint32_t monitor_attached(void)
{
    return output.attached;
}

void monitor_clear_screen(void)
{
    console_begin();
    line_clear_screen();
    console_end();
}

/* Line by line, so that others' output is not held up; what the guest adds meanwhile is left out. */
void monitor_scroll_back(uint32_t guest)
{
    const struct vuart *uart = &guests[guest].uart;
    uint64_t end = uart->history_total, start = end > VUART_HISTORY ? end - VUART_HISTORY : 0;
    uint64_t from = end;
    uint32_t newlines = 0;
    while (from > start && newlines <= MONITOR_SCROLL_LINES) {
        from--;
        newlines += uart->history[from % VUART_HISTORY] == '\n';
    }
    if (newlines > MONITOR_SCROLL_LINES)
        from++;

    const char *name = guests[guest].config->name;
    monitor_print("--- what %s printed last ---", name);
    char text[VUART_LINE + 1];
    size_t length = 0;
    for (; from < end; from++) {
        uint8_t byte = uart->history[from % VUART_HISTORY];
        if (byte != '\n')
            length = append(text, length, &byte, 1, false);
        if ((byte == '\n' || length == VUART_LINE || from + 1 == end) && (byte == '\n' || length > 0)) {
            text[length] = '\0';
            monitor_print("%s: %s", name, text);
            length = 0;
        }
    }
    monitor_print("--- end of %s's last lines ---", name);
}
