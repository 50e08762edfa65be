/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Formatted text. */
#ifndef SEVISOR_TEXT_H
#define SEVISOR_TEXT_H

#include <stdarg.h>
#include <stddef.h>

/* printf's %s %d %u %x %%, with the flags `-` and, of %u and %x, `0`, a width, and the length `l`. Always NUL-terminates
 * if size > 0, returns the length that was needed. */
size_t text_format(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t text_format_list(char *text, size_t size, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

#endif
