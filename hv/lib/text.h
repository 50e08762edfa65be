/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Formatted text, without a console: text_format() of log.h, and its va_list form. */
#ifndef SEVISOR_TEXT_H
#define SEVISOR_TEXT_H

#include <stdarg.h>
#include <stddef.h>

/* printf of %s %c %d %i %u %x %X %p %%, flags `0` and `-`, width, precision of %s, lengths
 * h hh l ll z; no floats. Always NUL-terminates if size > 0, returns the length that was needed. */
size_t text_format(char *text, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
size_t text_format_list(char *text, size_t size, const char *format, va_list arguments)
    __attribute__((format(printf, 3, 0)));

#endif
