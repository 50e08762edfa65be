/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Rings between hv and the serial line: 115200 baud carry 11 bytes in a
 * millisecond, and neither guests nor hv's loop wait for that. */
#include "hv/console/console.h"

#include "hv/console/serial.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/lock.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"

#define CONSOLE_RING 65536u         /* power of two: room for the shares of a dozen guests */
#define CONSOLE_STUCK_US 200000u    /* 16 bytes take 1.4 ms */
#define CONSOLE_LINE 512u
#define CONSOLE_INPUT 16384u        /* power of two: what the line carries in 1.4 s */
#define CONSOLE_INPUT_RESERVE 4096u /* the other side is told to wait while there is less room than this */
#define CONSOLE_INPUT_AT_ONCE 64u

static struct {
    char ring[CONSOLE_RING];
    uint16_t owners[CONSOLE_RING];
    uint32_t owner;             /* of what is written now */
    uint32_t head, tail;        /* written, sent: both count on */
    uint64_t written;
    bool line_unfinished;
    bool stuck;                 /* a wait for the transmitter timed out, and it has taken nothing since */
} console;

static struct {
    uint16_t ring[CONSOLE_INPUT];   /* bytes and CONSOLE_BREAK */
    uint32_t head, tail;            /* received, read: both count on */
    struct console_losses losses;
} input;

uint32_t console_waiting[1 + MANIFEST_MAX_GUESTS];
_Static_assert(MANIFEST_MAX_GUESTS < UINT16_MAX, "owners");

static struct lock console_lock;
static bool console_broken;     /* from a panic on no lock is taken */

void console_init(const struct handoff_uart *uart)
{
    serial_init(uart);
}

void console_begin(void)
{
    if (!console_broken)
        lock_take(&console_lock, LOCK_CONSOLE);
}

void console_end(void)
{
    if (!console_broken)
        lock_release(&console_lock, LOCK_CONSOLE);
}

void console_break(void)
{
    console_broken = true;
    console.owner = 0;          /* a CPU may have been halted in the middle of a guest's line */
}

void console_set_owner(uint32_t owner)
{
    console.owner = owner;
}

/* Takes the oldest bytes out of the ring: sent, or dropped. */
static void ring_drop(uint32_t count)
{
    for (; count > 0; count--)
        console_waiting[console.owners[console.tail++ % CONSOLE_RING]]--;
}

static bool send_some(void)
{
    uint32_t waiting = console.head - console.tail;
    uint32_t at = console.tail % CONSOLE_RING;
    uint32_t run = waiting < CONSOLE_RING - at ? waiting : CONSOLE_RING - at;
    size_t sent = run == 0 ? 0 : serial_write(&console.ring[at], run);
    ring_drop((uint32_t)sent);
    if (sent > 0)
        console.stuck = false;
    return sent > 0;
}

/* A full ring leaves the rest in the UART. */
static void receive(void)
{
    for (uint32_t i = 0; i < CONSOLE_INPUT_AT_ONCE && input.head - input.tail < CONSOLE_INPUT; i++) {
        int received = serial_read();
        if (received == SERIAL_NOTHING)
            break;
        if (received == SERIAL_GARBLED)
            input.losses.garbled++;
        else
            input.ring[input.head++ % CONSOLE_INPUT] = (uint16_t)(received == SERIAL_BREAK ? CONSOLE_BREAK : received);
    }
    input.losses.overruns += serial_overruns();
    uint32_t room = CONSOLE_INPUT - (input.head - input.tail);
    if (room < CONSOLE_INPUT_RESERVE)
        serial_allow_input(false);
    else if (room >= CONSOLE_INPUT / 2)
        serial_allow_input(true);
}

static void drain(void)
{
    receive();
    while (send_some())
        ;
    if (!serial_present())
        ring_drop(console.head - console.tail);
}

void console_drain(void)
{
    console_begin();
    drain();
    console_end();
}

/* Waits for room; a transmitter that makes no progress is waited for once, then the oldest bytes are dropped. */
static void make_room(void)
{
    struct clock_limit limit = clock_limit(CONSOLE_STUCK_US);
    while (console.head - console.tail == CONSOLE_RING) {
        drain();
        console.stuck |= clock_limit_over(&limit);
        if (console.stuck && console.head - console.tail == CONSOLE_RING)
            ring_drop(1);
    }
}

void console_flush(void)
{
    struct clock_limit limit = clock_limit(CONSOLE_STUCK_US);
    for (uint32_t before = console.tail; console.head != console.tail || !serial_idle(); before = console.tail) {
        drain();
        if (console.tail != before)
            limit = clock_limit(CONSOLE_STUCK_US);
        else if (clock_limit_over(&limit))
            return;
    }
}

static void put(char byte)
{
    if (console.head - console.tail == CONSOLE_RING)
        make_room();
    console.owners[console.head % CONSOLE_RING] = (uint16_t)console.owner;
    console_waiting[console.owner]++;
    console.ring[console.head++ % CONSOLE_RING] = byte;
}

void console_write(const char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (bytes[i] == '\n')
            put('\r');      /* a terminal moves one line down on '\n', in the same column */
        put(bytes[i]);
        console.line_unfinished = bytes[i] != '\n';
    }
    console.written += count;
    drain();
}

uint64_t console_position(void)
{
    return console.written;
}

bool console_at_line_start(void)
{
    return !console.line_unfinished;
}

void console_print(const char *format, ...)
{
    char line[CONSOLE_LINE];
    va_list arguments;
    va_start(arguments, format);
    size_t length = text_format_list(line, sizeof(line), format, arguments);
    va_end(arguments);
    console_write(line, length < sizeof(line) ? length : sizeof(line) - 1);
}

int console_read(void)
{
    int read = CONSOLE_NOTHING;
    console_begin();
    if (input.head == input.tail)
        drain();
    if (input.head != input.tail)
        read = input.ring[input.tail++ % CONSOLE_INPUT];
    console_end();
    return read;
}

bool console_input_holds(uint8_t byte)
{
    bool found = false;
    console_begin();
    for (uint32_t i = input.tail; i != input.head && !found; i++)
        found = input.ring[i % CONSOLE_INPUT] == byte;
    console_end();
    return found;
}

struct console_losses console_losses(void)
{
    console_begin();
    struct console_losses losses = input.losses;
    input.losses = (struct console_losses){0};
    console_end();
    return losses;
}
