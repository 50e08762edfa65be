/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Two directions. Output: guests' bytes are gathered to lines, and each line goes
 * out whole with its guest's name before it; what has no newline is shown after a
 * short silence and is then the "open" line, which is continued if nobody wrote in
 * between, and else shown again from its start. Input: bytes go to the attached
 * guest; the escape key makes the next one a command. All input is hostile.
 */
#include "monitor.h"

#include "clock.h"
#include "console.h"
#include "guest.h"
#include "log.h"
#include "report.h"
#include "text.h"

#define NOBODY UINT32_MAX
#define INPUT_PER_POLL 256u         /* a flood waits in the line's own FIFO */
#define SCROLL_LINES 100u
/* Answers to commands, lines per second: what 115200 baud carry. Commands beyond it are
 * obeyed in silence, so that a flood of them cannot keep the console busy. */
#define ANSWER_LINES 150u
#define US_PER_S 1000000u
#define PREFIX_SIZE (MANIFEST_NAME_SIZE + 2u)
#define PRINT_SIZE 512u

enum input_state {
    INPUT_PASS,
    INPUT_COMMAND,          /* after the escape key */
    INPUT_SCROLL_NUMBER,    /* a guest's number is to come */
    INPUT_KILL_NUMBER,
    INPUT_KILL_CONFIRM,
};

static struct monitor {
    uint32_t attached;      /* guest that gets the input, or NOBODY */
    enum input_state input;
    uint32_t victim;        /* INPUT_KILL_CONFIRM */
    bool hinted;            /* said already where stray input goes */
    uint64_t answer_second;
    uint32_t answer_lines;  /* in that second */
    uint32_t open;          /* guest whose unfinished line stands last on the console, or NOBODY */
    uint64_t open_position; /* console_position() then */
    uint64_t unshown;       /* bit per guest: has bytes that the operator has not seen */
} monitor = { .attached = NOBODY, .open = NOBODY };

_Static_assert(GUEST_MAX <= 64, "one bit per guest");
_Static_assert((VUART_HISTORY & (VUART_HISTORY - 1)) == 0, "the ring's index wraps with its counter");

void monitor_init(void)
{
    monitor = (struct monitor){ .attached = NOBODY, .open = NOBODY };
}

/* ---- output ---- */

static bool line_is_open(uint32_t guest)
{
    return monitor.open == guest && monitor.open_position == console_position();
}

static void fresh_line(void)
{
    if (!console_at_line_start())
        console_write("\n", 1);
    monitor.open = NOBODY;
}

void monitor_print(const char *format, ...)
{
    char line[PRINT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    size_t length = text_format_list(line, sizeof line - 1, format, arguments);
    va_end(arguments);
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    console_begin();
    fresh_line();
    console_write(line, length);
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

/* Shows what the operator has not seen of the guest's line; `complete`: and ends it. */
static void show_line(uint32_t guest, bool complete)
{
    struct vuart *uart = &guests[guest].uart;
    char text[PREFIX_SIZE + VUART_LINE + 1];
    size_t length = 0;
    bool raw = monitor.attached == guest;

    if (line_is_open(guest)) {
        length = append(text, 0, uart->line + uart->line_shown, uart->line_length - uart->line_shown, raw);
    } else {
        fresh_line();
        const char *name = guests[guest].config != NULL ? guests[guest].config->name : "?";
        length = text_format(text, PREFIX_SIZE + 1, "%s| ", name);
        if (length > PREFIX_SIZE)
            length = PREFIX_SIZE;
        length = append(text, length, uart->line, uart->line_length, raw);
    }
    if (complete)
        text[length++] = '\n';
    console_write(text, length);

    uart->line_shown = uart->line_length;
    monitor.unshown &= ~(UINT64_C(1) << guest);
    monitor.open = complete ? NOBODY : guest;
    monitor.open_position = console_position();
    if (complete || uart->line_length == VUART_LINE)
        uart->line_length = uart->line_shown = 0;   /* a longer line goes on as the open line */
}

static void take_output(uint32_t guest, uint8_t byte)
{
    struct vuart *uart = &guests[guest].uart;
    uart->history[uart->history_total++ % VUART_HISTORY] = byte;
    if (byte == '\n') {
        show_line(guest, true);
        return;
    }
    if (byte == '\r' || byte == 0)
        return;
    uart->line[uart->line_length++] = byte;
    uart->line_tsc = clock_tsc();
    monitor.unshown |= UINT64_C(1) << guest;
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

static void show_prompts(void)
{
    uint64_t now = clock_tsc(), silence = clock_us_to_tsc(MONITOR_PROMPT_US);
    for (uint64_t left = monitor.unshown; left != 0; left &= left - 1) {
        uint32_t guest = (uint32_t)__builtin_ctzll(left);
        if (now - guests[guest].uart.line_tsc >= silence)
            show_line(guest, false);
    }
}

/* The last lines of what the guest printed, also after its end. */
static void scroll_back(uint32_t guest)
{
    const struct vuart *uart = &guests[guest].uart;
    uint64_t end = uart->history_total, start = end > VUART_HISTORY ? end - VUART_HISTORY : 0;
    uint64_t from = end;
    uint32_t newlines = 0;
    while (from > start && newlines <= SCROLL_LINES) {
        from--;
        newlines += uart->history[from % VUART_HISTORY] == '\n';
    }
    if (newlines > SCROLL_LINES)
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

/* ---- input ---- */

/* Whether an answer of so many lines may be given now. */
static bool may_answer(uint32_t lines)
{
    uint64_t second = clock_now_us() / US_PER_S;
    if (second != monitor.answer_second) {
        monitor.answer_second = second;
        monitor.answer_lines = 0;
    }
    if (monitor.answer_lines >= ANSWER_LINES)
        return false;
    monitor.answer_lines += lines;
    return true;
}

static void answer(const char *text)
{
    if (may_answer(1))
        monitor_print("monitor: %s", text);
}

static void answer_about(uint32_t guest, const char *text)
{
    if (may_answer(1))
        monitor_print("monitor: %s %s", guests[guest].config->name, text);
}

static bool is_alive(uint32_t guest)
{
    return guests[guest].state == GUEST_LAUNCHING || guests[guest].state == GUEST_RUNNING;
}

/* '1'..'9': the guest's place in the manifest. */
static bool guest_of_digit(uint8_t digit, uint32_t *guest)
{
    if (digit < '1' || digit > '9' || guests[digit - '1'].config == NULL) {
        answer("no guest has that number (Ctrl-] l lists them)");
        return false;
    }
    *guest = digit - (uint32_t)'1';
    return true;
}

static void attach(uint32_t guest)
{
    if (!is_alive(guest)) {
        answer_about(guest, "does not run");
        return;
    }
    monitor.attached = guest;
    answer_about(guest, "is attached (Ctrl-] 0 detaches)");
}

static void attach_next(void)
{
    uint32_t start = monitor.attached == NOBODY ? GUEST_MAX - 1 : monitor.attached;
    for (uint32_t i = 1; i <= GUEST_MAX; i++) {
        uint32_t guest = (start + i) % GUEST_MAX;
        if (guests[guest].config != NULL && is_alive(guest)) {
            attach(guest);
            return;
        }
    }
    answer("no guest runs");
}

static void detach(void)
{
    monitor.attached = NOBODY;
    monitor.hinted = false;
    answer("detached");
}

static void ask_to_kill(uint32_t guest)
{
    if (!is_alive(guest)) {
        answer_about(guest, "does not run");
        return;
    }
    monitor.victim = guest;
    monitor.input = INPUT_KILL_CONFIRM;
    answer_about(guest, "will be ended by y, and by no other key");
}

static void help(void)
{
    if (!may_answer(6))
        return;
    monitor_print("monitor: the escape key is Ctrl-], followed by");
    monitor_print("  1-9  attach to the guest with that number    n  attach to the next guest that runs");
    monitor_print("  0    detach                                  l  list the guests");
    monitor_print("  s    last lines of the attached guest; s and a number when detached");
    monitor_print("  k    end the attached guest; k and a number when detached");
    monitor_print("  ?    this text                               ]  send Ctrl-] to the guest");
}

static void show_history(uint32_t guest)
{
    if (may_answer(SCROLL_LINES))
        scroll_back(guest);
}

static void pass_to_guest(uint8_t byte)
{
    if (monitor.attached != NOBODY) {
        guest_input(&guests[monitor.attached], byte);
    } else if (!monitor.hinted) {
        monitor.hinted = true;
        answer("no guest is attached; Ctrl-] ? for help");
    }
}

static void command(uint8_t byte)
{
    uint32_t guest;
    monitor.input = INPUT_PASS;
    switch (byte) {
    case '?':
    case 'h':
        help();
        break;
    case 'l':
        if (may_answer(GUEST_MAX))
            report_guests();
        break;
    case '0':
        detach();
        break;
    case 'n':
        attach_next();
        break;
    case 's':
        if (monitor.attached != NOBODY)
            show_history(monitor.attached);
        else
            monitor.input = INPUT_SCROLL_NUMBER;
        break;
    case 'k':
        if (monitor.attached != NOBODY)
            ask_to_kill(monitor.attached);
        else
            monitor.input = INPUT_KILL_NUMBER;
        break;
    case ']':
        pass_to_guest(MONITOR_ESCAPE);
        break;
    default:
        if (byte >= '1' && byte <= '9') {
            if (guest_of_digit(byte, &guest))
                attach(guest);
        } else {
            answer("unknown command; Ctrl-] ? for help");
        }
        break;
    }
}

static void take_input(uint8_t byte)
{
    uint32_t guest;
    enum input_state state = monitor.input;
    if (byte == MONITOR_ESCAPE) {
        monitor.input = INPUT_COMMAND;      /* from any state: who types it knows where he is */
        return;
    }
    monitor.input = INPUT_PASS;
    switch (state) {
    case INPUT_COMMAND:
        command(byte);
        break;
    case INPUT_SCROLL_NUMBER:
        if (guest_of_digit(byte, &guest))
            show_history(guest);
        break;
    case INPUT_KILL_NUMBER:
        if (guest_of_digit(byte, &guest))
            ask_to_kill(guest);
        break;
    case INPUT_KILL_CONFIRM:
        if (byte == 'y' && is_alive(monitor.victim))
            guest_end(&guests[monitor.victim], GUEST_END_DESTROYED, "ended by the operator");
        else
            answer("nothing was ended");
        break;
    case INPUT_PASS:
    default:
        pass_to_guest(byte);
        break;
    }
}

void monitor_poll(void)
{
    for (uint32_t i = 0; i < INPUT_PER_POLL; i++) {
        int byte = console_read();
        if (byte < 0)
            break;
        take_input((uint8_t)byte);
    }
    console_begin();
    show_prompts();
    console_end();
}

void monitor_guest_ended(uint32_t guest, bool for_good)
{
    struct vuart *uart = &guests[guest].uart;
    console_begin();
    if (uart->line_length > 0)
        show_line(guest, true);
    console_end();
    if (for_good && monitor.attached == guest)
        detach();
}
