/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The ring before the operator's line: a line that is slow, one that is stuck, and none. */
#include "test.h"

#include "hv/cpu/clock.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "hv/console/serial.h"

#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RING 65536u
#define STUCK_US 200000u
#define BYTES_PER_MS 11u

static uint64_t now_us;
static char line[1 << 20];
static size_t sent;
static bool present, moves;
static struct cpu cpu;

/* Looking at the clock takes a microsecond, and so does a look at the line. */
uint64_t clock_tsc(void)
{
    return now_us++;
}
uint64_t clock_us_to_tsc(uint64_t us)
{
    return us;
}
void serial_init(const struct handoff_uart *uart)
{
    present = uart->base != 0;
}
bool serial_present(void)
{
    return present;
}
bool serial_idle(void)
{
    return true;
}
static const char *typed = "";
static unsigned looks;
int serial_read(void)
{
    looks++;
    return *typed == '\0' ? SERIAL_NOTHING : *typed++;
}
uint32_t serial_overruns(void)
{
    return 0;
}
void serial_allow_input(bool allowed)
{
    (void)allowed;
}

size_t serial_write(const char *bytes, size_t count)
{
    static uint64_t free_us;
    now_us++;
    if (!present || !moves || now_us < free_us)
        return 0;
    size_t n = count < 16 ? count : 16;
    memcpy(line + sent, bytes, n);
    sent += n;
    free_us = now_us + n * 1000 / BYTES_PER_MS;
    return n;
}

void panic(const char *format, ...)
{
    fail_msg("%s", format);
    abort();
}

static int set_up(void **state)
{
    (void)state;
    cpu = (struct cpu){.self = &cpu};
    syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu);
    moves = true;
    console_init(&(struct handoff_uart){.base = 0x3f8});
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
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(a_slow_line_is_waited_for_and_loses_nothing, set_up),
        cmocka_unit_test_setup(a_stuck_line_is_waited_for_once, set_up),
        cmocka_unit_test_setup(a_guest_has_no_more_than_its_share_on_the_way, set_up),
        cmocka_unit_test_setup(what_was_typed_is_read_in_its_order, set_up),
        cmocka_unit_test_setup(without_a_line_nobody_waits, set_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
