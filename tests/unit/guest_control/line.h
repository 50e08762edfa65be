/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The serial line of unit tests: packets in, what came out. */
#ifndef TESTS_UNIT_GUEST_CONTROL_LINE_H
#define TESTS_UNIT_GUEST_CONTROL_LINE_H

#include <stddef.h>
#include <stdint.h>

/* A fresh model, no acknowledgements, and a client that has said qSupported. */
void line_start(void);
void line_send(const void *bytes, size_t size);
/* A framed packet. */
void line_packet(const void *bytes, size_t size);
/* What was sent since the last call, unescaped, as a string: `reply`s of several packets stand one behind the other, each
 * without its frame, separated by a newline. */
const char *line_taken(void);
size_t line_taken_size(void);
/* Raw, as it was sent. */
const char *line_raw(void);
/* The reply to a packet of text. */
const char *line_ask(const char *packet);
extern uint64_t line_ms; /* the clock */

#endif
