/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Lines on the operator's terminal, and their colour. The caller holds the console lock, but for line_print() and
 * line_clear_screen(), which take it. */
#ifndef SEVISOR_LINE_H
#define SEVISOR_LINE_H

#include "hv/console/history.h"
#include "hv/lib/types.h"

/* SGR parameters, ECMA-48 8.3.117. */
/* clang-format off */
enum line_style {
    LINE_PLAIN = 0,
    LINE_BOLD = 1,
    LINE_RED = 31, LINE_GREEN, LINE_YELLOW, LINE_BLUE, LINE_MAGENTA, LINE_CYAN,
};
/* clang-format on */
#define LINE_STYLE_SIZE 8u

/* Off at first: hv cannot know what is at the other end of the line, and a log file, or a BMC's
 * window that knows no escape sequences, is spoilt by them. While it is off, not one is sent. */
void line_set_colour(bool on);
bool line_has_colour(void);
/* Appends what switches to the style, at most LINE_STYLE_SIZE bytes; returns their number. */
size_t line_put_style(char *text, enum line_style style);

/* What line_write() has written. */
extern struct history line_history;

/* Begins a new line, if the last one is not ended. */
void line_fresh(void);
/* One whole line. No newline in `text`. */
void line_write(enum line_style style, const char *text, size_t length);
/* One whole line of hv's own, from the line's start, without the log's stamp: tables and what tests and guest owners
 * read. No newline in `format`. Takes the console lock. */
void line_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* An empty screen, if the terminal can. Takes the console lock. */
void line_clear_screen(void);

#endif
