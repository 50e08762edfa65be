/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Lines on the operator's terminal. The caller holds the console lock, but for line_print(), which takes it. */
#ifndef SEVISOR_LINE_H
#define SEVISOR_LINE_H

#include "hv/console/history.h"
#include "hv/lib/types.h"

/* What line_write() has written. */
extern struct history line_history;

/* Begins a new line, if the last one is not ended. */
void line_fresh(void);
/* One whole line. No newline in `text`. */
void line_write(const char *text, size_t length);
/* One whole line of hv's own, from the line's start, without the log's stamp: tables and what tests and guest owners
 * read. No newline in `format`. Takes the console lock. */
void line_print(const char *format, ...) __attribute__((format(printf, 1, 2)));

#endif
