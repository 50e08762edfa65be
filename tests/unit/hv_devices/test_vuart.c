/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include <stdio.h>
#include <string.h>

#include <asm/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/console/console.h"
#include "hv/console/line.h"
#include "hv/console/output.h"
#include "hv/cpu/cpu.h"
#include "hv/dev/vuart.h"
#include "../fake_uart.h"

static struct vuart uart;
static uint8_t ring[VUART_INPUT];
static struct output output;
static struct cpu cpu;

uint64_t rdtsc(void)
{
    return 0;
}
uint8_t in8(uint16_t port)
{
    return fake_uart_read(port);
}
void out8(uint16_t port, uint8_t value)
{
    fake_uart_write(port, value);
}

static char told[512];
void fake_uart_printed(const char *line)
{
    snprintf(told, sizeof(told), "%s", line);
}

static int setup(void **state)
{
    (void)state;
    cpu = (struct cpu){.self = &cpu};
    syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu);
    console_init(&fake_uart);
    memset(&uart, 0, sizeof(uart));
    uart.input = ring;
    vuart_reset(&uart, &output);
    output = (struct output){.owner = 8, .name = "linux"};
    memset(console_waiting, 0, sizeof(console_waiting));
    return 0;
}

static uint8_t in(unsigned r)
{
    return vuart_read(&uart, r);
}
static void out(unsigned r, uint8_t v)
{
    vuart_write(&uart, r, v);
}

static void who_has_much_on_the_way_is_told_so_and_then_loses_it(void **state)
{
    (void)state;
    assert_int_equal(in(5), 0x60);
    console_waiting[7] = console_waiting[9] = 1u << 20;     /* others */
    console_waiting[8] = CONSOLE_SHARE - 1;
    assert_int_equal(in(5), 0x60);
    console_waiting[8] = CONSOLE_SHARE;
    assert_int_equal(in(5), 0);                     /* THRE and TEMT wait; a driver waits with them */
    out(0, 'a');
    console_waiting[8] = CONSOLE_SHARE + 4095;
    out(0, 'b');
    assert_int_equal(output.line_length, 2);
    console_waiting[8]++;
    out(0, 'c');
    out(0, 'd');
    assert_int_equal(output.line_length, 2);
    assert_int_equal(output.lost, 2);
    console_waiting[8] = 0;
    assert_int_equal(in(5), 0x60);
}

/* The order of accesses in Linux' 8250 autoconfig: it must find a 16550A and no relative of it. */
static void linux_autoconfig_finds_a_16550a(void **state)
{
    (void)state;
    out(1, 0);
    assert_int_equal(in(1), 0);                 /* IER: something answers */
    out(1, 0x0f);
    assert_int_equal(in(1) & 0x0f, 0x0f);
    out(1, 0);
    out(4, 0x10 | 0x0a);                        /* loopback: RTS and OUT2 come back as CTS and DCD */
    assert_int_equal(in(6) & 0xf0, 0x90);
    out(4, 0);
    assert_int_equal(in(6) & 0xf0, 0xb0);
    out(2, 1);
    assert_int_equal(in(2) >> 6, 3);            /* a FIFO that works */
    out(3, 0x80);
    assert_int_not_equal(in(2), 0);             /* no EFR behind DLAB: not a 16650 */
    out(3, 0xbf);
    assert_int_not_equal(in(2), 0);
    out(3, 0);
    uint8_t mcr = in(4);                        /* National Semiconductor's bank select */
    out(3, 0xe0);
    uint8_t excr = in(2);
    out(3, 0);
    out(4, mcr ^ 0x10);
    out(3, 0xe0);
    assert_int_equal(in(2), excr);
    out(3, 0);
    out(4, mcr);
    out(2, 1 | 0x20);                           /* TI16C750's 64-byte FIFO */
    assert_int_equal(in(2) >> 5, 6);
    out(2, 1);
    out(3, 0x80);
    out(2, 1 | 0x20);
    assert_int_equal(in(2) >> 5, 6);
    out(3, 0);
    out(1, 0x40);                               /* XScale's UUE */
    assert_int_equal(in(1) & 0x40, 0);
    out(7, 0xa5);
    assert_int_equal(in(7), 0xa5);
    out(7, 0x5a);
    assert_int_equal(in(7), 0x5a);
}

/* serial8250_do_startup: enabling THRI while the transmitter is idle shows in IIR. */
static void linux_startup_sees_the_transmit_interrupt(void **state)
{
    (void)state;
    out(1, 0x02);
    assert_int_equal(in(5) & 0x40, 0x40);
    assert_int_equal(in(2), 0x02);
    assert_int_equal(in(2), 0x01);              /* reading it acknowledged it */
    out(0, 'x');
    assert_int_equal(in(2), 0x02);              /* empty again: a new event */
    out(1, 0);
    assert_int_equal(in(2), 0x01);
    out(1, 0x02);
    assert_int_equal(in(2), 0x02);
}

/* What is not enabled is not shown, whatever happens, and an event is not repeated by enabling another. */
static void sources_that_ier_holds_back_do_not_show(void **state)
{
    (void)state;
    out(0, 'x');
    assert_int_equal(in(2), 0x01);
    out(1, 0x02);
    assert_int_equal(in(2), 0x02);
    out(1, 0x06);
    assert_int_equal(in(2), 0x01);
    while (vuart_input(&uart, 'f'))
        ;
    out(1, 0x01);
    assert_int_equal(in(2), 0x04);
    for (unsigned i = 0; i < VUART_INPUT; i++)
        in(0);
    assert_int_equal(in(5), 0x62);              /* the overrun is told, also when all has been read */
}

static void loopback_connects_the_modem_lines(void **state)
{
    (void)state;
    static const struct {
        uint8_t mcr, msr;
    } lines[] = {{0, 0}, {1, 0x20}, {2, 0x10}, {4, 0x40}, {8, 0x80}, {15, 0xf0}};
    for (unsigned i = 0; i < sizeof(lines) / sizeof(*lines); i++) {
        out(4, 0x10 | lines[i].mcr);
        assert_int_equal(in(6), lines[i].msr);
        out(4, lines[i].mcr);
        assert_int_equal(in(6), 0xb0);
    }
}

static void the_divisor_is_that_of_115200_baud_at_first(void **state)
{
    (void)state;
    out(3, 0x80);
    out(0, 0x55);
    out(1, 0x66);
    vuart_reset(&uart, &output);
    out(3, 0x80);
    assert_int_equal(in(0), 1);
    assert_int_equal(in(1), 0);
}

static void output_reaches_the_console(void **state)
{
    (void)state;
    out(0, 'h');
    out(0, 'i');
    assert_int_equal(in(5), 0x60);
    assert_int_equal(output.line_length, 2);
    assert_memory_equal(output.line, "hi", 2);
}

static void the_divisor_hides_data_and_ier(void **state)
{
    (void)state;
    out(1, 5);
    out(3, 0x83);
    out(0, 0x0c);
    out(1, 0x34);
    assert_int_equal(in(0), 0x0c);
    assert_int_equal(in(1), 0x34);
    out(3, 0x03);
    assert_int_equal(in(1), 5);
    assert_int_equal(in(3), 3);
    assert_int_equal(output.line_length, 0);
}

static void input_is_read_in_order(void **state)
{
    (void)state;
    assert_int_equal(in(5) & 1, 0);
    assert_int_equal(in(0), 0);
    for (unsigned i = 0; i < 5; i++)
        assert_true(vuart_input(&uart, (uint8_t)('a' + i)));
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(in(5) & 1, 1);
        assert_int_equal(in(0), 'a' + i);
    }
    assert_int_equal(in(5) & 1, 0);
}

static void receiver_interrupts_follow_trigger_and_timeout(void **state)
{
    (void)state;
    out(1, 1);
    vuart_input(&uart, 'a');
    assert_int_equal(in(2), 0x04);              /* no FIFO: each byte */
    in(0);
    out(2, 0xc1);                               /* FIFO, trigger 14 */
    for (unsigned i = 0; i < 13; i++)
        vuart_input(&uart, 'b');
    assert_int_equal(in(2), 0xcc);
    vuart_input(&uart, 'c');
    assert_int_equal(in(2), 0xc4);
    out(1, 0);
    assert_int_equal(in(2), 0xc1);
}

static void a_full_ring_is_an_overrun_and_keeps_what_came_first(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VUART_INPUT; i++)
        assert_true(vuart_input(&uart, (uint8_t)i));
    assert_false(vuart_input(&uart, 0xee));
    out(1, 0x04);
    assert_int_equal(in(2), 0x06);
    assert_int_equal(in(5), 0x63);
    assert_int_equal(in(5), 0x61);              /* reading cleared it */
    assert_int_equal(in(2), 0x01);
    for (unsigned i = 0; i < VUART_INPUT; i++)
        assert_int_equal(in(0), (uint8_t)i);
}

static void fcr_clears_the_receiver(void **state)
{
    (void)state;
    vuart_input(&uart, 'a');
    out(2, 0x01);                               /* switching the FIFO on clears it */
    assert_int_equal(in(5) & 1, 0);
    vuart_input(&uart, 'a');
    out(2, 0x01);
    assert_int_equal(in(5) & 1, 1);
    out(2, 0x03);
    assert_int_equal(in(5) & 1, 0);
    assert_int_equal(in(2), 0xc1);
    out(2, 0x00);
    assert_int_equal(in(2), 0x01);
}

/* Linux clears the FIFO whenever it opens the port: what was typed ahead is no part of it. */
static void a_guest_cannot_clear_more_than_a_fifo_holds(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 100; i++)
        vuart_input(&uart, (uint8_t)i);
    out(2, 0x03);
    assert_int_equal(in(0), 16);
    assert_int_equal(vuart_input_room(&uart), VUART_INPUT - 83);
    vuart_power_off(&uart);
    assert_string_equal(told, "monitor: linux ended without reading the last 83 bytes of input");
    assert_int_equal(in(5), 0x60);
}

static void without_a_ring_there_is_a_fifo(void **state)
{
    (void)state;
    uart.input = NULL;
    assert_int_equal(vuart_input_room(&uart), 16);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < 16; i++)
            assert_true(vuart_input(&uart, (uint8_t)(round + i)));
        assert_false(vuart_input(&uart, 99));
        for (unsigned i = 0; i < 16; i++)
            assert_int_equal(in(0), round + i);
        if (round == 1)
            assert_true(vuart_input(&uart, 7));
        if (round == 1)
            assert_int_equal(in(0), 7);
    }
}

static void a_break_is_seen_in_lsr_before_its_nul(void **state)
{
    (void)state;
    out(1, 0x05);
    vuart_input(&uart, 'a');
    assert_true(vuart_break(&uart));
    assert_false(vuart_break(&uart));           /* one at a time */
    vuart_input(&uart, 'b');
    assert_int_equal(in(2), 0x04);
    assert_int_equal(in(5), 0x61);
    assert_int_equal(in(0), 'a');
    assert_int_equal(in(2), 0x06);
    assert_int_equal(in(5), 0x71);
    assert_int_equal(in(5), 0x61);
    assert_int_equal(in(2), 0x04);
    assert_int_equal(in(0), 0);
    assert_int_equal(in(0), 'b');
    assert_int_equal(in(5), 0x60);

    vuart_break(&uart);                         /* read unseen, cleared, forgotten: it is gone */
    in(0);
    vuart_input(&uart, 'c');
    assert_int_equal(in(5), 0x61);
    vuart_break(&uart);
    out(2, 0x01);
    vuart_input(&uart, 'd');
    assert_int_equal(in(5), 0x61);
    in(0);
    vuart_break(&uart);
    vuart_power_off(&uart);
    vuart_input(&uart, 'e');
    assert_int_equal(in(5), 0x61);
    vuart_break(&uart);                         /* and it survives that the guest is launched again */
    vuart_reset(&uart, &output);
    in(0);
    assert_int_equal(in(5), 0x71);
    while (vuart_input(&uart, 'f'))
        ;
    in(5);
    assert_false(vuart_break(&uart));           /* no room */
    assert_int_equal(in(5), 0x63);
}

static void loopback_returns_what_was_sent(void **state)
{
    (void)state;
    out(4, 0x10);
    out(0, 0x42);
    assert_int_equal(output.line_length, 0);
    assert_int_equal(in(5) & 1, 1);
    assert_int_equal(in(0), 0x42);
}

static void a_reset_keeps_what_was_typed(void **state)
{
    (void)state;
    vuart_input(&uart, 'a');
    out(3, 0x83);
    vuart_reset(&uart, &output);
    assert_int_equal(uart.input_count, 1); /* typed ahead; vuart_power_off() forgets what the launch before left */
    assert_int_equal(in(5), 0x61);
    assert_int_equal(in(0), 'a');
    assert_int_equal(in(3), 0);
}

static void hostile_accesses_break_nothing(void **state)
{
    (void)state;
    uint64_t r = 42;
    for (unsigned i = 0; i < 3000000; i++) {
        r = r * 6364136223846793005u + 1442695040888963407u;
        uint8_t value = (uint8_t)(r >> 33);
        uint32_t offset = (uint32_t)(r >> 48) % 10;
        switch (r >> 62) {
        case 0:
            vuart_read(&uart, offset);
            break;
        case 1:
            if (value == 0)
                vuart_break(&uart);
            vuart_input(&uart, value);
            break;
        default:
            vuart_write(&uart, offset, value);
        }
        assert_true(uart.input_count <= VUART_INPUT && uart.input_head < VUART_INPUT);
        assert_true(uart.break_after == VUART_NO_BREAK || uart.break_after < uart.input_count);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, setup)
        T(who_has_much_on_the_way_is_told_so_and_then_loses_it),
        T(linux_autoconfig_finds_a_16550a),
        T(linux_startup_sees_the_transmit_interrupt),
        T(output_reaches_the_console),
        T(sources_that_ier_holds_back_do_not_show),
        T(loopback_connects_the_modem_lines),
        T(the_divisor_is_that_of_115200_baud_at_first),
        T(the_divisor_hides_data_and_ier),
        T(input_is_read_in_order),
        T(receiver_interrupts_follow_trigger_and_timeout),
        T(a_full_ring_is_an_overrun_and_keeps_what_came_first),
        T(fcr_clears_the_receiver),
        T(a_guest_cannot_clear_more_than_a_fifo_holds),
        T(without_a_ring_there_is_a_fifo),
        T(a_break_is_seen_in_lsr_before_its_nul),
        T(loopback_returns_what_was_sent),
        T(a_reset_keeps_what_was_typed),
        T(hostile_accesses_break_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
