/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Lines on the operator's terminal; a line begins at the left margin whatever guests have printed. */
#include "hv/console/line.h"

#include "hv/console/console.h"
#include "hv/lib/text.h"

#define PRINT_SIZE 512u

static uint8_t kept[HISTORY_SIZE];

struct history line_history = {.bytes = kept};

void line_fresh(void)
{
    if (!console_at_line_start())
        console_write("\n", 1);
}

void line_write(const char *text, size_t length)
{
    line_fresh();
    console_write(text, length);
    console_write("\n", 1);
    for (size_t i = 0; i < length; i++)
        history_add(&line_history, (uint8_t)text[i]);
    history_add(&line_history, '\n');
}

void line_print(const char *format, ...)
{
    char text[PRINT_SIZE];
    va_list arguments;
    va_start(arguments, format);
    size_t length = text_format_list(text, sizeof(text), format, arguments);
    va_end(arguments);
    console_begin();
    line_write(text, length < sizeof(text) ? length : sizeof(text) - 1);
    console_end();
}
