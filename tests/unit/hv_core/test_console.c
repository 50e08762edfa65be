/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The ring before the operator's line: a line that is slow, one that is stuck, and none. */
#include "test.h"

#include "hv/cpu/clock.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/console/log.h"
#include "hv/lib/uart.h"

#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING 65536u
#define STUCK_US 200000u
#define BYTES_PER_MS 11u

static uint64_t now_us;
static char line[1 << 20];
static size_t sent;
static bool moves;
static struct cpu cpu;

/* Looking at the clock takes a microsecond, and so does a look at the line. */
uint64_t rdtsc(void)
{
    return now_us++;
}

/* ---- a 16550 ---- */

#define PORT 0x3f8u
static const struct handoff_uart at_port = {.base = PORT, .divisor = 1, .stride = 1, .line = 0x03};
static uint8_t registers[UART_REGISTERS];
static uint64_t free_ns;            /* when all that was written is sent */
static const char *typed = "";
static unsigned looks;

uint8_t in8(uint16_t port)
{
    assert_in_range(port, PORT, PORT + UART_REGISTERS - 1);
    switch (port - PORT) {
    case UART_LSR:
        now_us++;
        looks++;
        return (uint8_t)((moves && now_us * 1000 >= free_ns ? LSR_THR_EMPTY | LSR_TRANSMITTER_EMPTY : 0) |
                         (*typed != '\0' ? LSR_DATA_READY : 0));
    case UART_DATA:
        return (registers[UART_LCR] & LCR_DLAB) != 0 || *typed == '\0' ? 0 : (uint8_t)*typed++;
    default:
        return registers[port - PORT];
    }
}

void out8(uint16_t port, uint8_t value)
{
    assert_in_range(port, PORT, PORT + UART_REGISTERS - 1);
    registers[port - PORT] = value;
    if (port != PORT || (registers[UART_LCR] & LCR_DLAB) != 0)
        return;
    line[sent++] = (char)value;
    free_ns = (free_ns > now_us * 1000 ? free_ns : now_us * 1000) + 1000000 / BYTES_PER_MS;
}

static int set_up(void **state)
{
    (void)state;
    cpu = (struct cpu){.self = &cpu};
    syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu);
    moves = true;
    console_init(&at_port);
    console_flush();
    sent = 0;
    return 0;
}

static void say(const char *text, unsigned times)
{
    for (unsigned i = 0; i < times; i++) {
        console_begin();
        console_write(text, strlen(text));
        console_end();
    }
}

static void a_slow_line_is_waited_for_and_loses_nothing(void **state)
{
    (void)state;
    say("x", 1);                        /* so that what is sent at once does not end where the ring does */
    console_flush();
    sent = 0;
    uint64_t start = now_us;
    say("0123456789abcde\n", 6000);
    console_flush();
    assert_int_equal(sent, 6000 * 17);
    for (unsigned i = 0; i < 6000; i++)
        assert_memory_equal(line + i * 17, "0123456789abcde\r\n", 17);
    assert_in_range(now_us - start, 6000 * 17 * 1000 / BYTES_PER_MS - 100, 6000 * 17 * 1000 / BYTES_PER_MS * 6 / 5);
}

static void a_stuck_line_is_waited_for_once(void **state)
{
    (void)state;
    moves = false;
    say("x", RING);
    uint64_t start = now_us;
    say("y", RING);
    assert_in_range(now_us - start, STUCK_US, STUCK_US + 10 * RING);
    start = now_us;
    say("z", RING / 2);
    assert_true(now_us - start < STUCK_US);
    /* It moves again: what is newest is there, and a later stop is noticed anew. */
    moves = true;
    console_flush();
    assert_int_equal(sent, RING);
    assert_int_equal(line[0], 'y');
    assert_int_equal(line[RING - 1], 'z');
    moves = false;
    say("x", RING);
    start = now_us;
    say("x", 1);
    assert_true(now_us - start >= STUCK_US);
    moves = true;
}

/* Two guests: one writes all the time, one now and then. */
static void a_guest_has_no_more_than_its_share_on_the_way(void **state)
{
    (void)state;
    unsigned written = 0;
    console_begin();
    console_set_owner(1);
    for (; console_has_room(1, 0); written += 10)
        console_write("012345678\n", 10);
    console_set_owner(2);
    assert_true(console_has_room(2, 0));
    uint64_t start = now_us;
    console_write("the other's\n", 12);
    assert_true(now_us - start < 100);                  /* it did not wait */
    assert_in_range(console_waiting[1], CONSOLE_SHARE, CONSOLE_SHARE + 11);
    console_set_owner(0);
    while (!console_has_room(1, 0) || console_waiting[2] > 0) {
        console_end();
        console_drain();
        console_begin();
    }
    console_end();
    assert_in_range(now_us - start, 0, (CONSOLE_SHARE + 50) * 1000 / BYTES_PER_MS * 6 / 5);
    console_flush();
    assert_int_equal(console_waiting[0] + console_waiting[1] + console_waiting[2], 0);
    assert_int_equal(sent, written * 11 / 10 + 13);
}

/* Who reads need not drain; what has arrived is read before the line is looked at again. */
static void what_was_typed_is_read_in_its_order(void **state)
{
    (void)state;
    typed = "ab";
    assert_int_equal(console_read(), 'a');
    unsigned before = looks;
    assert_true(console_input_holds('b'));
    assert_false(console_input_holds('a'));
    assert_int_equal(console_read(), 'b');
    assert_int_equal(looks, before);
    assert_int_equal(console_read(), CONSOLE_NOTHING);
    assert_true(looks > before);
    typed = "c";
    console_drain();
    assert_int_equal(*typed, '\0');
    assert_int_equal(console_read(), 'c');
    assert_int_equal(console_read(), CONSOLE_NOTHING);
}

static void without_a_line_nobody_waits(void **state)
{
    (void)state;
    console_init(&(struct handoff_uart){0});
    uint64_t start = now_us;
    say("x", 3 * RING);
    assert_true(now_us - start < 10 * 3 * RING);
    assert_int_equal(sent, 0);
}

int main(void)
{
    clock_init(1000000, 0, 0);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_slow_line_is_waited_for_and_loses_nothing, set_up),
        cmocka_unit_test_setup(a_stuck_line_is_waited_for_once, set_up),
        cmocka_unit_test_setup(a_guest_has_no_more_than_its_share_on_the_way, set_up),
        cmocka_unit_test_setup(what_was_typed_is_read_in_its_order, set_up),
        cmocka_unit_test_setup(without_a_line_nobody_waits, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
