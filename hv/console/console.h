/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's line: output and input of bytes. */
#ifndef SEVISOR_CONSOLE_H
#define SEVISOR_CONSOLE_H

#include "boot/handoff.h"
#include "guest/manifest_format.h"
#include "hv/lib/types.h"

void console_init(const struct handoff_uart *uart);
/* The console lock, for output of several CPUs: what is written between these two comes out in one piece, and the state that
 * goes with it (owner, open line) is this CPU's meanwhile. Not nested. */
void console_begin(void);
void console_end(void);
/* From now on no CPU waits for the lock: for the end of the machine, when all other CPUs are halted. */
void console_break(void);

/* Caller holds the lock. The owner of the bytes written from now on: a guest's number from 1, or 0 for hv. */
void console_set_owner(uint32_t owner);
/* Bytes that are on their way to the line, by owner. */
extern uint32_t console_waiting[1 + MANIFEST_MAX_GUESTS];
/* What a guest may have on its way, so that no guest's flood makes others wait for long. */
#define CONSOLE_SHARE 2048u
static inline bool console_has_room(uint32_t owner, uint32_t beyond)
{
    return __atomic_load_n(&console_waiting[owner], __ATOMIC_RELAXED) < CONSOLE_SHARE + beyond;
}

/* Hands the transmitter what it takes, and keeps what came in for console_read(); never waits. */
void console_drain(void);
/* What came in lost or damaged since the last call. */
struct console_losses {
    uint32_t overruns; /* the UART's FIFO was full: at least so many bytes */
    uint32_t garbled; /* bytes with parity or framing errors, thrown away */
};
struct console_losses console_losses(void);
/* Whether this byte is among those that console_read() will return. */
bool console_input_holds(uint8_t byte);
/* Waits until all is sent, or the transmitter has made no progress for a while. */
void console_flush(void);

/* For what is said when hv ends: no lock, no level. */
void console_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* One byte of operator input, or a break of the line, or nothing. Never waits. */
enum { CONSOLE_NOTHING = -1, CONSOLE_BREAK = 0x100 };
int console_read(void);

/* The next three: caller holds the console lock, or the machine ends. */

/* Writes bytes to the operator's line as they are, but for newlines, which are sent as a terminal needs them. */
void console_write(const char *bytes, size_t count);
/* Bytes written so far, and whether the last one ended a line: so that a whole line
 * never lands behind a guest's prompt, and a prompt is continued only if it still stands last. */
uint64_t console_position(void);
bool console_at_line_start(void);

#endif
