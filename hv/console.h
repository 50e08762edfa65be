/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What of the operator's line only hv's core calls; the rest is in log.h. */
#ifndef SEVISOR_CONSOLE_H
#define SEVISOR_CONSOLE_H

#include "types.h"

void console_init(uint16_t serial_port);
/* Several CPUs write to the line, one at a time: what stands between these two comes out in one piece, and
 * what goes with it (who wrote last, which line is open) belongs to this CPU meanwhile. Not nested. */
void console_begin(void);
void console_end(void);
/* From now on nobody waits for anybody: for a panic. */
void console_break(void);

/* Hands the transmitter what it takes; never waits. */
void console_drain(void);
/* Waits until all is out, or the line has been stuck for a while. */
void console_flush(void);

/* The next three are for line.c, monitor.c and panics, i.e. for who has the console to himself. */

/* Writes bytes to the operator's line as they are, but for newlines, which are sent as a terminal needs them. */
void console_write(const char *bytes, size_t count);
/* Bytes written so far, and whether the last one ended a line: so that a whole line
 * never lands behind a guest's prompt, and a prompt is continued only if it still stands last. */
uint64_t console_position(void);
bool console_at_line_start(void);

#endif
