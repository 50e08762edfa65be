/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What the operator types, from the wire to the guest: serial.c, console.c, monitor.c, vuart.c, and a 16550 at
 * 115200 baud whose FIFO overflows when nobody looks. The boot CPU's loop looks as run.c does.
 */
#include "with_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/control/lifecycle.h"
#include "hv/cpu/clock.h"
#include "hv/console/console.h"
#include "hv/vm/guest.h"
#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "hv/monitor/monitor.h"
#include "hv/control/report.h"
#include "hv/console/serial.h"
#include "../alone.h"

#define PORT 0x3f8u
#define SLICE_US 10000u
#define LSR_DR 0x01u
#define LSR_OE 0x02u
#define LSR_PE 0x04u
#define LSR_FE 0x08u
#define LSR_BI 0x10u

static const struct handoff_uart at_port = {.base = PORT, .divisor = 1, .stride = 1, .line = 0x03};
_Alignas(4096) uint8_t fake_uart_page[4096];

/* ---- time: looking at the clock costs nothing, a port a microsecond ---- */

static uint64_t now_ns;
uint64_t rdtsc(void)
{
    return now_ns;
}

/* ---- the UART, its line, and who sits at the other end ---- */

#define BYTE_NS 86806u          /* ten bits */

static struct {
    bool absent;
    uint8_t registers[8], divisor[2];
    unsigned lcr_busy; /* so many writes of LCR are ignored */
    /* From the other end: bytes, and in the upper half what is wrong with them in LSR's bits. */
    uint16_t sends[1 << 18];
    size_t count, at;
    uint64_t next_ns;           /* when the next has come in whole */
    bool obeys_rts;
    uint16_t fifo[16];
    unsigned fifo_count;
    uint8_t overrun;
    unsigned lost;
    char text[1 << 16];         /* what hv printed */
    size_t printed;
    uint64_t transmitter_free_ns;
} wire;

static void receive_until_now(void)
{
    while (wire.at < wire.count && wire.next_ns <= now_ns) {
        if (wire.obeys_rts && (wire.registers[4] & 2) == 0) {
            wire.next_ns = now_ns + BYTE_NS;
            return;
        }
        if (wire.fifo_count < 16) {
            wire.fifo[wire.fifo_count++] = wire.sends[wire.at];
        } else {
            wire.overrun = LSR_OE;
            wire.lost++;
        }
        wire.at++;
        wire.next_ns += BYTE_NS;
    }
}

/* A port access in progress, here or below. */
static uint8_t line_status(void)
{
    uint8_t status = now_ns >= wire.transmitter_free_ns ? 0x60 : 0;
    if (wire.fifo_count > 0) {
        status |= (uint8_t)(LSR_DR | wire.fifo[0] >> 8);
        wire.fifo[0] &= 0xff;       /* reading LSR clears its error bits */
    }
    status |= wire.overrun;
    wire.overrun = 0;
    return status;
}

uint8_t in8(uint16_t port)
{
    assert_in_range(port, PORT, PORT + 7);
    now_ns += 1000;
    receive_until_now();
    if (wire.absent)
        return 0xff;
    if (port < PORT + 2 && (wire.registers[3] & 0x80) != 0)
        return wire.divisor[port - PORT];
    switch (port - PORT) {
    case 0:
        if (wire.fifo_count > 0) {
            uint8_t byte = (uint8_t)wire.fifo[0];
            memmove(wire.fifo, wire.fifo + 1, --wire.fifo_count * sizeof(*wire.fifo));
            return byte;
        }
        return 0;
    case 5:
        return line_status();
    default:
        return wire.registers[port - PORT];
    }
}

void out8(uint16_t port, uint8_t value)
{
    assert_in_range(port, PORT, PORT + 7);
    now_ns += 1000;
    receive_until_now();
    if (port == PORT && (wire.registers[3] & 0x80) == 0) {
        assert_true(wire.printed + 1 < sizeof(wire.text));
        wire.text[wire.printed++] = (char)value;
        if (wire.transmitter_free_ns < now_ns)
            wire.transmitter_free_ns = now_ns;
        wire.transmitter_free_ns += BYTE_NS;
    }
    if (port < PORT + 2 && (wire.registers[3] & 0x80) != 0)
        wire.divisor[port - PORT] = value;
    else if (port == PORT + 3 && wire.lcr_busy > 0)
        wire.lcr_busy--;
    else
        wire.registers[port - PORT] = value;
}

static void send_marked(const char *bytes, size_t count, uint8_t status)
{
    if (wire.at == wire.count)
        wire.next_ns = now_ns + BYTE_NS;
    for (size_t i = 0; i < count; i++) {
        assert_true(wire.count < sizeof(wire.sends) / sizeof(*wire.sends));
        wire.sends[wire.count++] = (uint16_t)((uint8_t)bytes[i] | status << 8);
    }
}
static void sends(const char *text)
{
    send_marked(text, strlen(text), 0);
}

static bool said(const char *text)
{
    wire.text[wire.printed] = '\0';
    return strstr(wire.text, text) != NULL;
}

/* ---- guests that read, or don't ---- */

static struct manifest_guest configs[2];
static uint8_t rings[2][VUART_INPUT];
static struct cpu cpu;

static struct reader {
    uint64_t every_us;          /* 0: never */
    unsigned at_once;
    uint64_t next_us;
    char got[1 << 18];
    size_t count;
    unsigned breaks;
    bool overrun;
} readers[2];

static void guest_polls(unsigned i)
{
    struct reader *reader = &readers[i];
    if (reader->every_us == 0 || clock_now_us() < reader->next_us)
        return;
    reader->next_us = clock_now_us() + reader->every_us;
    for (unsigned n = 0; n < reader->at_once; n++) {
        uint8_t status = vuart_read(&guests[i].uart, 5);
        reader->overrun |= (status & LSR_OE) != 0;
        reader->breaks += (status & LSR_BI) != 0;
        if ((status & LSR_DR) == 0)
            break;
        uint8_t byte = vuart_read(&guests[i].uart, 0);
        if ((status & LSR_BI) == 0)
            reader->got[reader->count++] = (char)byte;
    }
}

/* ---- the boot CPU's loop ---- */

static unsigned looks;

/* As loop.c and run.c: monitor_poll() between slices, the line as often as it wants to be looked at. */
static void runs(uint64_t us)
{
    uint64_t end = clock_now_us() + us;
    while (clock_now_us() < end) {
        monitor_poll();
        uint64_t slice_end = clock_now_us() + SLICE_US;
        while (clock_now_us() < slice_end && clock_now_us() < end) {
            console_drain();
            looks++;
            uint64_t next = clock_now_us() + monitor_poll_us();
            while (clock_now_us() < next) {
                now_ns += 50000;
                guest_polls(0);
                guest_polls(1);
            }
        }
    }
}

static void is_deaf(uint64_t us)
{
    now_ns += us * 1000;
}

static int setup(void **state)
{
    (void)state;
    cpu = (struct cpu){.self = &cpu};
    syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu);
    for (unsigned i = 0; i < 2 && guests[i].config != NULL; i++)
        output_finish(&guests[i].output);       /* of the test before */
    memset(guests, 0, sizeof(guests));
    memset(readers, 0, sizeof(readers));
    memset(&wire, 0, sizeof(wire));
    now_ns += 10000000000;
    for (unsigned i = 0; i < 2; i++) {
        snprintf(configs[i].name, sizeof(configs[i].name), i == 0 ? "hello" : "linux");
        guests[i].config = &configs[i];
        guests[i].index = i;
        guests[i].state = GUEST_RUNNING;
        guests[i].uart.input = rings[i];
        output_init(&guests[i].output, i, configs[i].name, NULL);
        vuart_reset(&guests[i].uart, &guests[i].output);
        readers[i].every_us = 4000;
        readers[i].at_once = 256;
    }
    console_init(&at_port);
    while (console_read() != CONSOLE_NOTHING)
        ;
    console_losses();
    sends("\0350"); /* in the state that it was in at first */
    runs(50000);
    wire.printed = 0;
    return 0;
}

/* So many lines of 60 bytes, and a number in each. */
static const char *lines(unsigned count)
{
    static char text[1 << 18];
    size_t length = 0;
    for (unsigned i = 0; i < count; i++)
        length += (size_t)snprintf(text + length, sizeof(text) - length,
                                   "%04u the quick brown fox jumps over the lazy dog, twice\r", i);
    return text;
}

static void got(unsigned guest, const char *text)
{
    assert_int_equal(readers[guest].count, strlen(text));
    assert_memory_equal(readers[guest].got, text, readers[guest].count);
}

/* ---- at line rate ---- */

static void a_paste_arrives_whole(void **state)
{
    (void)state;
    sends("\0352");
    runs(100000);
    sends(lines(400));
    runs(3000000);
    got(1, lines(400));
    got(0, "");
    assert_int_equal(wire.lost, 0);
    assert_false(said("lost"));
}

/* Busy elsewhere, it reads nothing for a second, and then 32 bytes at a time. */
static void a_guest_that_is_slow_for_a_while_loses_nothing(void **state)
{
    (void)state;
    sends("\0352");
    runs(100000);
    readers[1].next_us = clock_now_us() + 1000000;
    readers[1].at_once = 64;
    sends(lines(300));
    runs(5000000);
    got(1, lines(300));
    assert_false(readers[1].overrun);
    assert_false(said("lost"));
}

/* The line's other end waits as long as RTS says so: then the guest's own pace is enough. */
static void rts_holds_the_other_end_back(void **state)
{
    (void)state;
    wire.obeys_rts = true;
    sends("\0352");
    runs(100000);
    readers[1].every_us = 10000;
    readers[1].at_once = 50;                    /* 5,000 bytes a second */
    sends(lines(1200));
    runs(20000000);
    got(1, lines(1200));
    assert_int_equal(wire.lost, 0);
    assert_int_equal(wire.registers[4] & 3, 3);
    assert_false(said("lost"));
}

static void what_is_on_its_way_when_the_guest_changes_stays_where_it_was_typed_to(void **state)
{
    (void)state;
    readers[0].every_us = 0;
    sends("\0351");
    runs(100000);
    sends("for hello\r\0352for linux\r\0350for nobody\r");
    runs(100000);
    readers[0].every_us = 1000;
    runs(100000);
    got(0, "for hello\r");
    got(1, "for linux\r");
    assert_true(said("no guest is attached"));
}

/* ---- a guest that does not read ---- */

static void a_guest_that_never_reads_locks_nobody_out_and_its_losses_are_told(void **state)
{
    (void)state;
    for (int obeys = 0; obeys < 2; obeys++) {
        setup(NULL);
        wire.obeys_rts = obeys != 0;
        readers[0].every_us = 0;
        sends("\0351");
        runs(100000);
        sends(lines(600));
        runs(4000000);
        while (wire.at < wire.count)
            runs(10000);
        uint64_t start = clock_now_us();
        sends("\0352date\r");
        runs(2000000);
        got(1, "date\r");
        assert_true(clock_now_us() - start < 2100000);
        assert_int_equal(guests[0].uart.input_count, VUART_INPUT);
        unsigned told = 0, lost;
        wire.text[wire.printed] = '\0';
        for (const char *at = wire.text; (at = strstr(at, "monitor: ")) != NULL; at++)
            if (sscanf(at, "monitor: %u bytes of input to hello were lost: it does not read its serial port", &lost) ==
                1)
                told += lost;
        assert_int_equal(told, strlen(lines(600)) - VUART_INPUT);
        assert_int_equal(wire.lost, 0);         /* each byte is accounted for */
        /* What waits is still its own. */
        readers[0].every_us = 1000;
        runs(500000);
        assert_int_equal(readers[0].count, VUART_INPUT);
        assert_memory_equal(readers[0].got, lines(600), VUART_INPUT);
        assert_true(readers[0].overrun);
    }
}

static void the_escape_key_waits_a_second_at_most(void **state)
{
    (void)state;
    readers[0].every_us = 0;
    sends("\0351");
    runs(100000);
    sends(lines(75));                           /* more than the ring holds: the line waits for the guest now */
    while (wire.at < wire.count)
        runs(1000);
    sends("\035k\035?");
    runs(1100000);
    assert_true(said("hello is ended at once"));
    assert_true(said("the escape key is Ctrl-]"));
}

/* One that reads a byte now and then holds nobody up for longer. */
static void a_guest_that_trickles_holds_nobody_up(void **state)
{
    (void)state;
    readers[0].every_us = 100000;
    readers[0].at_once = 1;
    sends("\0351");
    runs(100000);
    sends(lines(300));
    sends("\0352x");
    runs(3500000);
    got(1, "x");
    assert_true(said("bytes of input to hello were lost"));
}

/* A machine that is slow: a hundred lines a minute are no reason to throw anything away, unless a command waits behind. */
static void a_guest_that_reads_slowly_is_waited_for(void **state)
{
    (void)state;
    readers[1].every_us = 100000;
    readers[1].at_once = 60;
    sends("\0352");
    runs(100000);
    sends(lines(150));
    runs(20000000);
    got(1, lines(150));
    assert_false(said("lost"));
    wire.obeys_rts = true;
    readers[1].at_once = 1;
    sends(lines(1000));
    sends("\0351x");
    runs(30000000);
    got(0, "x");
    assert_true(said("bytes of input to linux were lost"));
}

static void a_single_lost_byte_is_told(void **state)
{
    (void)state;
    readers[0].every_us = 0;
    sends("\0351");
    runs(100000);
    for (unsigned i = 0; i < VUART_INPUT + 1; i++)
        send_marked("x", 1, 0);
    runs(4000000);
    assert_true(said("monitor: 1 bytes of input to hello were lost: it does not read its serial port"));
}

static void what_a_guest_did_not_read_before_its_end_is_told(void **state)
{
    (void)state;
    readers[1].every_us = 0;
    sends("\0352exit\r");
    runs(100000);
    vuart_power_off(&guests[1].uart); /* it is launched again */
    runs(20000);
    assert_true(said("monitor: linux ended without reading the last 5 bytes of input"));
    vuart_reset(&guests[1].uart, &guests[1].output);
    readers[1].every_us = 4000;
    sends("root\r");
    runs(100000);
    got(1, "root\r");
    wire.printed = 0;
    vuart_power_off(&guests[1].uart);
    guests[1].stays_ended = true;
    runs(20000);
    assert_false(said("without reading"));
    guests[1].state = GUEST_ENDED;
    sends("more\r");
    runs(20000);
    assert_true(said("no guest is attached"));
}

/* A launch takes its time, and may be refused: what is typed meanwhile waits, or is told. */
static void input_during_a_launch_waits_for_it(void **state)
{
    (void)state;
    guests[1].state = GUEST_LAUNCHING;
    readers[1].every_us = 0;
    sends("\0352root\r");
    runs(100000);
    vuart_reset(&guests[1].uart, &guests[1].output);
    guests[1].state = GUEST_RUNNING;
    readers[1].every_us = 4000;
    runs(100000);
    got(1, "root\r");
}

/* ---- a line with faults ---- */

static void an_overflow_of_the_fifo_is_told(void **state)
{
    (void)state;
    sends("\0352");
    runs(100000);
    sends(lines(2));
    is_deaf(9000);
    runs(2000000);
    assert_true(wire.lost > 50);
    assert_int_equal(readers[1].count, strlen(lines(2)) - wire.lost);
    assert_true(said("monitor: input was lost: the serial port's FIFO overflowed 1 times"));
    wire.printed = 0;
    runs(3000000);
    assert_false(said("lost"));
}

static void garbled_bytes_are_thrown_away_and_told(void **state)
{
    (void)state;
    sends("\0352ab");
    send_marked("XY", 2, LSR_PE);
    send_marked("Z", 1, LSR_FE);
    sends("c");
    runs(2000000);
    got(1, "abc");
    assert_int_equal(readers[1].breaks, 0);
    assert_true(said("monitor: input was lost: 3 bytes with parity or framing errors; check your end's rate, 8N1"));
}

static void a_break_is_the_attached_guests_and_no_byte(void **state)
{
    (void)state;
    send_marked("", 1, LSR_BI | LSR_FE);
    runs(100000);
    assert_true(said("a BREAK was ignored: no guest is attached"));
    sends("\0352a");
    send_marked("", 1, LSR_BI | LSR_FE | LSR_PE);
    sends("h");
    runs(100000);
    got(1, "ah");
    assert_int_equal(readers[1].breaks, 1);
    readers[1].every_us = 0;
    sends("\035"); /* in the middle of a command it spoils nothing */
    send_marked("", 1, LSR_BI);
    sends("1x");
    runs(100000);
    got(0, "x");
    assert_false(said("lost"));
}

/* Reading LSR clears its error bits, whoever reads it and why. */
static void output_does_not_hide_what_is_wrong_with_input(void **state)
{
    (void)state;
    sends("\0352");
    runs(100000);
    for (unsigned i = 0; i < 100; i++) {
        send_marked("", 1, LSR_BI);
        send_marked("X", 1, LSR_FE);
        is_deaf(300);
        for (unsigned n = 0; n < 20; n++)
            serial_write("", 0);
        (void)serial_idle();
        runs(20000);
    }
    assert_int_equal(readers[1].breaks, 100);
    assert_int_equal(readers[1].count, 0);
    runs(2000000);
    assert_true(said(" bytes with parity or framing errors"));
}

/* PC16550D 8.3 and 8.5: what the firmware left in it is not relied on. */
static void the_uart_is_set_up_for_115200_8n1_with_fifos_and_no_interrupts(void **state)
{
    (void)state;
    memset(wire.registers, 0xa5, sizeof(wire.registers));
    memset(wire.divisor, 0xa5, sizeof(wire.divisor));
    wire.registers[3] = 0;
    console_init(&at_port);
    assert_true(serial_present());
    assert_int_equal(wire.divisor[0], 1);
    assert_int_equal(wire.divisor[1], 0);
    assert_int_equal(wire.registers[1], 0);
    assert_int_equal(wire.registers[2], 0x07);
    assert_int_equal(wire.registers[3], 0x03);
    assert_int_equal(wire.registers[4], 0x03);
}

static void its_rate_and_line_are_the_hand_overs(void **state)
{
    static const struct {
        uint16_t divisor;
        uint8_t line;
    } cases[] = {{12, 0x03}, {0x2345, 0x1a}, {1, 0x07}};
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        wire.lcr_busy = 10 * i; /* as DesignWare's while they transmit */
        console_init(
            &(struct handoff_uart){.base = PORT, .divisor = cases[i].divisor, .stride = 1, .line = cases[i].line});
        assert_true(serial_present());
        assert_int_equal(wire.divisor[0] | wire.divisor[1] << 8, cases[i].divisor);
        assert_int_equal(wire.registers[3], cases[i].line);
    }
}

/* The same driver, by registers of each width and distance; the page is hv's, wherever the UART lies. */
static void a_uart_in_memory_is_driven_alike(void **state)
{
    (void)state;
    for (unsigned stride = 1; stride <= 4; stride *= 2) {
        for (unsigned width = 1; width <= stride; width *= 2) {
            uint8_t *registers = fake_uart_page + 0x120;
            memset(fake_uart_page, 0xee, sizeof(fake_uart_page));
            console_init(&(struct handoff_uart){.base = 0xfedc9120,
                                                .divisor = 26,
                                                .in_memory = 1,
                                                .stride = (uint8_t)stride,
                                                .width = (uint8_t)width,
                                                .line = 0x03});
            assert_true(serial_present());
            registers[5 * stride] = 0x61;
            assert_int_equal(serial_write("Q", 1), 1);
            assert_int_equal(registers[0], 'Q');
            registers[0] = 'r';
            assert_int_equal(serial_read(), 'r');
            assert_int_equal(registers[1 * stride], 0);
            assert_int_equal(registers[2 * stride], 0x07);
            assert_int_equal(registers[3 * stride], 0x03);
            serial_allow_input(false);
            assert_int_equal(registers[4 * stride], 0x01);
            for (unsigned i = width; i < stride; i++)
                assert_int_equal(registers[i], 0xee); /* no wider than it is said to be */
            for (unsigned i = 1; i < width; i++)
                assert_int_equal(registers[i], 0); /* and no narrower */
            assert_int_equal(registers[-1], 0xee);
            assert_int_equal(registers[8 * stride], 0xee);
        }
    }
}

static void the_transmitter_takes_a_fifo_full_when_it_is_empty(void **state)
{
    (void)state;
    runs(50000);
    wire.printed = 0;
    assert_true(serial_idle());
    assert_int_equal(serial_write("0123456789abcdefghi", 19), 16);
    assert_false(serial_idle());
    assert_int_equal(serial_write("x", 1), 0);
    now_ns += 16 * BYTE_NS;
    assert_true(serial_idle());
    assert_int_equal(serial_write("ghi", 3), 3);
    assert_true(said("0123456789abcdefghi"));
}

static void nothing_is_read_where_there_is_no_uart(void **state)
{
    (void)state;
    wire.absent = true; /* it was there at first */
    assert_int_equal(serial_read(), SERIAL_NOTHING);
    assert_true(serial_idle());
    runs(100000);
    assert_int_equal(serial_overruns(), 0);
    wire.registers[7] = 0;
    console_init(&at_port);
    assert_false(serial_present());
    assert_int_equal(serial_read(), SERIAL_NOTHING);
    assert_int_equal(serial_write("x", 1), 0);
    assert_true(serial_idle());
    serial_allow_input(false);
    wire.absent = false;
    console_init(&at_port);
    wire.overrun = LSR_OE;
    wire.fifo[0] = 'x';
    wire.fifo_count = 1;
    assert_int_equal(serial_read(), 'x');
    console_init(&at_port); /* from the start: what was lost before is not told */
    assert_int_equal(serial_overruns(), 0);
    console_init(&(struct handoff_uart){0});
    assert_false(serial_present());
}

/* ---- what looking costs ---- */

static void who_types_nothing_costs_little(void **state)
{
    (void)state;
    runs(2000000);
    looks = 0;
    runs(1000000);
    assert_in_range(looks, 90, 110);
    sends("\0350"); /* a key: more may follow */
    looks = 0;
    runs(500000);
    assert_in_range(looks, 400, 500);
    runs(2000000);
    looks = 0;
    runs(1000000);
    assert_in_range(looks, 90, 110);
    sends("\0352"); /* attached: a paste may begin at any moment */
    runs(3000000);
    looks = 0;
    runs(1000000);
    assert_in_range(looks, 800, 1000);
}

int main(void)
{
    clock_init(1000000000, 0, 0);
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, setup)
        T(a_paste_arrives_whole),
        T(a_guest_that_is_slow_for_a_while_loses_nothing),
        T(rts_holds_the_other_end_back),
        T(what_is_on_its_way_when_the_guest_changes_stays_where_it_was_typed_to),
        T(a_guest_that_never_reads_locks_nobody_out_and_its_losses_are_told),
        T(the_escape_key_waits_a_second_at_most),
        T(a_guest_that_trickles_holds_nobody_up),
        T(a_guest_that_reads_slowly_is_waited_for),
        T(a_single_lost_byte_is_told),
        T(what_a_guest_did_not_read_before_its_end_is_told),
        T(input_during_a_launch_waits_for_it),
        T(an_overflow_of_the_fifo_is_told),
        T(garbled_bytes_are_thrown_away_and_told),
        T(a_break_is_the_attached_guests_and_no_byte),
        T(output_does_not_hide_what_is_wrong_with_input),
        T(the_uart_is_set_up_for_115200_8n1_with_fifos_and_no_interrupts),
        T(its_rate_and_line_are_the_hand_overs),
        T(a_uart_in_memory_is_driven_alike),
        T(the_transmitter_takes_a_fifo_full_when_it_is_empty),
        T(nothing_is_read_where_there_is_no_uart),
        T(who_types_nothing_costs_little),
    };
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
