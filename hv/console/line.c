/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Lines and colours for the operator's terminal; a line begins at the left margin whatever guests have printed. */
#include "hv/console/line.h"

#include "hv/console/console.h"
#include "hv/lib/text.h"

#define PRINT_SIZE 512u

static bool colour;
static uint8_t kept[HISTORY_SIZE];

struct history line_history = {.bytes = kept};

void line_set_colour(bool on)
{
    colour = on;
}

bool line_has_colour(void)
{
    return colour;
}

size_t line_put_style(char *text, enum line_style style)
{
    return colour ? text_format(text, LINE_STYLE_SIZE, "\033[%um", (uint32_t)style) : 0;
}

static void write_style(enum line_style style)
{
    char text[LINE_STYLE_SIZE];
    console_write(text, line_put_style(text, style));
}

void line_fresh(void)
{
    if (console_at_line_start())
        return;
    write_style(LINE_PLAIN);    /* a guest's prompt may have left it in any colour */
    console_write("\n", 1);
}

void line_write(enum line_style style, const char *text, size_t length)
{
    line_fresh();
    if (style != LINE_PLAIN)
        write_style(style);
    console_write(text, length);
    if (style != LINE_PLAIN)
        write_style(LINE_PLAIN);
    console_write("\n", 1);
    for (size_t i = 0; i < length; i++)
        history_add(&line_history, (uint8_t)text[i]);
    history_add(&line_history, '\n');
}

void line_clear_screen(void)
{
    static const char home_and_erase[] = "\033[H\033[J\n";      /* CUP, ED; at the start of a line again */
    console_begin();
    line_fresh();
    if (colour)
        console_write(home_and_erase, sizeof home_and_erase - 1);
    console_end();
}

void line_print(const char *format, ...)
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
