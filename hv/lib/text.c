/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Those of printf's conversions that messages here use. Pure: also built for
 * boot/ and for the build host. */
#include "hv/lib/text.h"

#include <stdbool.h>
#include <stdint.h>

#include "hv/lib/string.h"

struct text {
    char *at;
    size_t size;
    size_t length;      /* that was needed so far */
};

static void text_put(struct text *t, char c)
{
    if (t->length + 1 < t->size)
        t->at[t->length] = c;
    t->length++;
}

static void text_put_padded(struct text *t, const char *body, size_t length, size_t width, bool left, char pad)
{
    size_t fill = width > length ? width - length : 0;
    if (!left)
        for (size_t i = 0; i < fill; i++)
            text_put(t, pad);
    for (size_t i = 0; i < length; i++)
        text_put(t, body[i]);
    if (left)
        for (size_t i = 0; i < fill; i++)
            text_put(t, ' ');
}

#define TEXT_DIGITS 24u

/* Digits of `value`, written to the end of `digits`; returns how many. */
static size_t text_digits(char digits[static TEXT_DIGITS], uint64_t value, uint32_t base)
{
    size_t n = 0;
    do {
        digits[TEXT_DIGITS - ++n] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    return n;
}

size_t text_format_list(char *text, size_t size, const char *format, va_list arguments)
{
    struct text t = {text, size, 0};
    for (; *format != '\0'; format++) {
        if (*format != '%') {
            text_put(&t, *format);
            continue;
        }
        format++;
        bool left = false, is_long = false;
        char pad = ' ';
        size_t width = 0;
        for (; *format == '-' || *format == '0'; format++) {
            if (*format == '-')
                left = true;
            else
                pad = '0';
        }
        for (; *format >= '0' && *format <= '9'; format++)
            width = width * 10 + (size_t)(*format - '0');
        if (*format == 'l') {
            is_long = true;
            format++;
        }
        if (left)
            pad = ' ';

        char digits[TEXT_DIGITS];
        size_t count;
        switch (*format) {
        case 's': {
            const char *s = va_arg(arguments, const char *);
            if (s == NULL)
                s = "(null)";
            text_put_padded(&t, s, strlen(s), width, left, ' ');
            break;
        }
        case 'd': {
            int64_t v = is_long ? va_arg(arguments, int64_t) : va_arg(arguments, int);
            count = text_digits(digits, v < 0 ? 0 - (uint64_t)v : (uint64_t)v, 10);
            if (v < 0)
                digits[TEXT_DIGITS - ++count] = '-';
            text_put_padded(&t, digits + TEXT_DIGITS - count, count, width, left, pad);
            break;
        }
        case 'u':
        case 'x': {
            uint64_t v = is_long ? va_arg(arguments, uint64_t) : va_arg(arguments, unsigned int);
            count = text_digits(digits, v, *format == 'u' ? 10 : 16);
            text_put_padded(&t, digits + TEXT_DIGITS - count, count, width, left, pad);
            break;
        }
        case '%':
            text_put(&t, '%');
            break;
        default:    /* tests/test_house.py keeps this from happening; show it, lose nothing */
            text_put(&t, '%');
            if (*format == '\0')
                format--;
            else
                text_put(&t, *format);
        }
    }
    if (size > 0)
        text[t.length < size ? t.length : size - 1] = '\0';
    return t.length;
}

size_t text_format(char *text, size_t size, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    size_t length = text_format_list(text, size, format, arguments);
    va_end(arguments);
    return length;
}
