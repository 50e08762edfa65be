/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "log.h"

#include "clock.h"
#include "console.h"

#define LOG_LINE 512u
/* Lines about misbehaving guests per second: a guest must not drown the operator's line. */
#define LOG_GUEST_RATE 20u

static const char *const log_names[] = {
    [LOG_FATAL] = "fatal",
    [LOG_ERROR] = "error",
    [LOG_NOTICE] = "notice",
    [LOG_GUEST] = "guest",
    [LOG_DEBUG] = "debug",
};

static uint64_t log_guest_second;
static uint32_t log_guest_lines, log_guest_dropped;

/* True when this line may be printed. */
static bool log_guest_admit(uint64_t now_us)
{
    uint64_t second = now_us / 1000000;
    if (second != log_guest_second) {
        uint32_t dropped = log_guest_dropped;
        log_guest_second = second;
        log_guest_lines = 0;
        log_guest_dropped = 0;
        if (dropped > 0)
            log_print(LOG_NOTICE, "%u lines about guests left out", dropped);
    }
    if (log_guest_lines >= LOG_GUEST_RATE) {
        log_guest_dropped++;
        return false;
    }
    log_guest_lines++;
    return true;
}

static void log_line(enum log_level level, uint64_t us, const char *format, va_list arguments)
{
    char line[LOG_LINE];
    size_t length = text_format(line, sizeof line, "[%5lu.%06lu] %s: ", us / 1000000, us % 1000000, log_names[level]);
    length += text_format_list(line + length, sizeof line - length, format, arguments);
    if (length > sizeof line - 2)
        length = sizeof line - 2;
    line[length++] = '\n';
    if (!console_at_line_start())
        console_write("\n", 1);     /* a guest's prompt stands there */
    console_write(line, length);
}

void log_print(enum log_level level, const char *format, ...)
{
    uint64_t us = clock_now_us();
    va_list arguments;
    va_start(arguments, format);
    console_begin();
    if (level != LOG_GUEST || log_guest_admit(us))
        log_line(level, us, format, arguments);
    console_end();
    va_end(arguments);
}
