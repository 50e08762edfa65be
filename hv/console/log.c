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

static void log_write(enum log_level level, uint64_t us, const char *text)
{
    char line[LOG_LINE];
    size_t length =
        text_format(line, sizeof(line), "[%5lu.%06lu] %s: %s", us / 1000000, us % 1000000, log_names[level], text);
    line_write(line, length < sizeof(line) ? length : sizeof(line) - 1);
}

/* True when this line may be printed. */
static bool log_guest_admit(uint64_t now_us)
{
    char text[64];
    uint32_t left_out;
    bool admitted = rate_admit(&printed.guests, now_us, 1000000, LOG_GUEST_RATE, 1, &left_out) > 0;
    if (left_out > 0) {
        text_format(text, sizeof(text), "%u lines about guests left out", left_out);
        log_write(LOG_NOTICE, now_us, text);
    }
    return admitted;
}

void log_print(enum log_level level, const char *format, ...)
{
    char text[LOG_LINE];
    uint64_t us = clock_now_us();
    va_list arguments;
    va_start(arguments, format);
    text_format_list(text, sizeof(text), format, arguments);
    va_end(arguments);
    console_begin();
    bool counted = level == LOG_GUEST_COUNTED;
    if (counted)
        level = LOG_GUEST;
    if (level > printed.level)
        printed.left_out++;
    else if (level != LOG_GUEST || counted || log_guest_admit(us))
        log_write(level, us, text);
    console_end();
}

const char *log_change_level(bool more, uint64_t *left_out)
{
    if (more && printed.level < LOG_DEBUG)
        printed.level++;
    else if (!more && printed.level > LOG_FATAL)
        printed.level--;
    *left_out = printed.left_out;
    return log_names[printed.level];
}
