/* SPDX-License-Identifier: BSD-2-Clause-Patent */
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
#include "hv/console/line.h"
#include "hv/console/log.h"
#include "hv/monitor/monitor.h"
#include "hv/control/report.h"
#include "hv/cpu/smp.h"
#include "../alone.h"
#include "../fake_uart.h"
#include "fake_control.h"

/* ---- a console in memory, and time that tests turn ---- */

static char screen[1 << 20];
static size_t screen_length;
static size_t keys_at, keys_count;
static uint64_t now_us;

static struct manifest_guest configs[GUEST_MAX];
static uint8_t histories[GUEST_MAX][HISTORY_SIZE], rings[GUEST_MAX][VUART_INPUT];

static void sent(uint8_t byte)
{
    assert_true(screen_length + 1 < sizeof(screen));
    screen[screen_length++] = (char)byte;
    screen[screen_length] = '\0';
}
void fake_uart_printed(const char *line)
{
    (void)line;
}
uint8_t in8(uint16_t port)
{
    return fake_uart_read(port);
}
void out8(uint16_t port, uint8_t value)
{
    fake_uart_write(port, value);
}

/* Counts the keys that are taken. */
int __real_console_read(void);
int __wrap_console_read(void);
int __wrap_console_read(void)
{
    int key = __real_console_read();
    keys_at += key != CONSOLE_NOTHING;
    return key;
}

uint64_t rdtsc(void)
{
    return now_us * 1000;
}
static struct cpu cpu;

static void guest_is(uint32_t i, const char *name, enum guest_state state)
{
    snprintf(configs[i].name, sizeof(configs[i].name), "%s", name);
    guests[i].config = &configs[i];
    guests[i].index = i;
    guests[i].state = state;
    guests[i].end = state == GUEST_ENDED ? GUEST_END_POWEROFF : GUEST_END_NONE;
    guests[i].uart.input = rings[i];
    output_init(&guests[i].output, i, configs[i].name, histories[i]);
    vuart_reset(&guests[i].uart, &guests[i].output);
}

static int setup(void **state)
{
    (void)state;
    for (unsigned i = 0; i < GUEST_MAX && guests[i].config != NULL; i++)
        output_finish(&guests[i].output);       /* of the test before */
    memset(guests, 0, sizeof(guests));
    cpu = (struct cpu){.self = &cpu};
    syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu);
    smp_add(&cpu, true);
    fake_uart_sent = sent;
    console_init(&fake_uart);
    uint64_t unused;
    while (strcmp(log_change_level(true, &unused), "debug") != 0)
        ;
    log_change_level(false, &unused);
    guest_is(0, "hello", GUEST_RUNNING);
    guest_is(1, "linux", GUEST_RUNNING);
    guest_is(2, "gone", GUEST_ENDED);
    fake_uart_type("\0350", 2);     /* in the state that it was in at first */
    monitor_poll();
    keys_at = keys_count = 0;
    now_us += 10000000;
    monitor_poll();
    screen_length = 0;
    screen[0] = '\0';
    return 0;
}

static void says(uint32_t guest, const char *text)
{
    while (*text != '\0')
        output_byte(&guests[guest].output, (uint8_t)*text++);
}

static void types_n(const char *text, size_t count)
{
    fake_uart_type(text, count);
    keys_at = 0;
    keys_count = count;
    while (keys_at < keys_count) {
        size_t before = keys_at;
        monitor_poll();
        if (keys_at == before)
            now_us += 100000;       /* the line waits for a guest that does not read */
    }
}
static void types(const char *text)
{
    types_n(text, strlen(text));
}

static void silence(void)
{
    now_us += OUTPUT_PROMPT_US;
    monitor_poll();
}

static void log_line(const char *text)      /* what log_print() does */
{
    console_begin();
    if (!console_at_line_start())
        console_write("\n", 1);
    console_write(text, strlen(text));
    console_end();
}

static const char *received(uint32_t guest)
{
    static char text[VUART_INPUT + 1];
    struct vuart *uart = &guests[guest].uart;
    uint32_t n = 0;
    while (uart->input_count > 0)
        text[n++] = (char)vuart_read(uart, 0);
    text[n] = '\0';
    return text;
}

/* ---- output ---- */

static void lines_come_out_whole_with_their_names(void **state)
{
    (void)state;
    says(0, "one ");
    says(1, "two ");
    says(0, "three\r\n");
    says(1, "four\n\n");
    assert_string_equal(screen, "hello| one three\nlinux| two four\nlinux| \n");
}

static void a_prompt_is_shown_after_silence_and_continued_in_place(void **state)
{
    (void)state;
    says(1, "login: ");
    monitor_poll();
    assert_string_equal(screen, "");
    silence();
    assert_string_equal(screen, "linux| login: ");
    silence();
    assert_string_equal(screen, "linux| login: ");
    says(1, "root");
    silence();
    says(1, "\n");
    assert_string_equal(screen, "linux| login: root\n");
}

static void an_interrupted_prompt_is_shown_again_from_its_start(void **state)
{
    (void)state;
    says(1, "# ");
    silence();
    says(0, "tick\n");
    says(1, "ls\n");
    assert_string_equal(screen, "linux| # \nhello| tick\nlinux| # ls\n");
    says(1, "$ ");
    silence();
    log_line("[ 1] notice: x\n");
    says(1, "id\n");
    assert_string_equal(screen + 34, "linux| $ \n[ 1] notice: x\nlinux| $ id\n");
}

static void a_line_longer_than_the_buffer_goes_on(void **state)
{
    (void)state;
    char text[OUTPUT_LINE * 2 + 11], expected[sizeof(text) + 16];
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 2] = '\n';
    text[sizeof(text) - 1] = '\0';
    says(0, text);
    snprintf(expected, sizeof(expected), "hello| %s", text);
    assert_string_equal(screen, expected);
}

static void control_bytes_do_not_reach_the_terminal(void **state)
{
    (void)state;
    says(0, "a\033[2Jb\x07\b\x9b\xc3\xa9\tc\rlinux| d\n");
    assert_string_equal(screen, "hello| a[2Jb???\tclinux| d\n");
    screen_length = 0;
    types("\x1d"
          "1");
    screen_length = 0;
    says(0, "e\033[K\b\n");
    assert_string_equal(screen, "hello| e\033[K\b\n");
}

static void the_last_line_of_a_guest_is_shown_at_its_end(void **state)
{
    (void)state;
    types("\x1d"
          "2");
    screen_length = 0;
    says(1, "bye");
    vuart_power_off(&guests[1].uart);
    monitor_poll();
    assert_string_equal(screen, "linux| bye\n");
    types("x");
    assert_string_equal(received(1), "x");          /* it comes back: still attached */
    vuart_power_off(&guests[1].uart);
    guests[1].stays_ended = true;
    monitor_poll();
    types("y");
    assert_string_equal(received(1), "");
}

static void print_begins_a_line_of_its_own(void **state)
{
    (void)state;
    says(1, "> ");
    silence();
    line_print("table %d", 7);
    assert_string_equal(screen, "linux| > \ntable 7\n");
    char text[2000];
    memset(text, 'y', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    line_print("%s", text);
    assert_true(screen_length < 600 && screen[screen_length - 1] == '\n');
}

static void no_escape_byte_is_hvs_own(void **state)
{
    (void)state;
    types("\035?\035l\0351\035k?\0350\035k1?\035r2\035+\035-\035p\035x");
    screen_length = 0;
    says(0, "a\033[1mb\nprompt");
    silence();
    log_print(LOG_ERROR, "e");
    now_us += 1000000;                              /* answers are given again */
    types("\035?");
    assert_non_null(strstr(screen, "other key for the attached guest"));
    vuart_power_off(&guests[0].uart);
    guests[0].stays_ended = true;
    monitor_poll();
    assert_null(memchr(screen, '\033', screen_length));
}

/* ---- log level ---- */

static void the_log_level_leaves_out_and_counts(void **state)
{
    (void)state;
    uint64_t before, after;
    log_change_level(true, &before);
    log_change_level(false, &before);
    log_print(LOG_DEBUG, "a");
    types("\035+");
    log_print(LOG_DEBUG, "b");
    types("\035+\035-\035-\035-");
    assert_non_null(strstr(screen, "monitor: log level error, of fatal, error, notice, guest, debug; "));
    screen_length = 0;
    screen[0] = '\0';
    log_print(LOG_NOTICE, "c");
    log_print(LOG_GUEST, "d");
    log_print(LOG_ERROR, "e");
    types("\035-\035-\035-");
    log_print(LOG_ERROR, "f");
    log_print(LOG_FATAL, "g");
    assert_null(strstr(screen, ": a\n"));
    assert_null(strstr(screen, ": c\n"));
    assert_null(strstr(screen, ": d\n"));
    assert_non_null(strstr(screen, "error: e\n"));
    assert_null(strstr(screen, "error: f\n"));
    assert_non_null(strstr(screen, "fatal: g\n"));
    assert_string_equal(log_change_level(false, &after), "fatal");
    assert_int_equal(after - before, 4);
}

static void misbehaving_guests_are_logged_within_limits(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 1000; i++)
        log_print(LOG_GUEST, "bad");
    assert_true(screen_length < 20 * 40);
    log_print(LOG_GUEST_COUNTED, "bad, and counted");
    assert_non_null(strstr(screen, "guest: bad, and counted\n"));
    now_us += 1000000;
    log_print(LOG_GUEST, "bad");
    assert_non_null(strstr(screen, "notice: 980 lines about guests left out\n"));
    screen_length = 0;
    now_us += 1000000;
    for (unsigned i = 0; i < 20; i++)
        log_print(LOG_GUEST, "bad %u", i);
    now_us += 1000000;
    log_print(LOG_GUEST, "again");
    assert_non_null(strstr(screen, "bad 19\n"));
    assert_non_null(strstr(screen, "again\n"));
    assert_null(strstr(screen, "left out"));        /* none was */
}

/* A line that is too long is cut, never more. */
static void a_long_log_line_is_cut_and_ended(void **state)
{
    (void)state;
    char text[1024];
    for (size_t length = 440; length < sizeof(text); length++) {
        memset(text, 'x', length);
        text[length] = '\0';
        screen_length = 0;
        log_print(LOG_NOTICE, "%s", text);
        assert_int_equal(screen[screen_length - 1], '\n');
        assert_int_equal(screen[screen_length - 2], 'x');
        size_t prefix = (size_t)(strchr(screen, 'x') - screen);
        assert_int_equal(screen_length, prefix + length < 511 ? prefix + length + 1 : 512);
        assert_int_equal(strlen(screen), screen_length);
    }
}

/* ---- input ---- */

static void detached_input_goes_nowhere(void **state)
{
    (void)state;
    types("hello\r");
    assert_string_equal(received(0), "");
    assert_string_equal(received(1), "");
    assert_non_null(strstr(screen, "no guest is attached"));
    screen_length = 0;
    types("more");
    assert_int_equal(screen_length, 0);             /* said once */
    types("\0351\0350z");
    assert_non_null(strstr(screen, "no guest is attached"));    /* and again after each detaching */
}

static void attach_by_number_works_from_any_state(void **state)
{
    (void)state;
    static const char *const before[] = {"",
                                         "\x1d",
                                         "\x1dk",
                                         "\x1dk1",
                                         "\x1d"
                                         "1",
                                         "\x1d"
                                         "1\x1dk",
                                         "garbage",
                                         "\x1d?",
                                         "\x1d"
                                         "0"};
    for (unsigned i = 0; i < sizeof(before) / sizeof(*before); i++) {
        setup(NULL);
        types(before[i]);
        received(0);
        received(1);
        types("\x1d"
              "2date\r");
        assert_string_equal(received(1), "date\r");
        assert_string_equal(received(0), "");
        assert_int_equal(guests[0].end, GUEST_END_NONE);
    }
}

static void the_escape_key_can_be_sent(void **state)
{
    (void)state;
    types("\x1d"
          "2\x1d]");
    assert_string_equal(received(1), "\x1d");
}

static void only_existing_running_guests_can_be_attached(void **state)
{
    (void)state;
    types("\x1d"
          "9x\x1d"
          "3y");
    assert_non_null(strstr(screen, "no guest has that number"));
    assert_non_null(strstr(screen, "gone does not run: Ctrl-] r and its number launches it again\n"));
    assert_string_equal(received(2), "");
    types("\0351\0359x\0351\0353y");                /* nor does it go to who was attached before */
    assert_string_equal(received(0), "");
}

static void many_guests(unsigned count)
{
    char name[20];
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "g%u", i + 1);
        guest_is(i, name, GUEST_RUNNING);
    }
}

static void more_than_nine_guests_have_numbers_of_two_digits(void **state)
{
    (void)state;
    many_guests(12);
    types("\03512a\0351\rb\0351");
    assert_string_equal(received(11), "a");
    assert_string_equal(received(0), "b");
    assert_non_null(strstr(screen, "monitor: guest 1: Enter, or another digit"));
    types("0c");
    assert_string_equal(received(9), "c");
    types("\0357ls");                               /* what is no digit ends it, and is the guest's */
    assert_string_equal(received(6), "ls");
    types("\0352\0350d\0353\0350e");                /* broken off; 0 detaches at once */
    types("\03513f\03564f\03599f");
    assert_non_null(strstr(screen, "no guest has that number"));
    for (unsigned i = 0; i < 12; i++)
        assert_string_equal(received(i), "");
}

static void kill_takes_two_digits(void **state)
{
    (void)state;
    many_guests(12);
    guests[11].state = GUEST_ENDED;
    types("\035r0\035rx\035r13\035k13y\035k0y\035k1\r\033y\035k11n\035k12y");
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(guests[i].end, GUEST_END_NONE);
    types("\035k11y\035k2\ry\035k3y");
    for (unsigned i = 0; i < 12; i++)
        assert_int_equal(guests[i].end, i == 10 || i == 1 || i == 2 ? GUEST_END_DESTROYED : GUEST_END_NONE);
}

static void a_hundred_guests_have_numbers_of_three_digits(void **state)
{
    (void)state;
    many_guests(99);
    types("\03599a");                               /* two digits are all that there can be */
    assert_string_equal(received(98), "a");
    many_guests(GUEST_MAX);
    types("\035100b\03512\rc\03512d\0359\re");
    assert_string_equal(received(99), "b");
    assert_string_equal(received(11), "cd");
    assert_string_equal(received(8), "e");
    assert_non_null(strstr(screen, "monitor: guest 10: Enter, or another digit"));
    types("\03599\rx");
    assert_string_equal(received(98), "x");
    types("\035512f\035513f\035999f");
    assert_string_equal(received(511), "f");
    assert_non_null(strstr(screen, "no guest has that number"));
    says(GUEST_MAX - 1, "the last one's");
    now_us += OUTPUT_PROMPT_US;
    monitor_poll();
    assert_non_null(strstr(screen, "g512| the last one's"));
}

/* By terminal: CR, LF, CR LF (telnet), CR NUL (telnet, too). What comes behind the CR is nobody's. */
static void enter_after_a_number_is_one_key(void **state)
{
    (void)state;
    static const struct {
        const char *keys;
        size_t count;
    } enters[] = {{"\r", 1}, {"\n", 1}, {"\r\n", 2}, {"\r\0", 2}};
    for (unsigned i = 0; i < sizeof(enters) / sizeof(*enters); i++) {
        for (unsigned digits = 1; digits <= 2; digits++) {
            bool complete = digits == 2;            /* of two that there can be */
            uint32_t number = complete ? 12 : 3;
            char typed[40];
            setup(NULL);
            many_guests(12);
            guests[0].state = GUEST_RUNNING;
            /* attach: the CR after a number that needed none is the first that is typed to the guest */
            int length = snprintf(typed, sizeof(typed), "\035%u", number);
            memcpy(typed + length, enters[i].keys, enters[i].count);
            types_n(typed, (size_t)length + enters[i].count);
            types("a");
            assert_string_equal(received(number - 1), !complete ? "a" : enters[i].keys[0] == '\r' ? "\ra" : "\na");
            /* end: it still waits for y; the guest that is attached gets nothing */
            types("\0350");
            length = snprintf(typed, sizeof(typed), "\035k%u", number);
            memcpy(typed + length, enters[i].keys, enters[i].count);
            types_n(typed, (size_t)length + enters[i].count);
            types("y");
            assert_int_equal(guests[number - 1].end, GUEST_END_DESTROYED);
            /* launch again, with a guest attached */
            types("\0355\r");
            guests[number - 1].state = GUEST_ENDED;
            fake_relaunched = 0;
            length = snprintf(typed, sizeof(typed), "\035r%u", number);
            memcpy(typed + length, enters[i].keys, enters[i].count);
            types_n(typed, (size_t)length + enters[i].count);
            assert_int_equal(fake_relaunched, UINT64_C(1) << (number - 1));
            assert_string_equal(received(4), "");
        }
    }
    setup(NULL);                                    /* once only: what is typed later is typed */
    many_guests(12);
    types("\0353\r\r\n\n");
    assert_string_equal(received(2), "\r\n\n");
    types("\0354\ra\n");
    assert_string_equal(received(3), "a\n");
    types("\035k5\r\rxy");                         /* a second Enter is no y */
    assert_int_equal(guests[4].end, GUEST_END_NONE);
    types("\0350\035k12\r\r\035k11\033y");
    assert_int_equal(guests[11].end, GUEST_END_NONE);
    assert_int_equal(guests[10].end, GUEST_END_NONE);
}

/* console.c bounds what each may have on its way to the line. */
static void each_guests_bytes_are_its_own_and_lost_ones_are_told(void **state)
{
    (void)state;
    fake_uart_stuck = true;
    says(1, "abc\n");
    assert_int_equal(console_waiting[2], strlen("linux| abc\r\n"));
    says(0, "prompt");
    now_us += OUTPUT_PROMPT_US;
    monitor_poll();
    assert_int_equal(console_waiting[1], strlen("hello| prompt"));
    types("\035k2n");
    assert_int_equal(console_waiting[2], strlen("linux| abc\r\n"));
    assert_true(console_waiting[0] > 0 && console_waiting[1] == strlen("hello| prompt"));
    fake_uart_stuck = false;
    console_drain();
    screen_length = 0;
    guests[1].output.lost = 5;
    says(1, "d\ne\n");
    assert_non_null(strstr(screen, "linux| d [5 bytes lost]\nlinux| e\n"));
}

static void without_room_for_it_nothing_is_kept(void **state)
{
    (void)state;
    guests[0].output.history.bytes = NULL;
    says(0, "words\n");
    assert_non_null(strstr(screen, "hello| words\n"));
    assert_int_equal(guests[0].output.history.total, 0);
}

static void who_is_launched_is_ended_and_who_is_ending_is_not(void **state)
{
    (void)state;
    guests[0].state = GUEST_LAUNCHING;
    guests[1].end = GUEST_END_POWEROFF;
    types("\035k1n\035k2y");
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    assert_int_equal(guests[1].end, GUEST_END_POWEROFF);
    assert_non_null(strstr(screen, "hello is ended at once"));
    assert_non_null(strstr(screen, "linux is being ended"));
    types("\035k1y");
    assert_int_equal(guests[0].end, GUEST_END_DESTROYED);
    assert_non_null(strstr(screen, "hello is being ended"));
    guests[0].state = GUEST_RUNNING;
    guests[0].end = GUEST_END_NONE;
    screen_length = 0;
    types("\0352x");                                /* nor is it attached, as nobody would read that */
    assert_non_null(strstr(screen, "linux is being ended"));
    assert_string_equal(received(1), "");
    types("\0351x\0351x");
    assert_string_equal(received(0), "xx");
    types("\0350\035k1");
    guests[0].state = GUEST_ENDED;                  /* between question and answer */
    types("y");
    assert_int_equal(guests[0].end, GUEST_END_NONE);
}

static void kill_asks_first(void **state)
{
    (void)state;
    types("\x1d"
          "2\x1dkn");
    assert_int_equal(guests[1].end, GUEST_END_NONE);
    assert_non_null(strstr(
        screen,
        "monitor: linux is ended at once, without a shutdown, if you press y now; any other key cancels\nmonitor: no guest was ended\n"));
    types("\x1dky");
    assert_int_equal(guests[1].end, GUEST_END_DESTROYED);
    types("\x1d"
          "0\x1dk1y");
    assert_int_equal(guests[0].end, GUEST_END_DESTROYED);
    types("\x1dk3y");                               /* gone: not running, y is a stray byte */
    assert_int_equal(guests[2].end, GUEST_END_POWEROFF);
    assert_string_equal(received(1), "");
}

static void who_has_ended_is_launched_again(void **state)
{
    (void)state;
    fake_relaunched = 0;
    guests[1].state = GUEST_ENDED;
    types("\x1dr2");
    assert_int_equal(fake_relaunched, 1 << 1);
    types("\x1dr1");                                /* it runs */
    assert_int_equal(fake_relaunched, 1 << 1);
    assert_non_null(strstr(screen, "has not ended"));
}

static void at_the_end_the_secure_processor_need_not_be_waited_for(void **state)
{
    (void)state;
    types("\x1dq");
    assert_non_null(strstr(screen, "monitor: not before all guests have ended (Ctrl-] k)\n"));
    fake_stopping = true;
    types("\x1dq");
    assert_non_null(strstr(screen, "monitor: its answer is not waited for\n"));
    fake_stopping = false;
}

static void help_and_list(void **state)
{
    (void)state;
    types("\x1dz");
    assert_non_null(strstr(screen, "monitor: unknown command; Ctrl-] ? for help\n"));
    types("\x1d?\x1dl\x1dp");
    assert_non_null(strstr(screen, "Ctrl-]"));
    assert_non_null(strstr(screen, "\nidentity\n"));
    const char *list = strstr(screen, " no name                            state     key ");
    assert_non_null(list);
    assert_null(strstr(list + 1, " no name"));
    assert_non_null(strstr(list, "\n  2 linux                           running   none"));
}

static void a_flood_of_commands_is_answered_within_limits(void **state)
{
    (void)state;
    char flood[20000];
    for (const char *key = "?lp+-01krq]"; *key != '\0'; key++) {
        setup(NULL);
        for (unsigned i = 0; i < sizeof(flood); i += 2) {
            flood[i] = MONITOR_ESCAPE;
            flood[i + 1] = *key;
        }
        types_n(flood, sizeof(flood));
        assert_true(screen_length < 20000);
        types("\x1d"
              "1z");                         /* still obeyed */
        assert_string_equal(received(0), "z");
    }
}

static bool lines_fit(unsigned width)
{
    for (const char *at = screen, *end; (end = strchr(at, '\n')) != NULL; at = end + 1)
        if (end - at > (long)width)
            return false;
    return true;
}

static void help_fits_on_any_terminal(void **state)
{
    (void)state;
    types("\035?");
    assert_true(lines_fit(79));
}

static void hostile_bytes_hurt_nobody(void **state)
{
    (void)state;
    uint64_t r = 99;
    for (unsigned round = 0; round < 3000; round++) {
        char bytes[200];
        for (unsigned i = 0; i < sizeof(bytes); i++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (r >> 60) == 0 ? 0x1d : (char)(r >> 40);
            if ((r >> 57 & 3) == 0)
                output_byte(&guests[(r >> 33) % 3].output, (uint8_t)(r >> 48));
        }
        types_n(bytes, sizeof(bytes));
        now_us += r >> 45;
        for (unsigned i = 0; i < 2; i++)
            guests[i].end = GUEST_END_NONE;
        screen_length = 0;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup(name, setup)
        T(lines_come_out_whole_with_their_names),
        T(a_prompt_is_shown_after_silence_and_continued_in_place),
        T(an_interrupted_prompt_is_shown_again_from_its_start),
        T(a_line_longer_than_the_buffer_goes_on),
        T(control_bytes_do_not_reach_the_terminal),
        T(the_last_line_of_a_guest_is_shown_at_its_end),
        T(print_begins_a_line_of_its_own),
        T(detached_input_goes_nowhere),
        T(attach_by_number_works_from_any_state),
        T(the_escape_key_can_be_sent),
        T(only_existing_running_guests_can_be_attached),
        T(kill_asks_first),
        T(who_has_ended_is_launched_again),
        T(at_the_end_the_secure_processor_need_not_be_waited_for),
        T(help_and_list),
        T(a_flood_of_commands_is_answered_within_limits),
        T(hostile_bytes_hurt_nobody),
        T(no_escape_byte_is_hvs_own),
        T(the_log_level_leaves_out_and_counts),
        T(misbehaving_guests_are_logged_within_limits),
        T(a_long_log_line_is_cut_and_ended),
        T(more_than_nine_guests_have_numbers_of_two_digits),
        T(kill_takes_two_digits),
        T(a_hundred_guests_have_numbers_of_three_digits),
        T(without_room_for_it_nothing_is_kept),
        T(enter_after_a_number_is_one_key),
        T(each_guests_bytes_are_its_own_and_lost_ones_are_told),
        T(who_is_launched_is_ended_and_who_is_ending_is_not),
        T(help_fits_on_any_terminal),
    };
    clock_init(1000000000, 0, 0);
    return run_each_alone(tests, sizeof(tests) / sizeof(*tests));
}
