/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The control guest's commands to the SEV firmware, each of the table, on guests that are launched; well-formed and hostile. */
#include "with_cmocka.h"

#include <string.h>

#include "hv/control/control_firmware.h"
#include "hv/control/identity.h"
#include "hv/control/jobs.h"
#include "hv/control/lifecycle.h"
#include "hv/control/sev.h"
#include "hv/mm/page.h"
#include "../firmware/signed_image.h"
#include "fake_memory.h"
#include "three_guests.h"

#define COMMANDS 256u
#define PLACE 0x20000u /* in the window, and in the guest; references are a PAGE apart */
#define PAGE 0x1000u

static paddr_t window;
static enum control_state state_of_guest;
static struct job control_job;
static struct control_call call;
static struct control_answer answer;
static uint64_t sent; /* commands, before the request */

static uint8_t *window_at(uint32_t offset)
{
    return ram + (window.raw - MACHINE_RAM) + offset;
}

static uint32_t get32(const uint8_t *bytes)
{
    uint32_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static uint64_t get64(const uint8_t *bytes)
{
    uint64_t value;
    memcpy(&value, bytes, sizeof(value));
    return value;
}

static void put32(uint8_t *bytes, uint32_t value)
{
    memcpy(bytes, &value, sizeof(value));
}

static void put64(uint8_t *bytes, uint64_t value)
{
    memcpy(bytes, &value, sizeof(value));
}

static void begin_with_policy(uint32_t policy)
{
    manifest_of_three();
    good.guests[SEV].sev_policy = policy;
    good_seal(&good);
    boot((struct machine_options){0});
    launch();
    assert_int_equal(guests[SEV].state, GUEST_RUNNING);
    window = paddr_add(guests[NONE].memory.base, 2 * CONTROL_WINDOW_SIZE); /* plain memory, and no more than that */
    state_of_guest = CONTROL_STATE_RUNNING;
}

static int begin(void **state)
{
    (void)state;
    begin_with_policy(0);
    return 0;
}

/* Nothing is left to be done, and no page was looked at through a wrong key. */
static int end(void **state)
{
    assert_int_equal(machine.wrong_views, 0);
    assert_int_equal(machine.coherency_faults, 0);
    return teardown(state);
}

static void end_guest(void)
{
    guest_end(&guests[SEV], GUEST_END_POWEROFF, "test");
    settle();
}

static enum control_result submit(const struct control_request *request, struct guest *guest)
{
    sent = sev_psp()->commands;
    call = (struct control_call){.request = *request, .guest = guest, .window = window, .job = &control_job};
    return control_firmware_submit(&call, state_of_guest);
}

/* Takes the answer, as control.c's job does. */
static enum control_result take(const struct control_request *request)
{
    struct psp_result result;
    while (sev_mailbox(&control_job, &result) != JOB_MOVED)
        machine_wait();
    call.request = *request;
    memset(&call.answer, 0, sizeof(call.answer));
    control_firmware_answer(&call, result);
    answer = call.answer;
    return answer.result;
}

static enum control_result ask(const struct control_request *request, struct guest *guest)
{
    enum control_result result = submit(request, guest);
    return result == CONTROL_OK ? take(request) : result;
}

static enum control_result ask_bare(uint8_t command)
{
    return ask(&(struct control_request){.operation = CONTROL_FIRMWARE, .command = command}, NULL);
}

/* A guest in the state that the class wants, as far as hv can see. */
static struct guest *guest_for(uint8_t class)
{
    struct guest *guest = &guests[SEV];
    if (class < PSP_GUEST)
        return NULL;
    state_of_guest = class == PSP_GUEST_HELD     ? CONTROL_STATE_HELD
                     : class == PSP_GUEST_PAUSED ? CONTROL_STATE_PAUSED
                                                 : CONTROL_STATE_RUNNING;
    return guest;
}

/* What is right for a command: references a page apart, each of 64 bytes. */
static struct control_request right(const struct psp_command_row *row)
{
    struct control_request request = {.operation = CONTROL_FIRMWARE, .guest = SEV, .command = row->command};
    for (uint32_t i = 0; i < PSP_REFERENCES && row->references[i].kind != 0; i++) {
        const struct psp_reference *reference = &row->references[i];
        put64(request.buffer + reference->address, PLACE + i * PAGE);
        if (reference->length != 0)
            put32(request.buffer + reference->length, reference->kind == PSP_INOUT ? SEV_NV_SIZE : 64);
    }
    return request;
}

static bool is_given(const struct psp_command_row *row)
{
    return row != NULL && row->class != PSP_HV_ONLY && row->class != PSP_GUEST_RECEIVING;
}

/* Commands for which the platform has to be idle, or down, are tried on a platform without guests. */
static void begin_for(const struct psp_command_row *row)
{
    begin_with_policy(0);
    if (row->class != PSP_PLATFORM_IDLE)
        return;
    end_guest();
    if ((row->states >> SEV_PLATFORM_INIT & 1) == 0)
        assert_int_equal(ask_bare(SEV_CMD_SHUTDOWN), CONTROL_OK);
    settle();
}

static void every_command_that_is_given_away_comes_with_real_addresses(void **state)
{
    unsigned tried = 0;
    (void)state;
    for (unsigned command = 0; command < COMMANDS; command++) {
        const struct psp_command_row *row = psp_command_row((uint8_t)command);
        psp_addr_t address;
        if (!is_given(row))
            continue;
        begin_for(row);
        struct control_request request = right(row);
        struct guest *guest = guest_for(row->class);
        assert_int_equal(submit(&request, guest), CONTROL_OK);
        assert_int_equal(sev_psp()->commands, sent + 1);
        assert_ptr_equal(sev_mailbox_owner(), &control_job);
        const uint8_t *page = psp_platform_command_page(&address);
        if (guest != NULL)
            assert_int_equal(get32(page), guest->sev_handle);
        for (uint32_t i = 0; i < PSP_REFERENCES && row->references[i].kind != 0; i++) {
            const struct psp_reference *reference = &row->references[i];
            uint64_t want = window.raw + PLACE + i * PAGE;
            if ((reference->kind & PSP_GUEST_MEMORY) != 0)
                want = (guest->memory.base.raw + PLACE + i * PAGE) | MACHINE_C_BIT;
            if (reference->kind == PSP_INOUT)
                want = page_pa(sev_nv(false)).raw | MACHINE_C_BIT;
            assert_int_equal(get64(page + reference->address), want);
        }
        (void)take(&request);
        if (answer.result == CONTROL_SEV_FAILED)
            assert_non_null(strstr(answer.text, row->name));
        for (uint32_t i = 0; i < PSP_REFERENCES && row->references[i].kind != 0; i++)
            assert_int_equal(get64(answer.buffer + row->references[i].address), 0);
        tried++;
        machine.coherency_faults = 0; /* commands that write to a page in the cache: the model's answer, not hv's */
    }
    assert_int_equal(tried, 27);
}

static void assert_refused(const struct control_request *request, struct guest *guest, enum control_result want)
{
    char commands[sizeof(machine.commands)];
    strcpy(commands, machine.commands);
    enum control_result result = submit(request, guest);
    if (result != want)
        fail_msg("command 0x%x: %d, not %d", request->command, result, want);
    assert_int_equal(sev_psp()->commands, sent);
    assert_null(sev_mailbox_owner());
    assert_string_equal(machine.commands, commands);
}

static void no_address_or_length_outside_of_window_or_ram_is_sent(void **state)
{
    static const struct {
        uint64_t at;
        uint32_t length;
        bool by_length; /* it is the length that is wrong */
    } of_window[] =
        {
            {CONTROL_DATA - 1, 64, false},
            {0, 64, false},
            {CONTROL_WINDOW_SIZE - 63, 64, false},
            {CONTROL_WINDOW_SIZE, 64, false},
            {UINT64_MAX, 64, false},
            {UINT64_MAX - 63, 64, false},
            {UINT64_C(1) << 32 | PLACE, 64, false},
            {PLACE, CONTROL_WINDOW_SIZE - PLACE + 1, true},
            {PLACE, UINT32_MAX, true},
            {CONTROL_DATA, CONTROL_DATA_SIZE + 1, true},
        },
      of_guest[] = {
          {GUEST_MEMORY - 48, 64, false},
          {GUEST_MEMORY, 64, false},
          {UINT64_MAX - 15, 64, false},
          {UINT64_MAX - 63, 64, false},
          {MACHINE_C_BIT | PLACE, 64, false},
          {PLACE + 8, 64, false},
          {PLACE, 72, true},
          {PLACE, UINT32_MAX - 15, true},
          {0, CONTROL_DATA_SIZE + 16, true},
      };
    unsigned tried = 0;
    for (unsigned command = 0; command < COMMANDS; command++) {
        const struct psp_command_row *row = psp_command_row((uint8_t)command);
        if (!is_given(row))
            continue;
        begin_for(row);
        struct guest *guest = guest_for(row->class);
        for (uint32_t i = 0; i < PSP_REFERENCES && row->references[i].kind != 0; i++) {
            const struct psp_reference *reference = &row->references[i];
            bool private = (reference->kind & PSP_GUEST_MEMORY) != 0;
            unsigned count = private ? sizeof(of_guest) / sizeof(*of_guest) : sizeof(of_window) / sizeof(*of_window);
            for (unsigned n = 0; n < count; n++) {
                struct control_request request = right(row);
                uint64_t at = private ? of_guest[n].at : of_window[n].at;
                uint32_t length = private ? of_guest[n].length : of_window[n].length;
                if (reference->length == 0 && (private ? of_guest[n].by_length : of_window[n].by_length))
                    continue;
                tried++;
                put64(request.buffer + reference->address, at);
                if (reference->length != 0)
                    put32(request.buffer + reference->length, length);
                assert_refused(&request, guest, CONTROL_INVALID);
            }
        }
        assert_int_equal(end(state), 0);
    }
    assert_true(tried > 300);
    begin_with_policy(0);
}

/* A held guest's secret goes to its place, and nowhere else: what was measured stays. */
static void a_secret_goes_to_its_place(void **state)
{
    static const struct {
        uint64_t at;
        uint32_t length;
        enum control_result result;
    } places[] = {
        {PLACE, 64, CONTROL_OK},           {PLACE, 48, CONTROL_OK},           {PLACE, 80, CONTROL_INVALID},
        {PLACE + 16, 16, CONTROL_INVALID}, {PLACE - 16, 32, CONTROL_INVALID},
    };
    const struct psp_command_row *row = psp_command_row(SEV_CMD_LAUNCH_SECRET);
    (void)state;
    for (unsigned i = 0; i < sizeof(places) / sizeof(*places); i++) {
        begin_for(row);
        struct guest *guest = guest_for(row->class);
        struct manifest_guest config = *guest->config;
        config.secret_gpa = PLACE;
        config.secret_size = 64;
        const struct manifest_guest *before = guest->config;
        guest->config = &config;
        guest->awaits = CONTROL_STATE_HELD;
        struct control_request request = right(row);
        put64(request.buffer + 0x18, places[i].at);
        put32(request.buffer + 0x20, places[i].length);
        put32(request.buffer + 0x30, places[i].length);
        if (places[i].result == CONTROL_OK)
            assert_int_not_equal(ask(&request, guest), CONTROL_INVALID);
        else
            assert_refused(&request, guest, CONTROL_INVALID);
        guest->config = before;
        assert_int_equal(end(state), 0);
    }
    begin_with_policy(0);
}

static void handles_reserved_words_and_bytes_behind_the_buffer_are_refused(void **state)
{
    unsigned words = 0;
    for (unsigned command = 0; command < COMMANDS; command++) {
        const struct psp_command_row *row = psp_command_row((uint8_t)command);
        if (!is_given(row))
            continue;
        begin_for(row);
        struct guest *guest = guest_for(row->class);
        for (uint32_t at = 0; at < PSP_ANSWER_SIZE; at++) {
            struct control_request request = right(row);
            bool zero = at >= row->size || (row->zero >> at / 4 & 1) != 0 || (row->class >= PSP_GUEST && at < 4);
            request.buffer[at] ^= 0x80;
            if (zero)
                assert_refused(&request, guest, CONTROL_INVALID);
            words += zero && at < row->size;
        }
        assert_int_equal(end(state), 0);
    }
    assert_true(words >= 4 * 40);
    begin_with_policy(0);
}

static void commands_of_hvs_own_and_unknown_ones_are_not_sent(void **state)
{
    unsigned own = 0;
    (void)state;
    for (uint32_t command = 0; command < 0x400; command++) {
        const struct psp_command_row *row = command < COMMANDS ? psp_command_row((uint8_t)command) : NULL;
        struct control_request request = {.operation = CONTROL_FIRMWARE, .command = command};
        if (row != NULL && row->class != PSP_HV_ONLY)
            continue;
        own += row != NULL;
        assert_refused(&request, NULL, CONTROL_UNKNOWN);
        assert_refused(&request, &guests[SEV], CONTROL_UNKNOWN);
    }
    assert_int_equal(own, 11);
    for (uint32_t bits = 0x100; bits != 0; bits <<= 1)
        assert_refused(&(struct control_request){.command = bits | SEV_CMD_NOP}, NULL, CONTROL_UNKNOWN);
}

static void each_class_has_its_states(void **state)
{
    (void)state;
    for (unsigned command = 0; command < COMMANDS; command++) {
        const struct psp_command_row *row = psp_command_row((uint8_t)command);
        if (row == NULL || row->class < PSP_GUEST)
            continue;
        begin_with_policy(0);
        struct control_request request = right(row);
        assert_refused(&request, NULL, CONTROL_NO_GUEST);
        assert_refused(&request, &guests[NONE], CONTROL_STATE);
        assert_refused(&request, &guests[HOST], CONTROL_STATE);
        for (uint8_t class = PSP_GUEST; class <= PSP_GUEST_PAUSED; class ++) {
            struct guest *guest = guest_for(class); /* PSP_GUEST, PSP_GUEST_LIVE: it runs */
            bool legal = row->class == PSP_GUEST || row->class == class ||
                         (row->class == PSP_GUEST_LIVE && class != PSP_GUEST_HELD);
            if (!legal)
                assert_refused(&request, guest, CONTROL_STATE);
            else
                assert_true(ask(&request, guest) != CONTROL_STATE);
        }
        end_guest();
        state_of_guest = CONTROL_STATE_ENDED;
        assert_refused(&request, &guests[SEV], CONTROL_STATE);
    }
    machine.coherency_faults = 0;
}

static void policies_forbid_debugging_and_sending(void **state)
{
    static const uint8_t debugging[] = {0x24, 0x60, 0x61, 0x70, 0x71}, sending[] = {0x40, 0x41, 0x42, 0x43, 0x44};
    (void)state;
    begin_with_policy(SEV_POLICY_NODBG);
    for (unsigned i = 0; i < sizeof(debugging); i++) {
        const struct psp_command_row *row = psp_command_row(debugging[i]);
        struct control_request request = right(row);
        assert_refused(&request, guest_for(row->class), CONTROL_POLICY);
    }
    begin_with_policy(SEV_POLICY_NOSEND);
    for (unsigned i = 0; i < sizeof(sending); i++) {
        const struct psp_command_row *row = psp_command_row(sending[i]);
        struct control_request request = right(row);
        assert_refused(&request, guest_for(row->class), CONTROL_POLICY);
    }
}

/* ---- what they do ---- */

static void a_debugger_sees_and_changes_memory(void **state)
{
    struct control_request peek = {.guest = SEV, .command = 0x60}, poke = {.guest = SEV, .command = 0x61};
    uint64_t gpa = 0x40010;
    (void)state;
    machine_guest_writes(&guests[SEV], gpa, 0x42);
    state_of_guest = CONTROL_STATE_PAUSED;
    struct wbinvd flush = {0};
    while (!wbinvd_all(&flush))
        machine_other_cpu();
    put64(peek.buffer + 0x08, gpa);
    put64(peek.buffer + 0x10, CONTROL_DATA);
    put32(peek.buffer + 0x18, 32);
    assert_int_equal(ask(&peek, &guests[SEV]), CONTROL_OK);
    assert_int_equal(*window_at(CONTROL_DATA), 0x42);
    assert_int_equal(answer.status, SEV_STATUS_SUCCESS);
    assert_string_equal(answer.text, "");
    memset(window_at(CONTROL_DATA + 64), 0x99, 16);
    put64(poke.buffer + 0x08, CONTROL_DATA + 64);
    put64(poke.buffer + 0x10, gpa);
    put32(poke.buffer + 0x18, 16);
    assert_int_equal(ask(&poke, &guests[SEV]), CONTROL_OK);
    assert_int_equal(machine_private(&guests[SEV], gpa), 0x99);
    assert_false(guests[SEV].sev_memory_given);
}

static void lengths_can_be_asked_for(void **state)
{
    static const struct {
        uint8_t command, at;
        uint32_t length;
    } lengths[] = {{0x06, 0x08, SEV_CERT_SIZE}, {0x08, 0x08, SEV_CERT_SIZE}, {0x0c, 0x08, 64}, {0x36, 0x20, 208}};
    (void)state;
    for (unsigned i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) {
        struct control_request request = {.guest = SEV, .command = lengths[i].command};
        assert_int_equal(ask(&request, &guests[SEV]), CONTROL_SEV_FAILED);
        assert_int_equal(answer.status, SEV_STATUS_INVALID_LENGTH);
        assert_int_equal(get32(answer.buffer + lengths[i].at), lengths[i].length);
    }
}

static void an_answer_that_does_not_come_keeps_the_guests_memory(void **state)
{
    struct mailbox_fault hang = {.kind = MAILBOX_FAULT_HANG, .command = 0x61, .count = 1};
    struct control_request poke = right(psp_command_row(0x61));
    (void)state;
    mailbox_set_fault(machine.mailbox, &hang);
    assert_int_equal(ask(&poke, &guests[SEV]), CONTROL_SEV_FAILED);
    assert_int_equal(answer.status, 0x10000 + PSP_TIMEOUT);
    assert_non_null(strstr(answer.text, "DBG_ENCRYPT"));
    for (unsigned i = 0; i < sizeof(answer.buffer); i++)
        assert_int_equal(answer.buffer[i], 0);
    assert_true(guests[SEV].sev_memory_given);
    assert_false(sev_ready());
    assert_refused(&poke, &guests[SEV], CONTROL_NO_SEV);
    assert_refused(&(struct control_request){.command = SEV_CMD_NOP}, NULL, CONTROL_NO_SEV);
}

static void a_guest_that_was_sent_never_runs_again(void **state)
{
    struct control_request request = right(psp_command_row(SEV_CMD_SEND_FINISH));
    (void)state;
    state_of_guest = CONTROL_STATE_PAUSED;
    assert_int_equal(ask(&request, &guests[SEV]), CONTROL_SEV_FAILED); /* no SEND_START */
    assert_int_equal(guests[SEV].end, GUEST_END_NONE);
    control_firmware_answer(&call, (struct psp_result){.command = SEV_CMD_SEND_FINISH});
    assert_int_equal(guests[SEV].end, GUEST_END_DESTROYED);
    settle();
    assert_int_equal(guests[SEV].state, GUEST_ENDED);
    assert_int_equal(machine.contexts, 0);
}

/* ---- the platform ---- */

static uint8_t chain[4 * SEV_CERT_SIZE];

/* PDH, PEK, OCA, CEK, as the SEV firmware has them. */
static void export_chain(void)
{
    struct control_request request = {.command = SEV_CMD_PDH_CERT_EXPORT};
    put64(request.buffer, PLACE);
    put32(request.buffer + 0x08, SEV_CERT_SIZE);
    put64(request.buffer + 0x10, PLACE + SEV_CERT_SIZE);
    put32(request.buffer + 0x18, 3 * SEV_CERT_SIZE);
    assert_int_equal(ask(&request, NULL), CONTROL_OK);
    memcpy(chain, window_at(PLACE), sizeof(chain));
}

static const uint8_t *key_of_certificate(unsigned number)
{
    return chain + number * SEV_CERT_SIZE + SEV_CERT_KEY_AT;
}

/* hv's own copy, by what it prints of it. */
static bool hv_shows_the_chain(void)
{
    char line[80] = "sev pdh: ";
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    machine.console_length = 0;
    memset(machine.console, 0, sizeof(machine.console));
    identity_show();
    for (unsigned i = 0, at = 9; i < 48; i += 3) { /* the third line: within the PDH's key */
        uint32_t group = (uint32_t)chain[96 + i] << 16 | (uint32_t)chain[97 + i] << 8 | chain[98 + i];
        for (unsigned digit = 0; digit < 4; digit++)
            line[at++] = digits[group >> (18 - 6 * digit) & 63];
    }
    return machine_said(line);
}

static void new_keys_are_known_to_hv(void **state)
{
    static const uint8_t commands[] = {SEV_CMD_PDH_GEN, SEV_CMD_PEK_GEN};
    (void)state;
    for (unsigned i = 0; i < sizeof(commands); i++) {
        uint8_t before[SEV_CERT_KEY_SIZE];
        export_chain();
        assert_true(hv_shows_the_chain());
        memcpy(before, key_of_certificate(0), sizeof(before));
        assert_int_equal(ask_bare(commands[i]), CONTROL_OK);
        assert_true(sev_starting() && !identity.has_pdh);
        settle();
        assert_true(sev_ready() && identity.has_pdh);
        export_chain();
        assert_memory_not_equal(before, key_of_certificate(0), 144);
        assert_true(hv_shows_the_chain());
        assert_null(identity.survival);
        if (i == 0)
            end_guest();
    }
}

static void destructive_commands_wait_for_the_last_guest(void **state)
{
    static const uint8_t commands[] = {SEV_CMD_SHUTDOWN, SEV_CMD_PEK_GEN};
    (void)state;
    for (unsigned i = 0; i < sizeof(commands); i++)
        assert_refused(&(struct control_request){.command = commands[i]}, NULL, CONTROL_IN_USE);
    guest_end(&guests[SEV], GUEST_END_DESTROYED, "test");
    while (guests[SEV].asid != 0) {
        assert_refused(&(struct control_request){.command = SEV_CMD_SHUTDOWN}, NULL, CONTROL_IN_USE);
        (void)step();
        while (sev_mailbox_owner() != NULL)
            (void)step();
    }
    assert_true(lifecycle_relaunch(&guests[SEV])); /* from the moment on that it has an ASID */
    while (guests[SEV].asid == 0)
        (void)step();
    assert_false(guests[SEV].sev_context);
    assert_refused(&(struct control_request){.command = SEV_CMD_SHUTDOWN}, NULL, CONTROL_IN_USE);
    settle();
    end_guest();
    assert_int_equal(ask_bare(SEV_CMD_SHUTDOWN), CONTROL_OK); /* plain guests live on */
    assert_int_equal(guests[NONE].state, GUEST_RUNNING);
}

static void after_shutdown_guests_are_refused_until_init(void **state)
{
    uint8_t pek[SEV_CERT_KEY_SIZE];
    (void)state;
    export_chain();
    memcpy(pek, key_of_certificate(1), sizeof(pek));
    end_guest();
    assert_int_equal(ask_bare(SEV_CMD_SHUTDOWN), CONTROL_OK);
    settle();
    assert_false(sev_ready());
    assert_int_equal(sev_psp()->status.state, SEV_PLATFORM_UNINIT);
    assert_true(lifecycle_relaunch(&guests[SEV]));
    settle();
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    assert_non_null(strstr(guests[SEV].end_reason, "it must send INIT or INIT_EX"));
    assert_int_equal(ask_bare(SEV_CMD_PLATFORM_RESET), CONTROL_OK);
    settle();
    assert_int_equal(ask_bare(SEV_CMD_INIT), CONTROL_OK);
    assert_true(sev_starting());
    assert_refused(&(struct control_request){.command = SEV_CMD_SHUTDOWN}, NULL, CONTROL_STATE);
    settle();
    assert_true(sev_ready());
    assert_true(lifecycle_relaunch(&guests[SEV]));
    settle();
    assert_int_equal(guests[SEV].state, GUEST_RUNNING);
    export_chain();
    assert_memory_not_equal(pek, key_of_certificate(1), 144);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* hv repeats its own INIT where the PDH matters; not the control guest's, and says nothing of a PDH that it replaced itself. */
static void its_init_is_not_repeated(void **state)
{
    (void)state;
    manifest_of_three();
    good.header.flags |= MANIFEST_SHOW_PDH;
    good_seal(&good);
    boot((struct machine_options){0});
    launch();
    assert_non_null(strstr(machine.commands, "SHUTDOWN INIT"));
    assert_true(machine_said("sev: the PDH"));
    end_guest();
    assert_int_equal(ask_bare(SEV_CMD_SHUTDOWN), CONTROL_OK);
    settle();
    machine.commands[0] = '\0';
    machine.console_length = 0;
    memset(machine.console, 0, sizeof(machine.console));
    assert_int_equal(ask_bare(SEV_CMD_INIT), CONTROL_OK);
    settle();
    assert_string_equal(machine.commands, "INIT DF_FLUSH PLATFORM_STATUS PDH_CERT_EXPORT GET_ID ");
    assert_true(machine_said("sev: INIT by the control guest"));
    assert_false(machine_said("sev: the PDH"));
}

static void firmware_comes_through_the_window_and_its_version_is_read(void **state)
{
    struct control_request load = {.command = SEV_CMD_DOWNLOAD_FIRMWARE};
    (void)state;
    put64(load.buffer, PLACE);
    put32(load.buffer + 0x08, IMAGE_SIZE);
    signed_image(machine.fw, window_at(PLACE), 0, SEV_VERSION(1, 56, 3));
    end_guest();
    assert_refused(&load, NULL, CONTROL_STATE);
    assert_int_equal(ask_bare(SEV_CMD_SHUTDOWN), CONTROL_OK);
    settle();
    assert_int_equal(ask(&load, NULL), CONTROL_OK);
    settle();
    assert_int_equal(sev_version_of(&sev_psp()->status), SEV_VERSION(1, 56, 3));
    assert_false(sev_ready());
    assert_int_equal(ask_bare(SEV_CMD_INIT), CONTROL_OK);
    settle();
    assert_true(lifecycle_relaunch(&guests[SEV]));
    settle();
    assert_int_equal(guests[SEV].state, GUEST_RUNNING);
}

/* The launch comes while the command is executed: it waits, and is refused in words. */
static void a_launch_waits_for_a_destructive_command(void **state)
{
    struct control_request request = {.command = SEV_CMD_SHUTDOWN};
    (void)state;
    end_guest();
    assert_int_equal(submit(&request, NULL), CONTROL_OK);
    assert_true(sev_starting());
    assert_true(lifecycle_relaunch(&guests[SEV]));
    for (unsigned i = 0; i < 200; i++)
        (void)jobs_step();
    assert_int_equal(guests[SEV].state, GUEST_LAUNCHING);
    assert_int_equal(take(&request), CONTROL_OK);
    settle();
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    assert_null(strstr(machine.commands, "SHUTDOWN LAUNCH_START"));
}

static void persistent_data_go_out_and_come_back(void **state)
{
    struct control_request down = {.command = SEV_CMD_SHUTDOWN, .data = PLACE, .size = SEV_NV_SIZE};
    struct control_request up = {.command = SEV_CMD_INIT_EX}, save = {.command = SEV_CMD_NOP};
    uint8_t pek[SEV_CERT_KEY_SIZE];
    static uint8_t file[SEV_NV_SIZE];
    save.data = 0x40000;
    save.size = SEV_NV_SIZE;
    put32(up.buffer, 0x24);
    put64(up.buffer + 0x18, 0x30000);
    put32(up.buffer + 0x20, SEV_NV_SIZE);
    assert_refused(&up, NULL, CONTROL_STATE); /* what the SEV firmware uses is not overwritten */
    end_guest();
    assert_int_equal(ask(&save, NULL), CONTROL_OK);
    assert_int_equal(answer.size, 0); /* there is none */
    assert_int_equal(ask(&down, NULL), CONTROL_OK);
    settle();
    uint64_t pool = page_free_count();
    memset(window_at(0x30000), 0, SEV_NV_SIZE); /* a new store */
    assert_int_equal(ask(&up, NULL), CONTROL_OK);
    memset(window_at(0x30000), 0x77, SEV_NV_SIZE); /* is not the SEV firmware's */
    settle();
    assert_true(sev_ready());
    assert_int_equal(page_free_count(), pool - SEV_NV_SIZE / PAGE_SIZE);
    export_chain();
    memcpy(pek, key_of_certificate(1), sizeof(pek));
    assert_int_equal(ask(&save, NULL), CONTROL_OK);
    assert_int_equal(answer.size, SEV_NV_SIZE);
    memcpy(file, window_at(0x40000), sizeof(file));
    save.size--;
    assert_int_equal(ask(&save, NULL), CONTROL_OK);
    assert_int_equal(answer.size, 0);
    save.size++;
    assert_int_equal(ask_bare(SEV_CMD_PEK_GEN), CONTROL_OK); /* other keys, until the file is back */
    settle();
    export_chain();
    assert_memory_not_equal(pek, key_of_certificate(1), 144);
    assert_int_equal(ask(&down, NULL), CONTROL_OK);
    settle();
    memcpy(window_at(0x30000), file, sizeof(file));
    assert_int_equal(ask(&up, NULL), CONTROL_OK);
    settle();
    export_chain();
    assert_memory_equal(pek, key_of_certificate(1), 144);
    for (unsigned i = 0; i < 2; i++) { /* not page aligned; no data at all */
        save.data = i == 0 ? 0x40010 : CONTROL_WINDOW_SIZE - PAGE_SIZE;
        assert_int_equal(ask(&save, NULL), CONTROL_OK);
        assert_int_equal(answer.size, 0);
    }
    assert_true(lifecycle_relaunch(&guests[SEV]));
    settle();
    assert_int_equal(guests[SEV].state, GUEST_RUNNING);
    finish(GUEST_END_POWEROFF);
    all_is_back();
    (void)state;
}

static void without_pages_there_is_no_persistent_data(void **state)
{
    struct control_request up = right(psp_command_row(SEV_CMD_INIT_EX));
    (void)state;
    end_guest();
    assert_int_equal(ask_bare(SEV_CMD_SHUTDOWN), CONTROL_OK);
    settle();
    machine.fail_pool = 1;
    assert_refused(&up, NULL, CONTROL_LIMIT);
    machine.fail_window = 1;
    assert_refused(&up, NULL, CONTROL_INVALID);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_command_that_is_given_away_comes_with_real_addresses),
        TEST(no_address_or_length_outside_of_window_or_ram_is_sent),
        TEST(a_secret_goes_to_its_place),
        TEST(handles_reserved_words_and_bytes_behind_the_buffer_are_refused),
        TEST(commands_of_hvs_own_and_unknown_ones_are_not_sent),
        TEST(each_class_has_its_states),
        TEST(policies_forbid_debugging_and_sending),
        TEST(a_debugger_sees_and_changes_memory),
        TEST(lengths_can_be_asked_for),
        TEST(an_answer_that_does_not_come_keeps_the_guests_memory),
        TEST(a_guest_that_was_sent_never_runs_again),
        TEST(new_keys_are_known_to_hv),
        TEST(destructive_commands_wait_for_the_last_guest),
        TEST(after_shutdown_guests_are_refused_until_init),
        TEST(its_init_is_not_repeated),
        TEST(firmware_comes_through_the_window_and_its_version_is_read),
        TEST(a_launch_waits_for_a_destructive_command),
        TEST(persistent_data_go_out_and_come_back),
        TEST(without_pages_there_is_no_persistent_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
