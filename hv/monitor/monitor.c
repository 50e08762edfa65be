/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Console input. Bytes go to the attached guest; the byte after the escape key is a command. All input is untrusted.
 *
 * Input is never dropped silently: while the attached guest's buffer is full, input stays in console.c's ring, and RTS
 * stops the sender. A guest that does not read must not block the operator's commands: after a timeout, input is read on,
 * what does not fit is dropped, and the loss is reported.
 */
#include "hv/monitor/monitor.h"

#include "hv/console/console.h"
#include "hv/console/line.h"
#include "hv/console/log.h"
#include "hv/console/output.h"
#include "hv/control/identity.h"
#include "hv/control/lifecycle.h"
#include "hv/control/report.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/lib/rate.h"
#include "hv/vm/guest.h"

#define INPUT_PER_POLL 256u         /* bytes; the rest stays in console.c's ring */
/* Answers to commands, lines per second: what 115200 baud carry. Commands beyond the limit are executed without an answer,
 * so that a flood of them cannot keep the console busy. */
#define ANSWER_LINES 150u
#define US_PER_S 1000000u
/* How long input waits for a guest that reads nothing, or while a command is queued behind it; and for one that reads
 * slowly. */
#define FULL_LIMIT_US 1000000u
#define SLOW_LIMIT_US 10000000u
#define LOSSES_US 1000000u /* losses within this time are reported in one line */
/* The receive FIFO of 16 bytes is full in 1.4 ms: poll fast while input is expected. */
#define POLL_BUSY_US 1000u
#define POLL_IDLE_US 10000u
#define BUSY_US 1000000u

enum input_state {
    INPUT_PASS,
    INPUT_COMMAND, /* after the escape key */
    INPUT_NUMBER, /* of a guest; `purpose` says what for */
    INPUT_KILL_CONFIRM,
};

/* Enter after a number is CR, LF, CR LF or CR NUL, depending on the terminal: all of it belongs to the number. */
enum enter { ENTER_NONE, ENTER_MAY_COME, ENTER_HALF };

enum number_purpose { NUMBER_ATTACH, NUMBER_KILL, NUMBER_RELAUNCH };

static struct {
    enum input_state state;
    enum number_purpose purpose;
    uint32_t number; /* its digits so far; 0: none */
    struct guest *attached; /* gets console input; NULL: nobody */
    struct guest *victim; /* INPUT_KILL_CONFIRM */
    enum enter enter;
    bool hinted; /* the hint about input without an attached guest was printed */
    uint64_t last_us; /* time of the last input; 0: none yet */
    uint64_t full_us; /* since when the attached guest's buffer is full; 0: it is not */
    uint64_t taken_us; /* when the guest was last seen to have read since then */
    uint32_t room; /* free bytes of its buffer at that time */
    struct console_losses losses; /* not reported yet */
    bool guest_lost; /* some uart.input_lost is not reported yet */
    uint64_t losses_us; /* time of the first unreported loss; 0: none */
    struct rate answers;
} input;

/* Whether an answer of that many lines may be printed now. */
static bool may_answer(uint32_t lines)
{
    uint32_t unused;
    return rate_admit(&input.answers, clock_now_us(), US_PER_S, ANSWER_LINES, lines, &unused) > 0;
}

static void answer(const struct guest *guest, const char *text)
{
    if (may_answer(1))
        line_print("monitor: %s%s%s", guest != NULL ? guest->config->name : "", guest != NULL ? " " : "", text);
}

static bool is_alive(const struct guest *guest)
{
    return guest->state == GUEST_LAUNCHING || guest->state == GUEST_RUNNING;
}

/* Why the guest can be neither attached nor ended; NULL: it can. */
static const char *inactive(const struct guest *guest)
{
    if (!is_alive(guest))
        return "does not run: Ctrl-] r and its number launches it again";
    return guest->end != GUEST_END_NONE ? "is being ended" : NULL;
}

/* Escape sequences of this guest reach the operator's terminal; NULL: of none. */
static void attach_to(struct guest *guest)
{
    input.attached = guest;
    output_let_through(guest == NULL ? NULL : &guest->output);
    input.hinted = false;
    input.full_us = 0;
}

static void attach(struct guest *guest)
{
    const char *refusal = inactive(guest);
    if (refusal == NULL)
        attach_to(guest);
    answer(guest, refusal != NULL ? refusal : "is attached (Ctrl-] 0 detaches)");
}

static void ask_to_kill(struct guest *guest)
{
    const char *refusal = inactive(guest);
    if (refusal == NULL) {
        input.victim = guest;
        input.state = INPUT_KILL_CONFIRM;
    }
    answer(guest, refusal != NULL ? refusal
                                  : "is ended at once, without a shutdown, if you press y now; any other key cancels");
}

static void kill_confirmed(uint8_t byte)
{
    if (byte != 'y' || inactive(input.victim) != NULL) {
        answer(NULL, "no guest was ended");
        return;
    }
    guest_end(input.victim, GUEST_END_DESTROYED, "ended by the operator");
    answer(input.victim, "is being ended");
}

static void relaunch(struct guest *guest)
{
    answer(guest, lifecycle_relaunch(guest) ? "is launched again" : "has not ended (Ctrl-] k ends it)");
}

/* ---- numbers ---- */

static void use_number(uint32_t number)
{
    struct guest *guest = number - 1 < guest_count() ? &guests[number - 1] : NULL;
    if (input.purpose == NUMBER_ATTACH)
        attach_to(NULL); /* also if the number is wrong: input must not go to the previous guest */
    if (guest == NULL)
        answer(NULL, "no guest has that number (Ctrl-] l lists them)");
    else if (input.purpose == NUMBER_ATTACH)
        attach(guest);
    else if (input.purpose == NUMBER_KILL)
        ask_to_kill(guest);
    else
        relaunch(guest);
}

/* A number is complete when a further digit would exceed the number of guests; with up to nine guests, after one digit. Any
 * other byte ends it earlier; Enter has no other effect. There is no timeout, since a line over a network has no reliable
 * timing. False: the byte has still to be processed. */
static bool take_digit(uint8_t byte)
{
    uint32_t before = input.number, number = 10 * before + byte - '0', ten = 10;
    input.number = 0;
    if (byte < '0' || byte > '9') {
        use_number(before);
        input.enter = byte == '\r' ? ENTER_HALF : ENTER_NONE;
        return before == 0 || byte == '\r' || byte == '\n';
    }
    while (ten <= number)
        ten *= 10;
    if (number == 0 || ten > guest_count()) {
        use_number(number);
        input.enter = ENTER_MAY_COME;
        return true;
    }
    input.number = number;
    input.state = INPUT_NUMBER;
    if (may_answer(1))
        line_print("monitor: guest %u: Enter, or another digit", number);
    return true;
}

/* Whether the byte belongs to an Enter after a number. A complete number needs none: then CR goes to the guest that was
 * attached, and is dropped after other commands. */
static bool take_enter(uint8_t byte)
{
    enum enter enter = input.enter;
    input.enter = enter == ENTER_MAY_COME && byte == '\r' ? ENTER_HALF : ENTER_NONE;
    if (enter == ENTER_MAY_COME)
        return (byte == '\r' || byte == '\n') && input.purpose != NUMBER_ATTACH;
    return enter == ENTER_HALF && (byte == '\n' || byte == '\0');
}

static void expect_number(enum number_purpose purpose)
{
    input.purpose = purpose;
    input.number = 0;
    input.state = INPUT_NUMBER;
}

/* ---- commands ---- */

static void help(void)
{
    if (!may_answer(10))
        return;
    line_print("monitor: the escape key is Ctrl-]: the key after it is for this monitor, every");
    line_print("other key for the attached guest. After Ctrl-]:");
    line_print("  1-9  attach: that guest gets what you type   0    attach to no guest (detach)");
    line_print("  l    list the guests with numbers            ?    this text");
    line_print("  k    end the attached guest at once; if none is attached: k and a number");
    line_print("  r    and a number: launch a guest again that has ended or was refused");
    line_print("  p    the platform's certificates and the chip's id, for owners of guests");
    line_print("  q    at the end: power off without the secure processor's answer to SHUTDOWN");
    line_print("  + -  print more, less of the log             ]    send Ctrl-] to the guest");
    line_print("  With more than nine guests, Enter ends a number that is shorter than theirs.");
}

static void change_log_level(bool more)
{
    uint64_t left_out;
    const char *level = log_change_level(more, &left_out);
    if (may_answer(1))
        line_print("monitor: log level %s, of fatal, error, notice, guest, debug; %lu lines left out so far", level,
                   left_out);
}

static bool has_guest(void)
{
    return input.attached != NULL && is_alive(input.attached);
}

static void pass_to_guest(uint8_t byte)
{
    if (has_guest()) {
        if (!guest_input(input.attached, byte)) {
            input.attached->uart.input_lost++;
            input.guest_lost = true;
        }
    } else if (!input.hinted) {
        input.hinted = true;
        answer(NULL, "no guest is attached: input is dropped; Ctrl-] ? for help");
    }
}

static void command(uint8_t byte)
{
    switch (byte) {
    case '?':
    case 'h':
        help();
        break;
    case 'l':
        if (may_answer(guest_count()))
            report_guests();
        break;
    case '0':
        attach_to(NULL);
        answer(NULL, "detached");
        break;
        /* clang-format off */
    case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
        /* clang-format on */
        expect_number(NUMBER_ATTACH);
        input.state = INPUT_PASS;
        take_digit(byte);
        break;
    case 'k':
        if (input.attached != NULL)
            ask_to_kill(input.attached);
        else
            expect_number(NUMBER_KILL);
        break;
    case 'r':
        expect_number(NUMBER_RELAUNCH);
        break;
    case 'p':
        if (may_answer(IDENTITY_LINES))
            identity_show();
        break;
    case 'q':
        answer(NULL,
               sev_abandon_stop() ? "its answer is not waited for" : "not before all guests have ended (Ctrl-] k)");
        break;
    case '+':
    case '=': /* the same key without Shift */
    case '-':
        change_log_level(byte != '-');
        break;
    case ']':
        pass_to_guest(MONITOR_ESCAPE);
        break;
    default:
        answer(NULL, "unknown command; Ctrl-] ? for help");
        break;
    }
}

/* False: the byte ended a number, and has still to be processed. */
static bool take_input(uint8_t byte)
{
    enum input_state state = input.state;
    if (take_enter(byte))
        return true;
    if (byte == MONITOR_ESCAPE) {
        input.state = INPUT_COMMAND; /* in any state */
        return true;
    }
    input.state = INPUT_PASS;
    switch (state) {
    case INPUT_COMMAND:
        command(byte);
        return true;
    case INPUT_NUMBER:
        return take_digit(byte);
    case INPUT_KILL_CONFIRM:
        kill_confirmed(byte);
        return true;
    case INPUT_PASS:
    default:
        pass_to_guest(byte);
        return true;
    }
}

/* A BREAK is Linux' SysRq. It does not change the state of the input. */
static void take_break(void)
{
    if (!has_guest())
        answer(NULL, "a BREAK was ignored: no guest is attached");
    else if (!guest_input(input.attached, CONSOLE_BREAK))
        answer(input.attached, "has not read an earlier BREAK: this one was lost");
}

/* True while input waits for the attached guest to read. Once its buffer was full, until half of it is free. */
static bool waits_for_guest(uint64_t now_us)
{
    if (input.state != INPUT_PASS || !has_guest())
        return false;
    uint32_t room = vuart_input_room(&input.attached->uart);
    if (room >= VUART_INPUT / 2)
        input.full_us = 0;
    if (input.full_us == 0) {
        if (room > 0)
            return false;
        input.full_us = input.taken_us = now_us;
    } else if (room > input.room) {
        input.taken_us = now_us;
    }
    input.room = room;
    return now_us - input.taken_us < FULL_LIMIT_US && now_us - input.full_us < SLOW_LIMIT_US &&
           (now_us - input.full_us < FULL_LIMIT_US || !console_input_holds(MONITOR_ESCAPE));
}

void monitor_report_losses(void)
{
    if (input.losses.overruns > 0)
        line_print("monitor: input was lost: the serial port's FIFO overflowed %u times; send slower, or with RTS/CTS",
                   input.losses.overruns);
    if (input.losses.garbled > 0)
        line_print("monitor: input was lost: %u bytes with parity or framing errors; check your end's rate, 8N1",
                   input.losses.garbled);
    for (uint32_t i = 0, count = input.guest_lost ? guest_count() : 0; i < count; i++) {
        if (guests[i].uart.input_lost > 0)
            line_print("monitor: %u bytes of input to %s were lost: it does not read its serial port",
                       guests[i].uart.input_lost, guests[i].config->name);
        guests[i].uart.input_lost = 0;
    }
    input.losses = (struct console_losses){0};
    input.guest_lost = false;
    input.losses_us = 0;
}

static void collect_losses(uint64_t now_us)
{
    struct console_losses more = console_losses();
    input.losses.overruns += more.overruns;
    input.losses.garbled += more.garbled;
    if (input.losses.overruns == 0 && input.losses.garbled == 0 && !input.guest_lost)
        return;
    if (input.losses_us == 0)
        input.losses_us = now_us;
    else if (now_us - input.losses_us >= LOSSES_US)
        monitor_report_losses();
}

uint32_t monitor_poll_us(void)
{
    bool flows = input.last_us != 0 && clock_now_us() - input.last_us < BUSY_US;
    return has_guest() || flows ? POLL_BUSY_US : POLL_IDLE_US;
}

void monitor_poll(void)
{
    uint64_t now_us = clock_now_us();
    console_drain();
    if (input.attached != NULL && input.attached->stays_ended) {
        attach_to(NULL);
        line_print("monitor: the attached guest has ended: detached");
    }
    for (uint32_t i = 0; i < INPUT_PER_POLL && !waits_for_guest(now_us); i++) {
        int read = console_read();
        if (read == CONSOLE_NOTHING)
            break;
        input.last_us = now_us;
        if (read == CONSOLE_BREAK)
            take_break();
        else
            while (!take_input((uint8_t)read))
                ;
    }
    collect_losses(now_us);
    output_show_prompts();
}
