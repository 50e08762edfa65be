/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* One line per message, with the time and the level; what a guest causes is limited in rate. */
#include "hv/console/log.h"

#include "hv/console/console.h"
#include "hv/console/line.h"
#include "hv/cpu/clock.h"
#include "hv/lib/rate.h"
#include "hv/lib/text.h"

#define LOG_LINE 512u
/* Lines about misbehaving guests per second: a guest must not drown the operator's line. */
#define LOG_GUEST_RATE 20u

static const char *const log_names[] = {
    [LOG_FATAL] = "fatal", [LOG_ERROR] = "error", [LOG_NOTICE] = "notice", [LOG_GUEST] = "guest", [LOG_DEBUG] = "debug",
};

static struct {
    enum log_level level;       /* of what is printed, the highest */
    uint64_t left_out;          /* lines above it */
    struct rate guests;         /* of lines about them */
} printed = {.level = LOG_GUEST};

static void log_write(enum log_level level, uint64_t us, const char *format, va_list arguments)
{
    char line[LOG_LINE];
    size_t length = text_format(line, sizeof line, "[%5lu.%06lu] %s: ", us / 1000000, us % 1000000, log_names[level]);
    length += text_format_list(line + length, sizeof line - length, format, arguments);
    if (length > sizeof line - 1)
        length = sizeof line - 1;
    line_write(level <= LOG_ERROR ? LINE_BOLD : LINE_PLAIN, line, length);
}

__attribute__((format(printf, 2, 3))) static void log_notice(uint64_t us, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    log_write(LOG_NOTICE, us, format, arguments);
    va_end(arguments);
}

/* True when this line may be printed. */
static bool log_guest_admit(uint64_t now_us)
{
    uint32_t left_out;
    bool admitted = rate_admit(&printed.guests, now_us, 1000000, LOG_GUEST_RATE, 1, &left_out) > 0;
    if (left_out > 0)
        log_notice(now_us, "%u lines about guests left out", left_out);
    return admitted;
}

void log_print(enum log_level level, const char *format, ...)
{
    uint64_t us = clock_now_us();
    va_list arguments;
    va_start(arguments, format);
    console_begin();
    bool counted = level == LOG_GUEST_COUNTED;
    if (counted)
        level = LOG_GUEST;
    if (level > printed.level)
        printed.left_out++;
    else if (level != LOG_GUEST || counted || log_guest_admit(us))
        log_write(level, us, format, arguments);
    console_end();
    va_end(arguments);
}

void log_set_level(enum log_level level)
{
    printed.level = level;
}

enum log_level log_level(uint64_t *left_out)
{
    *left_out = printed.left_out;
    return printed.level;
}

const char *log_level_name(enum log_level level)
{
    return log_names[level];
}
