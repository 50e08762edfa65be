/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Text and bytes into a bounded buffer; words and numbers out of a packet. */
#ifndef SEVISOR_CONTROL_TEXT_H
#define SEVISOR_CONTROL_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *at;
    size_t size, length;
    bool cut;   /* something had no room; the buffer ends before it */
};

/* What is left of a packet. */
struct cursor {
    const uint8_t *at, *end;
};

void text_bytes(struct text *text, const void *bytes, size_t size);
void text_add(struct text *text, const char *words);
void text_char(struct text *text, char c);
void text_number(struct text *text, uint64_t value);
/* Lower case, without 0x and leading zeros. */
void text_hex(struct text *text, uint64_t value);
/* Two digits a byte, in memory's order. */
void text_hex_bytes(struct text *text, const void *bytes, size_t size);

size_t text_length(const char *words);
/* Bytes up to the end of a field of `size` bytes, which may lack its NUL. */
size_t text_field_length(const char *field, size_t size);

size_t cursor_left(const struct cursor *cursor);
/* Goes on behind the word if it stands here. */
bool cursor_word(struct cursor *cursor, const char *word);
/* At least one digit, 64 bits at most. */
bool cursor_hex(struct cursor *cursor, uint64_t *value);
/* Exactly `size` bytes of two digits each. */
bool cursor_hex_bytes(struct cursor *cursor, void *bytes, size_t size);

#endif
