/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guests as processes of a debugger: attach, launch, step, go on, stop. All-stop: when one stops, the others are paused. */
#include "guest/control/run.h"

#include <string.h>

#include "guest/control/ask.h"
#include "guest/control/breakpoints.h"
#include "guest/control/guests.h"
#include "guest/control/machine.h"
#include "guest/control/memory.h"
#include "guest/control/tables.h"
#include "guest/manifest_format.h"

#define GOING 1u
#define BREAKPOINTS 2u
#define OUTPUT 4u /* may have printed something that was not shown */
#define FOUND_PAUSED 8u /* by somebody else, and has not been continued since */

#define ACTIONS 16u
#define LAUNCH_MS 1500u /* gdb waits 2 s for an answer */
#define POLICY_NODBG 1u

#define SIGNAL_INTERRUPT 2u
#define SIGNAL_TRAP 5u
#define SIGNAL_ABORT 6u
#define SIGNAL_KILL 9u

static uint8_t attached[MANIFEST_MAX_GUESTS], state[MANIFEST_MAX_GUESTS];
static uint64_t console[MANIFEST_MAX_GUESTS]; /* position up to which its text was shown */
static char note[320];

/* ------------------------------------------------------------- threads */

static bool parse_number(struct cursor *cursor, int64_t *number)
{
    uint64_t value;

    if (cursor_word(cursor, "-1")) {
        *number = -1;
        return true;
    }
    if (!cursor_hex(cursor, &value) || value > UINT32_MAX)
        return false;
    *number = (int64_t)value;
    return true;
}

bool run_parse_thread(struct cursor *cursor, struct run_thread *thread)
{
    thread->guest = 0;
    if (!cursor_word(cursor, "p"))
        return parse_number(cursor, &thread->vcpu);
    thread->vcpu = -1;
    return parse_number(cursor, &thread->guest) && (!cursor_word(cursor, ".") || parse_number(cursor, &thread->vcpu));
}

static bool means(const struct run_thread *thread, uint32_t guest, uint32_t vcpu)
{
    return (thread->guest <= 0 || thread->guest == (int64_t)guest + 1) &&
           (thread->vcpu <= 0 || thread->vcpu == (int64_t)vcpu + 1);
}

const uint8_t *run_attached(void)
{
    return attached;
}

bool run_first_attached(uint32_t *guest)
{
    for (*guest = 0; *guest < MANIFEST_MAX_GUESTS; ++*guest) {
        if (attached[*guest] != 0)
            return true;
    }
    return false;
}

bool run_going(void)
{
    for (uint32_t guest = 0; guest < MANIFEST_MAX_GUESTS; guest++) {
        if ((state[guest] & GOING) != 0)
            return true;
    }
    return false;
}

void run_has_breakpoints(uint32_t guest)
{
    state[guest] |= BREAKPOINTS;
}

/* ------------------------------------------------------------- attach and detach */

static uint32_t may_debug(uint32_t guest, const struct control_guest *info)
{
    struct control_vcpu vcpu;

    if (guests_has_sev(info) && (info->policy & POLICY_NODBG) != 0) {
        ask_refuse("policy forbids debugging: the guest was launched with NODBG (bit 0), as its owner wants it");
        return CONTROL_POLICY;
    }
    return ask_vcpu_get(guest, 0, &vcpu);
}

static void attach(uint32_t guest, const struct control_guest *info)
{
    attached[guest] = 1;
    state[guest] = 0;
    console[guest] = info->console_end;
    memory_forget();
}

uint32_t run_attach(uint32_t guest)
{
    struct control_guest info;
    uint32_t result;
    bool pause;

    if (guest >= MANIFEST_MAX_GUESTS)
        return CONTROL_NO_GUEST;
    result = ask_guest_info(guest, &info);
    if (result != CONTROL_OK)
        return result;
    pause = info.state != CONTROL_STATE_PAUSED;
    if (pause)
        result = guests_command(CONTROL_PAUSE, guest);
    if (result != CONTROL_OK)
        return result;
    result = may_debug(guest, &info);
    if (result == CONTROL_OK) {
        attach(guest, &info);
        state[guest] |= pause ? 0 : FOUND_PAUSED;
    } else if (pause) {
        ask_guest(CONTROL_RESUME, guest);
    }
    return result;
}

/* A launch goes on behind the answer if it lasts. */
uint32_t run_launch(const char *name, size_t length, uint32_t *guest)
{
    struct control_guest info;
    uint64_t began = machine_ms();
    uint32_t result;

    if (!guests_find(name, length, guest))
        return CONTROL_NO_GUEST;
    result = ask_guest(CONTROL_LAUNCH, *guest);
    while (result == CONTROL_OK) {
        result = ask_guest_info(*guest, &info);
        if (result != CONTROL_OK || info.state != CONTROL_STATE_LAUNCHING || machine_ms() - began > LAUNCH_MS)
            break;
        machine_sleep();
    }
    if (result != CONTROL_OK)
        return result;
    if (info.state == CONTROL_STATE_RUNNING)
        return run_attach(*guest);
    attach(*guest, &info);
    return CONTROL_OK;
}

static void remove_breakpoints(uint32_t guest, uint32_t vcpus)
{
    for (uint32_t vcpu = 0; vcpu < vcpus; vcpu++)
        breakpoints_clear(guest, vcpu);
}

uint32_t run_detach(uint32_t guest)
{
    struct control_guest info;
    bool stays;

    if (guest >= MANIFEST_MAX_GUESTS || attached[guest] == 0)
        return CONTROL_NO_GUEST;
    stays = (state[guest] & FOUND_PAUSED) != 0;
    if ((state[guest] & BREAKPOINTS) != 0 && ask_guest_info(guest, &info) == CONTROL_OK) {
        if (info.state == CONTROL_STATE_RUNNING)
            ask_guest(CONTROL_PAUSE, guest);
        remove_breakpoints(guest, info.vcpus);
    }
    attached[guest] = state[guest] = 0;
    if (!stays && ask_guest_info(guest, &info) == CONTROL_OK && info.state == CONTROL_STATE_PAUSED)
        return ask_guest(CONTROL_RESUME, guest);
    return CONTROL_OK;
}

void run_detach_all(void)
{
    for (uint32_t guest = 0; guest < MANIFEST_MAX_GUESTS; guest++) {
        if (attached[guest] != 0)
            run_detach(guest);
    }
}

uint32_t run_kill(uint32_t guest)
{
    uint32_t result = guests_command(CONTROL_END, guest);

    if (result == CONTROL_OK && guest < MANIFEST_MAX_GUESTS)
        attached[guest] = state[guest] = 0;
    return result;
}

/* ------------------------------------------------------------- going on */

struct action {
    char kind;
    struct run_thread thread;
};

static bool parse_actions(struct cursor cursor, struct action *actions, unsigned *count)
{
    for (*count = 0; *count < ACTIONS && cursor_word(&cursor, ";"); ++*count) {
        struct action *action = &actions[*count];
        uint64_t signal;

        if (cursor_left(&cursor) == 0 || memchr("cCsSt", *cursor.at, 5) == NULL)
            return false;
        action->kind = (char)*cursor.at++;
        if ((action->kind == 'C' || action->kind == 'S') && !cursor_hex(&cursor, &signal))
            return false; /* guests have no signals: it is not delivered */
        action->thread = (struct run_thread){-1, -1};
        if (cursor_word(&cursor, ":") && !run_parse_thread(&cursor, &action->thread))
            return false;
    }
    return *count > 0 && cursor_left(&cursor) == 0;
}

/* What a vCPU is to do: 0, nothing. */
static char action_for(const struct action *actions, unsigned count, uint32_t guest, uint32_t vcpu)
{
    for (unsigned i = 0; i < count; i++) {
        if (means(&actions[i].thread, guest, vcpu))
            return actions[i].kind;
    }
    return 0;
}

static uint32_t step(uint32_t guest, uint32_t vcpu)
{
    return ask((struct control_request){.operation = CONTROL_STEP, .guest = guest, .vcpu = vcpu}, NULL);
}

/* A step of one vCPU lets the guest's others stand. */
static uint32_t continue_guest(const struct action *actions, unsigned count, uint32_t guest)
{
    struct control_guest info;
    uint32_t result = ask_guest_info(guest, &info);
    bool resume = false;

    for (uint32_t vcpu = 0; result == CONTROL_OK && vcpu < info.vcpus; vcpu++) {
        char kind = action_for(actions, count, guest, vcpu);

        if (kind == 's' || kind == 'S') {
            state[guest] |= GOING | OUTPUT;
            return step(guest, vcpu);
        }
        resume |= kind == 'c' || kind == 'C';
    }
    if (result != CONTROL_OK || !resume)
        return result;
    state[guest] = (uint8_t)((state[guest] | GOING | OUTPUT) & ~FOUND_PAUSED);
    /* A launch that is not over goes on by itself. */
    return info.state == CONTROL_STATE_PAUSED || info.state == CONTROL_STATE_HELD ? ask_guest(CONTROL_RESUME, guest)
                                                                                  : CONTROL_OK;
}

static void pause_all(void)
{
    for (uint32_t guest = 0; guest < MANIFEST_MAX_GUESTS; guest++) {
        struct control_guest info;

        if ((state[guest] & GOING) != 0 && ask_guest_info(guest, &info) == CONTROL_OK &&
            info.state == CONTROL_STATE_RUNNING)
            ask_guest(CONTROL_PAUSE, guest);
        state[guest] &= (uint8_t)~GOING;
    }
    memory_forget();
}

uint32_t run_continue(struct cursor cursor)
{
    struct action actions[ACTIONS];
    struct control_event old;
    unsigned count;

    if (!parse_actions(cursor, actions, &count))
        return CONTROL_INVALID;
    while (ask_event(&old))
        ; /* of before */
    memory_forget();
    for (uint32_t guest = 0; guest < MANIFEST_MAX_GUESTS; guest++) {
        uint32_t result = attached[guest] != 0 ? continue_guest(actions, count, guest) : CONTROL_OK;

        if (result != CONTROL_OK) {
            pause_all();
            return result;
        }
    }
    if (run_going())
        return CONTROL_OK;
    ask_refuse("no attached guest is meant");
    return CONTROL_STATE;
}

/* ------------------------------------------------------------- stops */

static void signal_reply(struct text *reply, char kind, unsigned signal)
{
    uint8_t byte = (uint8_t)signal;

    text_char(reply, kind);
    text_hex_bytes(reply, &byte, 1);
}

static void add_thread(struct text *reply, uint32_t guest, uint32_t vcpu)
{
    text_add(reply, "thread:");
    tables_thread_id(reply, guest, vcpu);
    text_char(reply, ';');
}

void run_stop_reply(struct text *reply, uint32_t guest, uint32_t vcpu)
{
    signal_reply(reply, 'T', SIGNAL_TRAP);
    add_thread(reply, guest, vcpu);
}

static void breakpoint_reply(struct text *reply, const struct control_event *event)
{
    static const char *const words[] = {
        [BREAKPOINT_WRITE] = "watch:", [BREAKPOINT_READ] = "rwatch:", [BREAKPOINT_ACCESS] = "awatch:"};
    struct control_vcpu vcpu;
    uint64_t address;

    signal_reply(reply, 'T', SIGNAL_TRAP);
    if (event->code >= 1 && event->code <= 4 && ask_vcpu_get(event->guest, event->vcpu, &vcpu) == CONTROL_OK) {
        enum breakpoint_kind kind = breakpoints_hit(&vcpu, event->code - 1, &address);

        if (kind == BREAKPOINT_EXECUTE) {
            text_add(reply, "hwbreak:;");
        } else {
            text_add(reply, words[kind]);
            text_hex(reply, address);
            text_char(reply, ';');
        }
    }
    add_thread(reply, event->guest, event->vcpu);
}

/* enum guest_end_kind of hv/vm/guest.h: 1 power off, 2 reset, 3 crash, 4 by the operator, 5 launch refused. */
static void exit_reply(struct text *reply, uint32_t guest, const struct control_guest *info)
{
    char words[sizeof(info->end_reason) + 1] = {0};

    if (info->end <= 2)
        signal_reply(reply, 'W', 0);
    else
        signal_reply(reply, 'X', info->end == 4 ? SIGNAL_KILL : SIGNAL_ABORT);
    text_add(reply, ";process:");
    text_hex(reply, guest + 1u);
    memcpy(words, info->end_reason, sizeof(info->end_reason));
    run_say(words);
    attached[guest] = 0;
    state[guest] = OUTPUT; /* its last words */
}

/* What has become of a guest that was going. */
static bool has_stopped(struct text *reply, uint32_t guest)
{
    struct control_guest info;

    if ((state[guest] & GOING) == 0 || ask_guest_info(guest, &info) != CONTROL_OK)
        return false;
    if (info.state == CONTROL_STATE_PAUSED)
        run_stop_reply(reply, guest, 0);
    else if (info.state == CONTROL_STATE_ENDED || info.state == CONTROL_STATE_REFUSED)
        exit_reply(reply, guest, &info);
    else
        return false;
    return true;
}

/* Asks hv about all: an event names a guest, but may be older than what followed it. */
static bool any_has_stopped(struct text *reply)
{
    for (uint32_t guest = 0; guest < MANIFEST_MAX_GUESTS; guest++) {
        if (has_stopped(reply, guest))
            return true;
    }
    return false;
}

static void all_may_have_printed(void)
{
    for (uint32_t guest = 0; guest < MANIFEST_MAX_GUESTS; guest++) {
        if ((state[guest] & GOING) != 0)
            state[guest] |= OUTPUT;
    }
}

/* A step or a breakpoint says more than that a guest is paused: it comes first. */
bool run_poll(struct text *reply)
{
    struct control_event event, stop = {0};
    bool look = false;

    while (ask_event(&event)) {
        if (event.kind == 0)
            all_may_have_printed();
        else if (event.guest >= MANIFEST_MAX_GUESTS || (state[event.guest] & GOING) == 0)
            continue;
        if (event.kind == CONTROL_EVENT_STOPPED && stop.kind == 0)
            stop = event;
        else if (event.kind == CONTROL_EVENT_CONSOLE)
            state[event.guest] |= OUTPUT;
        else
            look |= event.kind == 0 || event.code != CONTROL_STATE_RUNNING;
    }
    if (stop.kind != 0)
        breakpoint_reply(reply, &stop);
    else if (!look || !any_has_stopped(reply))
        return false;
    pause_all();
    return true;
}

void run_interrupt(struct text *reply)
{
    uint32_t guest = 0;

    if (run_poll(reply))
        return;
    while (guest < MANIFEST_MAX_GUESTS - 1 && (state[guest] & GOING) == 0)
        guest++;
    pause_all();
    signal_reply(reply, 'T', SIGNAL_INTERRUPT);
    add_thread(reply, guest, 0);
}

/* ------------------------------------------------------------- output */

void run_say(const char *words)
{
    struct text text = {.at = note, .size = sizeof(note) - 1};

    if (*words != '\0') {
        text_bytes(&text, words, text_field_length(words, sizeof(note) - 2));
        text_char(&text, '\n');
    }
    note[text.length] = '\0';
}

/* Of one guest's console, as much as there is room for. */
static bool console_output(struct text *text, uint32_t guest)
{
    struct control_request request = {.operation = CONTROL_CONSOLE_READ,
                                      .guest = guest,
                                      .address = console[guest],
                                      .data = CONTROL_DATA,
                                      .size = (uint32_t)(text->size - text->length)};
    struct control_answer answer;

    if (ask(request, &answer) != CONTROL_OK || answer.size == 0 || answer.size > request.size) {
        state[guest] &= (uint8_t)~OUTPUT;
        return false;
    }
    console[guest] = answer.value + answer.size;
    ask_get(CONTROL_DATA, text->at + text->length, answer.size);
    text->length += answer.size;
    return true;
}

bool run_output(struct text *text)
{
    if (note[0] != '\0') {
        text_add(text, note);
        note[0] = '\0';
        return true;
    }
    for (uint32_t guest = 0; guest < MANIFEST_MAX_GUESTS; guest++) {
        if ((state[guest] & OUTPUT) != 0 && console_output(text, guest))
            return true;
    }
    return false;
}
