/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A ring between hv and the slow line: 115200 baud carry 11 bytes in a
 * millisecond, and no guest should wait for that. */
#include "console.h"

#include "clock.h"
#include "lock.h"
#include "log.h"
#include "serial.h"
#include "x86.h"

#define CONSOLE_RING 32768u         /* power of two */
#define CONSOLE_STUCK_US 200000u    /* 16 bytes take 1.4 ms */
#define CONSOLE_LINE 512u

static char console_ring[CONSOLE_RING];
static uint32_t console_head, console_tail;     /* written, sent: both count on */
static uint64_t console_written;
static char console_last = '\n';

static struct lock console_lock;
static uint32_t console_depth;      /* of console_begin() on the CPU that has the lock */
static bool console_broken;         /* a panic needs no permission */

void console_init(uint16_t serial_port)
{
    serial_init(serial_port);
}

void console_begin(void)
{
    if (console_broken)
        return;
    if ((this_cpu()->locks_held >> LOCK_CONSOLE & 1) == 0)
        lock_take(&console_lock, LOCK_CONSOLE);
    console_depth++;
}

void console_end(void)
{
    if (!console_broken && --console_depth == 0)
        lock_release(&console_lock, LOCK_CONSOLE);
}

void console_break(void)
{
    console_broken = true;
}

static bool console_send_some(void)
{
    uint32_t waiting = console_head - console_tail;
    uint32_t at = console_tail % CONSOLE_RING;
    uint32_t run = waiting < CONSOLE_RING - at ? waiting : CONSOLE_RING - at;
    size_t sent = run == 0 ? 0 : serial_write(&console_ring[at], run);
    console_tail += (uint32_t)sent;
    return sent > 0;
}

void console_drain(void)
{
    console_begin();
    while (console_send_some())
        ;
    if (!serial_present())
        console_tail = console_head;
    console_end();
}

/* Waits for room; drops the oldest byte when the line is stuck. */
static void console_make_room(void)
{
    uint64_t give_up = clock_tsc() + clock_us_to_tsc(CONSOLE_STUCK_US);
    while (console_head - console_tail == CONSOLE_RING) {
        console_drain();
        if (clock_tsc() > give_up && console_head - console_tail == CONSOLE_RING)
            console_tail++;
    }
}

void console_flush(void)
{
    uint64_t give_up = clock_tsc() + clock_us_to_tsc(CONSOLE_STUCK_US);
    for (uint32_t before = console_tail; console_head != console_tail || !serial_idle(); before = console_tail) {
        console_drain();
        if (console_tail != before)
            give_up = clock_tsc() + clock_us_to_tsc(CONSOLE_STUCK_US);
        else if (clock_tsc() > give_up)
            return;
    }
}

static void console_put(char byte)
{
    if (console_head - console_tail == CONSOLE_RING)
        console_make_room();
    console_ring[console_head++ % CONSOLE_RING] = byte;
}

void console_write(const char *bytes, size_t count)
{
    console_begin();
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n')
            console_put('\r');      /* a terminal does on '\n' what it says: one line down, same column */
        console_put(bytes[i]);
        console_last = bytes[i];
    }
    console_written += count;
    console_drain();
    console_end();
}

uint64_t console_position(void)
{
    return console_written;
}

bool console_at_line_start(void)
{
    return console_last == '\n';
}

void console_print(const char *format, ...)
{
    char line[CONSOLE_LINE];
    va_list arguments;
    va_start(arguments, format);
    size_t length = text_format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    console_write(line, length < sizeof line ? length : sizeof line - 1);
}

int console_read(void)
{
    console_drain();
    return serial_read();
}
