/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Text and bytes into a bounded buffer, which never grows beyond it; words and numbers out of a packet. */
#include "guest/control/text.h"

#include <string.h>

static const char digits[] = "0123456789abcdef";

void text_bytes(struct text *text, const void *bytes, size_t size)
{
    if (text->cut || size > text->size - text->length) {
        text->cut = true;
        return;
    }
    memcpy(text->at + text->length, bytes, size);
    text->length += size;
}

void text_add(struct text *text, const char *words)
{
    text_bytes(text, words, text_length(words));
}

void text_char(struct text *text, char c)
{
    text_bytes(text, &c, 1);
}

static void add_in_base(struct text *text, uint64_t value, unsigned base)
{
    char number[20];
    size_t first = sizeof(number);

    do {
        number[--first] = digits[value % base];
        value /= base;
    } while (value != 0);
    text_bytes(text, number + first, sizeof(number) - first);
}

void text_number(struct text *text, uint64_t value)
{
    add_in_base(text, value, 10);
}

void text_hex(struct text *text, uint64_t value)
{
    add_in_base(text, value, 16);
}

void text_hex_bytes(struct text *text, const void *bytes, size_t size)
{
    const uint8_t *byte = bytes;

    for (size_t i = 0; i < size; i++) {
        text_char(text, digits[byte[i] >> 4]);
        text_char(text, digits[byte[i] & 0xf]);
    }
}

size_t text_length(const char *words)
{
    size_t length = 0;

    while (words[length] != '\0')
        length++;
    return length;
}

size_t text_field_length(const char *field, size_t size)
{
    size_t length = 0;

    while (length < size && field[length] != '\0')
        length++;
    return length;
}

size_t cursor_left(const struct cursor *cursor)
{
    return (size_t)(cursor->end - cursor->at);
}

bool cursor_word(struct cursor *cursor, const char *word)
{
    size_t length = text_length(word);

    if (length > cursor_left(cursor) || memcmp(cursor->at, word, length) != 0)
        return false;
    cursor->at += length;
    return true;
}

static int digit_value(uint8_t digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    if (digit >= 'a' && digit <= 'f')
        return digit - 'a' + 10;
    if (digit >= 'A' && digit <= 'F')
        return digit - 'A' + 10;
    return -1;
}

bool cursor_hex(struct cursor *cursor, uint64_t *value)
{
    const uint8_t *first = cursor->at;

    *value = 0;
    for (; cursor->at < cursor->end && digit_value(*cursor->at) >= 0; cursor->at++) {
        if (*value >> 60 != 0)
            return false;
        *value = *value << 4 | (uint64_t)digit_value(*cursor->at);
    }
    return cursor->at > first;
}

bool cursor_hex_bytes(struct cursor *cursor, void *bytes, size_t size)
{
    uint8_t *byte = bytes;

    if (cursor_left(cursor) / 2 < size)
        return false;
    for (size_t i = 0; i < size; i++, cursor->at += 2) {
        int high = digit_value(cursor->at[0]), low = digit_value(cursor->at[1]);

        if (high < 0 || low < 0)
            return false;
        byte[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
