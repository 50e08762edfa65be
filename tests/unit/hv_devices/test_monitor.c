/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../../hv/clock.h"
#include "../../../hv/console.h"
#include "../../../hv/guest.h"
#include "../../../hv/log.h"
#include "../../../hv/monitor.h"
#include "../../../hv/report.h"

/* ---- a console in memory, and time that tests turn ---- */

static char screen[1 << 20];
static size_t screen_length;
static char keys[1 << 16];
static size_t keys_at, keys_count;
static uint64_t now_us;
static unsigned lists;

struct guest guests[GUEST_MAX];
static struct manifest_guest configs[GUEST_MAX];

void console_write(const char *bytes, size_t count)
{
    assert_true(screen_length + count < sizeof screen);
    memcpy(screen + screen_length, bytes, count);
    screen_length += count;
    screen[screen_length] = '\0';
}
uint64_t console_position(void) { return screen_length; }
bool console_at_line_start(void) { return screen_length == 0 || screen[screen_length - 1] == '\n'; }
int console_read(void) { return keys_at < keys_count ? (uint8_t)keys[keys_at++] : -1; }
uint64_t clock_tsc(void) { return now_us * 1000; }
uint64_t clock_us_to_tsc(uint64_t us) { return us * 1000; }
uint64_t clock_now_us(void) { return now_us; }
void report_guests(void) { lists++; }

void guest_end(struct guest *guest, enum guest_end end, const char *format, ...)
{
    (void)format;
    guest->end = end;
}

static void guest_is(uint32_t i, const char *name, enum guest_state state)
{
    snprintf(configs[i].name, sizeof configs[i].name, "%s", name);
    guests[i].config = &configs[i];
    guests[i].index = i;
    guests[i].state = state;
    vuart_reset(&guests[i].uart, i);
}

static int setup(void **state)
{
    (void)state;
    memset(guests, 0, sizeof guests);
    guest_is(0, "hello", GUEST_RUNNING);
    guest_is(1, "linux", GUEST_RUNNING);
    guest_is(2, "gone", GUEST_ENDED);
    monitor_init();
    screen_length = keys_at = keys_count = 0;
    screen[0] = '\0';
    lists = 0;
    now_us += 10000000;
    monitor_poll();
    return 0;
}

static void says(uint32_t guest, const char *text)
{
    while (*text != '\0')
        monitor_guest_output(guest, (uint8_t)*text++);
}

static void types_n(const char *text, size_t count)
{
    memcpy(keys, text, count);
    keys_at = 0;
    keys_count = count;
    while (keys_at < keys_count)
        monitor_poll();
}
static void types(const char *text) { types_n(text, strlen(text)); }

static void silence(void)
{
    now_us += MONITOR_PROMPT_US;
    monitor_poll();
}

static void log_line(const char *text)      /* what log_print() does */
{
    if (!console_at_line_start())
        console_write("\n", 1);
    console_write(text, strlen(text));
}

static const char *received(uint32_t guest)
{
    static char text[VUART_FIFO + 1];
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
    char text[VUART_LINE * 2 + 11], expected[sizeof text + 16];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 2] = '\n';
    text[sizeof text - 1] = '\0';
    says(0, text);
    snprintf(expected, sizeof expected, "hello| %s", text);
    assert_string_equal(screen, expected);
}

static void control_bytes_do_not_reach_the_terminal(void **state)
{
    (void)state;
    says(0, "a\033[2Jb\x07\b\x9b\xc3\xa9\tc\rlinux| d\n");
    assert_string_equal(screen, "hello| a[2Jb???\tclinux| d\n");
    screen_length = 0;
    types("\x1d" "1");
    screen_length = 0;
    says(0, "e\033[K\b\n");
    assert_string_equal(screen, "hello| e\033[K\b\n");
}

static void the_last_line_of_a_guest_is_shown_at_its_end(void **state)
{
    (void)state;
    types("\x1d" "2");
    screen_length = 0;
    says(1, "bye");
    monitor_guest_ended(1, false);
    assert_string_equal(screen, "linux| bye\n");
    types("x");
    assert_string_equal(received(1), "x");          /* it comes back: still attached */
    monitor_guest_ended(1, true);
    types("y");
    assert_string_equal(received(1), "");
}

static void print_begins_a_line_of_its_own(void **state)
{
    (void)state;
    says(1, "> ");
    silence();
    monitor_print("table %d", 7);
    assert_string_equal(screen, "linux| > \ntable 7\n");
    char text[2000];
    memset(text, 'y', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    monitor_print("%s", text);
    assert_true(screen_length < 600 && screen[screen_length - 1] == '\n');
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
}

static void attach_by_number_works_from_any_state(void **state)
{
    (void)state;
    static const char *const before[] = {"", "\x1d", "\x1ds", "\x1dk", "\x1dk1", "\x1d" "1", "\x1d" "1\x1dk", "garbage", "\x1d?", "\x1d" "0"};
    for (unsigned i = 0; i < sizeof before / sizeof *before; i++) {
        setup(NULL);
        types(before[i]);
        received(0);
        received(1);
        types("\x1d" "2date\r");
        assert_string_equal(received(1), "date\r");
        assert_string_equal(received(0), "");
        assert_int_equal(guests[0].end, GUEST_END_NONE);
    }
}

static void the_escape_key_can_be_sent(void **state)
{
    (void)state;
    types("\x1d" "2\x1d]");
    assert_string_equal(received(1), "\x1d");
}

static void next_walks_over_those_that_run(void **state)
{
    (void)state;
    types("\x1dna\x1dnb\x1dnc");
    assert_string_equal(received(0), "ac");
    assert_string_equal(received(1), "b");
    guests[0].state = guests[1].state = GUEST_ENDED;
    screen_length = 0;
    types("\x1dn");
    assert_non_null(strstr(screen, "no guest runs"));
}

static void only_existing_running_guests_can_be_attached(void **state)
{
    (void)state;
    types("\x1d" "9x\x1d" "3y");
    assert_non_null(strstr(screen, "no guest has that number"));
    assert_non_null(strstr(screen, "gone does not run"));
    assert_string_equal(received(2), "");
}

static void kill_asks_first(void **state)
{
    (void)state;
    types("\x1d" "2\x1dkn");
    assert_int_equal(guests[1].end, GUEST_END_NONE);
    types("\x1dky");
    assert_int_equal(guests[1].end, GUEST_END_DESTROYED);
    types("\x1d" "0\x1dk1y");
    assert_int_equal(guests[0].end, GUEST_END_DESTROYED);
    types("\x1dk3y");                               /* gone: not running, y is a stray byte */
    assert_int_equal(guests[2].end, GUEST_END_NONE);
    assert_string_equal(received(1), "");
}

static void scroll_back_shows_the_last_lines(void **state)
{
    (void)state;
    char text[40];
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(text, sizeof text, "line %u\r\n", i);
        says(0, text);
    }
    says(0, "prompt");
    screen_length = 0;
    types("\x1ds1");
    assert_non_null(strstr(screen, "hello: line 4999\nhello: prompt\n"));
    assert_non_null(strstr(screen, "hello: line 4901\n"));
    assert_null(strstr(screen, "line 4899\n"));
    now_us += 2000000;
    screen_length = 0;
    types("\x1ds3");                                /* also of a guest that has ended, and printed nothing */
    assert_non_null(strstr(screen, "--- what gone printed last ---\n--- end of gone's last lines ---\n"));
}

static void help_and_list(void **state)
{
    (void)state;
    types("\x1d?\x1dl");
    assert_non_null(strstr(screen, "Ctrl-]"));
    assert_int_equal(lists, 1);
}

static void a_flood_of_commands_is_answered_within_limits(void **state)
{
    (void)state;
    char flood[20000];
    for (unsigned i = 0; i < sizeof flood; i += 2)
        memcpy(flood + i, "\x1d?", 2);
    types_n(flood, sizeof flood);
    assert_true(screen_length < 20000);
    types("\x1d" "1z");                             /* still obeyed */
    assert_string_equal(received(0), "z");
}

static void hostile_bytes_hurt_nobody(void **state)
{
    (void)state;
    uint64_t r = 99;
    for (unsigned round = 0; round < 3000; round++) {
        char bytes[200];
        for (unsigned i = 0; i < sizeof bytes; i++) {
            r = r * 6364136223846793005u + 1442695040888963407u;
            bytes[i] = (r >> 60) == 0 ? 0x1d : (char)(r >> 40);
            if ((r >> 57 & 3) == 0)
                monitor_guest_output((uint32_t)(r >> 33) % 70, (uint8_t)(r >> 48));
        }
        types_n(bytes, sizeof bytes);
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
        T(lines_come_out_whole_with_their_names), T(a_prompt_is_shown_after_silence_and_continued_in_place),
        T(an_interrupted_prompt_is_shown_again_from_its_start), T(a_line_longer_than_the_buffer_goes_on),
        T(control_bytes_do_not_reach_the_terminal), T(the_last_line_of_a_guest_is_shown_at_its_end),
        T(print_begins_a_line_of_its_own), T(detached_input_goes_nowhere), T(attach_by_number_works_from_any_state),
        T(the_escape_key_can_be_sent), T(next_walks_over_those_that_run), T(only_existing_running_guests_can_be_attached),
        T(kill_asks_first), T(scroll_back_shows_the_last_lines), T(help_and_list),
        T(a_flood_of_commands_is_answered_within_limits), T(hostile_bytes_hurt_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
