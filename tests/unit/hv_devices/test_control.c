/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The control interface, on guests that are launched and ended. What the control guest writes to its window is this file's. */
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "hv/control/control.h"
#include "hv/control/end.h"
#include "hv/control/lifecycle.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/smp.h"
#include "hv/lib/x86.h"
#include "hv/vm/pages.h"
#include "hv/vm/sched.h"
#include "hv/vm/vcpu_cr.h"
#include "../../machine/firmware/kds.h"
#include "fake_memory.h"
#include "three_guests.h"

#define CTL HOST

static uint32_t sequence;

static uint8_t *window(uint32_t offset)
{
    assert_true(guests[CTL].window.size == SIZE_2M);
    return ram + (guests[CTL].window.base.raw - MACHINE_RAM) + offset;
}

static const struct control_answer *answer(void)
{
    return (const void *)window(CONTROL_ANSWER);
}

static void ring(uint32_t value)
{
    guests[CTL].doorbell = value;
    guest_note_end();
}

static void request(struct control_request r)
{
    r.sequence = ++sequence;
    memcpy(window(CONTROL_REQUEST), &r, sizeof(r));
    ring(sequence);
}

static enum control_result ask(struct control_request r)
{
    request(r);
    settle();
    assert_int_equal(answer()->sequence, sequence);
    assert_int_equal(guests[CTL].doorbell, 0);
    return answer()->result;
}

static enum control_result ask_about(uint32_t operation, uint32_t guest)
{
    return ask((struct control_request){
        .operation = operation, .guest = guest, .data = CONTROL_DATA, .size = CONTROL_DATA_SIZE});
}

static struct control_guest info(uint32_t guest)
{
    struct control_guest found;
    assert_int_equal(ask_about(CONTROL_GUEST_INFO, guest), CONTROL_OK);
    assert_int_equal(answer()->size, sizeof(found));
    memcpy(&found, window(CONTROL_DATA), sizeof(found));
    return found;
}

static uint32_t events(void)
{
    return ((const struct control_header *)window(0))->events;
}

static const struct control_event *event(uint32_t number)
{
    return (const struct control_event *)window(CONTROL_EVENTS) + number % CONTROL_EVENT_COUNT;
}

static bool told(uint32_t from, uint32_t kind, uint32_t guest, uint32_t code)
{
    for (uint32_t i = from; i < events(); i++)
        if (event(i)->kind == kind && event(i)->guest == guest && event(i)->code == code)
            return true;
    return false;
}

static int begin(void **state)
{
    (void)state;
    manifest_of_three();
    good.guests[CTL].flags = MANIFEST_GUEST_CONTROL;
    good_seal(&good);
    boot((struct machine_options){0});
    sequence = 0;
    return 0;
}

static void the_window_is_zero_at_launch_and_goes_scrubbed(void **state)
{
    (void)state;
    platform_pages();
    struct free_now before = free_now();
    for (unsigned launches = 0; launches < 2; launches++) {
        if (launches == 0)
            launch();
        else
            assert_true(lifecycle_relaunch(&guests[CTL]));
        settle();
        const struct control_header *header = (const void *)window(0);
        assert_true(header->magic == CONTROL_MAGIC && header->version == CONTROL_VERSION);
        const struct control_event *last = event(events());
        for (const uint8_t *at = (const uint8_t *)last; at < window(SIZE_2M); at++)
            assert_int_equal(*at, 0);
        for (uint32_t i = sizeof(*header); i < CONTROL_EVENTS; i++)
            assert_int_equal(*window(i), 0);
        memset(window(0), 0x5a, CONTROL_WINDOW_SIZE);
        finish(GUEST_END_POWEROFF);
        assert_int_equal(guests[CTL].window.size, 0);
    }
    all_is_back();
    assert_true(machine_scrubbed());
    struct free_now after = free_now();
    assert_true(after.asids == before.asids && after.extent == before.extent && after.pool == before.pool - POOL_KEPT);
}

/* The n-th call of each kind fails, for all n: the control guest is refused, or tries again, and nothing stays behind. */
static void every_failing_allocation_returns_all(void **state)
{
    unsigned refused = 0;
    for (unsigned kind = 0; kind < 5; kind++) {
        for (unsigned n = 1;; n++) {
            begin(state);
            struct free_now before = free_now();
            unsigned *const countdowns[] = {&machine.fail_extent, &machine.fail_npt_create, &machine.fail_npt_map,
                                            &machine.fail_vcpu, &machine.fail_window};
            *countdowns[kind] = n;
            launch();
            bool there_was_none = *countdowns[kind] != 0;
            refused += guests[CTL].state == GUEST_REFUSED;
            assert_true(guests[CTL].window.size != 0 || guests[CTL].state != GUEST_RUNNING);
            finish(GUEST_END_POWEROFF);
            if (there_was_none)
                break;
            struct free_now after = free_now();
            assert_true(after.asids == before.asids && after.extent == before.extent);
            if (guests[0].config != NULL) /* the manifest could be mapped */
                all_is_back();
            assert_true(machine_scrubbed());
        }
    }
    assert_true(refused > 0);
}

static void nobody_else_has_one(void **state)
{
    (void)state;
    launch();
    assert_true(guests[SEV].window.size == 0 && guests[NONE].window.size == 0);
    assert_int_equal(guests[CTL].npt.pages, guests[NONE].npt.pages + 2); /* a directory, and a table of small pages */
    paddr_t found;
    assert_false(npt_lookup(&guests[NONE].npt, gpaddr(CONTROL_WINDOW), &found));
    assert_false(npt_lookup(&guests[CTL].npt, gpaddr(CONTROL_WINDOW - 1), &found));
    assert_false(npt_lookup(&guests[CTL].npt, gpaddr(CONTROL_WINDOW + CONTROL_WINDOW_SIZE), &found));
    assert_true(npt_lookup(&guests[CTL].npt, gpaddr(CONTROL_WINDOW), &found));
    assert_int_equal(found.raw, guests[CTL].window.base.raw);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void platform_and_guests_are_described(void **state)
{
    (void)state;
    launch();
    struct control_platform platform;
    assert_int_equal(ask_about(CONTROL_PLATFORM_INFO, 77),
                     CONTROL_OK); /* it has no guest: no field of it is looked at */
    assert_int_equal(answer()->size, sizeof(platform));
    memcpy(&platform, window(CONTROL_DATA), sizeof(platform));
    assert_true(platform.version == CONTROL_VERSION && platform.guests == GOOD_GUESTS && platform.self == CTL);
    assert_true(platform.api_major == 1 && platform.api_minor == 55 && platform.build == 21 && platform.cpus == 1);
    assert_true(platform.sev_ready == 1 && platform.asids == MACHINE_SEV_ASIDS && platform.asids_used == 1);
    assert_true(platform.memory_free == free_now().extent && platform.commands == sev_psp()->commands);
    assert_string_equal(platform.refusal, "");
    for (uint32_t i = 0; i < GOOD_GUESTS; i++) {
        guests[i].vcpus[0]->exits[3] = 7;
        guests[i].vcpus[0]->run_tsc = 1000;
        struct control_guest guest = info(i);
        assert_string_equal(guest.name, good.guests[i].name);
        assert_true(guest.state == CONTROL_STATE_RUNNING && guest.encryption == good.guests[i].encryption);
        assert_true(guest.launches == 1 && guest.memory == GUEST_MEMORY && guest.phase == LAUNCH_FINISH_CMD);
        assert_true(guest.flags == good.guests[i].flags && guest.asid == guests[i].asid &&
                    guest.policy == good.guests[i].sev_policy);
        assert_true(guest.exits[3] == 7 && guest.run_tsc == 1000);
        assert_memory_equal(guest.digest, good.guests[i].launch_digest, 32);
    }
    assert_memory_equal(info(SEV).measure, &guests[SEV].measurement, 32);
    assert_true(info(SEV).commands == 7);
    /* What has no room is left out. */
    memset(window(CONTROL_DATA), 0x77, 64);
    assert_int_equal(
        ask((struct control_request){.operation = CONTROL_GUEST_INFO, .guest = SEV, .data = CONTROL_DATA, .size = 33}),
        CONTROL_OK);
    assert_true(answer()->size == 33 && *window(CONTROL_DATA + 33) == 0x77);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void each_field_of_a_request_is_checked(void **state)
{
    (void)state;
    launch();
    static const uint32_t with_guest[] = {CONTROL_GUEST_INFO, CONTROL_LAUNCH,       CONTROL_END,          CONTROL_PAUSE,
                                          CONTROL_RESUME,     CONTROL_CONSOLE_READ, CONTROL_CONSOLE_WRITE};
    for (unsigned i = 0; i < sizeof(with_guest) / sizeof(*with_guest); i++) {
        assert_int_equal(ask_about(with_guest[i], GOOD_GUESTS), CONTROL_NO_GUEST);
        assert_int_equal(ask_about(with_guest[i], UINT32_MAX - (with_guest[i] == CONTROL_CONSOLE_READ)),
                         CONTROL_NO_GUEST);
    }
    static const uint32_t unknown[] = {CONTROL_NOTHING, 4, 7, 15, 23, 31, 33, 255, UINT32_MAX};
    for (unsigned i = 0; i < sizeof(unknown) / sizeof(*unknown); i++)
        assert_int_equal(ask_about(unknown[i], SEV), CONTROL_UNKNOWN);
    static const struct {
        uint32_t data, size;
    } outside[] = {{0, 1},
                   {CONTROL_DATA - 1, 1},
                   {CONTROL_DATA, CONTROL_DATA_SIZE + 1},
                   {CONTROL_WINDOW_SIZE - 1, 2},
                   {CONTROL_WINDOW_SIZE, 1},
                   {CONTROL_WINDOW_SIZE + 1, 0},
                   {UINT32_MAX, 1},
                   {CONTROL_DATA, UINT32_MAX},
                   {UINT32_MAX, UINT32_MAX}};
    static const uint32_t with_data[] = {CONTROL_PLATFORM_INFO, CONTROL_GUEST_INFO, CONTROL_CONSOLE_READ,
                                         CONTROL_CONSOLE_WRITE};
    for (unsigned i = 0; i < sizeof(outside) / sizeof(*outside); i++)
        for (unsigned o = 0; o < sizeof(with_data) / sizeof(*with_data); o++)
            assert_int_equal(
                ask((struct control_request){
                    .operation = with_data[o], .guest = SEV, .data = outside[i].data, .size = outside[i].size}),
                CONTROL_INVALID);
    for (uint64_t vector = 1; vector < 32; vector++)
        assert_int_equal(ask((struct control_request){.operation = CONTROL_INTERRUPT, .argument = vector}),
                         CONTROL_INVALID);
    assert_int_equal(ask((struct control_request){.operation = CONTROL_INTERRUPT, .argument = 256}), CONTROL_INVALID);
    assert_int_equal(ask((struct control_request){.operation = CONTROL_INTERRUPT, .argument = UINT64_MAX}),
                     CONTROL_INVALID);
    /* Another sequence than the doorbell's. */
    struct control_request r = {.sequence = 5, .operation = CONTROL_END, .guest = SEV};
    memcpy(window(CONTROL_REQUEST), &r, sizeof(r));
    ring(sequence = 6);
    settle();
    assert_true(answer()->sequence == 6 && answer()->result == CONTROL_INVALID && guests[SEV].end == GUEST_END_NONE);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void guests_are_paused_resumed_ended_and_launched(void **state)
{
    (void)state;
    launch();
    uint32_t before = events();
    assert_int_equal(ask_about(CONTROL_RESUME, SEV), CONTROL_STATE);
    assert_int_equal(ask_about(CONTROL_LAUNCH, SEV), CONTROL_STATE);
    assert_int_equal(ask_about(CONTROL_PAUSE, CTL), CONTROL_INVALID);
    assert_int_equal(ask_about(CONTROL_RESUME, CTL), CONTROL_INVALID);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(ask_about(CONTROL_PAUSE, SEV), CONTROL_OK);
        assert_true(guests[SEV].vcpus_queued == 0 && info(SEV).state == CONTROL_STATE_PAUSED && lifecycle_active());
        assert_int_equal(ask_about(CONTROL_PAUSE, SEV), CONTROL_STATE);
        assert_int_equal(ask_about(CONTROL_RESUME, SEV), CONTROL_OK);
        assert_true(guests[SEV].vcpus_queued == 1 && info(SEV).state == CONTROL_STATE_RUNNING);
    }
    assert_int_equal(ask_about(CONTROL_PAUSE, SEV), CONTROL_OK);
    assert_int_equal(ask_about(CONTROL_END, SEV), CONTROL_OK);
    assert_int_equal(info(SEV).state, CONTROL_STATE_ENDED);
    assert_string_equal(info(SEV).end_reason, "ended by the control guest");
    assert_int_equal(ask_about(CONTROL_END, SEV), CONTROL_STATE);
    assert_int_equal(ask_about(CONTROL_PAUSE, SEV), CONTROL_STATE);
    assert_int_equal(ask_about(CONTROL_LAUNCH, SEV), CONTROL_OK);
    assert_true(info(SEV).state == CONTROL_STATE_RUNNING && info(SEV).launches == 2 && guests[SEV].vcpus_queued == 1);
    static const uint32_t states[] = {CONTROL_STATE_PAUSED, CONTROL_STATE_RUNNING, CONTROL_STATE_ENDED};
    for (unsigned i = 0; i < sizeof(states) / sizeof(*states); i++)
        assert_true(told(before, CONTROL_EVENT_STATE, SEV, states[i]));
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* No answer while a CPU may still run it; another ring of the doorbell does nothing meanwhile. */
static void a_pause_is_answered_when_no_vcpu_runs(void **state)
{
    (void)state;
    launch();
    machine.cpu_busy = true;
    request((struct control_request){.operation = CONTROL_PAUSE, .guest = SEV});
    uint32_t own = sequence;
    for (unsigned i = 0; i < 20; i++) {
        step();
        assert_int_equal(answer()->sequence, own - 1);
        if (i == 10)
            request((struct control_request){.operation = CONTROL_END, .guest = NONE});
    }
    machine.cpu_busy = false;
    smp_kick(guests[SEV].vcpus[0]->cpu);
    settle();
    assert_true(answer()->sequence == own && answer()->result == CONTROL_OK && guests[NONE].end == GUEST_END_NONE);

    /* A guest that ends on the way to its pause. */
    assert_int_equal(ask_about(CONTROL_RESUME, SEV), CONTROL_OK);
    machine.cpu_busy = true;
    request((struct control_request){.operation = CONTROL_PAUSE, .guest = SEV});
    step();
    guest_end(&guests[SEV], GUEST_END_POWEROFF, "test");
    machine.cpu_busy = false;
    smp_kick(guests[NONE].vcpus[0]->cpu);
    settle();
    assert_true(answer()->sequence == sequence && answer()->result == CONTROL_STATE &&
                guests[SEV].state == GUEST_ENDED);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* Nothing of hv writes to the window any more when it is freed. */
static void the_control_guests_end_waits_for_its_request(void **state)
{
    (void)state;
    launch();
    request((struct control_request){.operation = CONTROL_FIRMWARE, .command = SEV_CMD_PLATFORM_STATUS});
    while (sev_mailbox_owner() != control_job())
        step();
    guest_end(&guests[CTL], GUEST_END_DESTROYED, "test");
    unsigned waited = 0;
    for (; control_job()->kind != JOB_NONE; waited++) {
        lifecycle_begin_ends();
        for (unsigned i = 0; i < 50 && job_of(&guests[CTL])->kind == JOB_END; i++)
            (void)end_step(job_of(&guests[CTL]));
        assert_true(guests[CTL].state == GUEST_RUNNING && guests[CTL].window.size != 0);
        step();
    }
    assert_true(waited > 0);
    settle();
    assert_true(guests[CTL].state == GUEST_ENDED && guests[CTL].window.size == 0);
    finish(GUEST_END_POWEROFF);
    all_is_back();
    assert_true(machine_scrubbed());
}

static void consoles_go_both_ways(void **state)
{
    (void)state;
    launch();
    uint32_t before = events();
    for (unsigned i = 0; i < 3; i++)
        output_byte(&guests[SEV].output, (uint8_t)"abc"[i]);
    settle();
    assert_true(told(before, CONTROL_EVENT_CONSOLE, SEV, 0));
    uint32_t once = events();
    output_byte(&guests[SEV].output, 'd');
    settle();
    assert_int_equal(events(), once);
    assert_int_equal(
        ask((struct control_request){.operation = CONTROL_CONSOLE_READ, .guest = SEV, .data = CONTROL_DATA, .size = 3}),
        CONTROL_OK);
    assert_true(answer()->size == 3 && answer()->value == 0);
    assert_memory_equal(window(CONTROL_DATA), "abc", 3);
    settle();
    assert_int_equal(events(), once + 1); /* one byte is left */
    struct control_request rest = {
        .operation = CONTROL_CONSOLE_READ, .guest = SEV, .address = 3, .data = CONTROL_DATA, .size = 99};
    assert_int_equal(ask(rest), CONTROL_OK);
    assert_true(answer()->size == 1 && answer()->value == 3 && *window(CONTROL_DATA) == 'd');
    rest.address = UINT64_MAX;
    assert_int_equal(ask(rest), CONTROL_OK);
    assert_true(answer()->size == 0 && answer()->value == 4);
    for (unsigned i = 0; i < 2 * HISTORY_SIZE; i++)
        output_byte(&guests[SEV].output, (uint8_t)(i == HISTORY_SIZE ? 'x' : '\n'));
    assert_int_equal(ask_about(CONTROL_CONSOLE_READ, SEV), CONTROL_OK);
    assert_true(answer()->size == HISTORY_SIZE && answer()->value == HISTORY_SIZE + 4);
    assert_true(*window(CONTROL_DATA) == 'x' && info(SEV).console_first == HISTORY_SIZE + 4);
    assert_int_equal(ask_about(CONTROL_CONSOLE_READ, CONTROL_LOG), CONTROL_OK);
    *window(CONTROL_DATA + answer()->size) = 0;
    assert_non_null(strstr((const char *)window(CONTROL_DATA), "launch alpha: LAUNCH_FINISH\n"));

    memset(window(CONTROL_DATA), 'i', VUART_INPUT + 10);
    assert_int_equal(ask((struct control_request){
                         .operation = CONTROL_CONSOLE_WRITE, .guest = SEV, .data = CONTROL_DATA, .size = 10}),
                     CONTROL_OK);
    assert_true(answer()->value == 10 && vuart_input_room(&guests[SEV].uart) == VUART_INPUT - 10);
    assert_int_equal(ask_about(CONTROL_CONSOLE_WRITE, SEV), CONTROL_OK);
    assert_true(answer()->value == VUART_INPUT - 10);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* Whether hv has sent it since the last call. */
static bool interrupted(uint8_t vector)
{
    struct vcpu *vcpu = guests[CTL].vcpus[0];
    uint32_t bit = 1u << vector % 32;
    machine_look_around();
    (void)sched_poll(vcpu->cpu, NULL, clock_tsc(), NULL);
    bool came = (vcpu->lapic.irr[vector / 32] & bit) != 0;
    vcpu->lapic.irr[vector / 32] &= ~bit;
    return came;
}

static void events_and_answers_interrupt_the_control_guest(void **state)
{
    (void)state;
    launch();
    assert_false(interrupted(0));
    assert_int_equal(ask((struct control_request){.operation = CONTROL_INTERRUPT, .argument = 0x51}), CONTROL_OK);
    assert_true(interrupted(0x51));
    settle();
    assert_false(interrupted(0x51));
    uint32_t before = events();
    guest_end(&guests[NONE], GUEST_END_POWEROFF, "test");
    settle();
    assert_true(events() > before && interrupted(0x51));
    for (unsigned i = 0; i < 2 * CONTROL_EVENT_COUNT; i++) {
        before = events();
        assert_int_equal(ask_about(i % 2 == 0 ? CONTROL_PAUSE : CONTROL_RESUME, SEV), CONTROL_OK);
        settle();
        assert_true(told(before, CONTROL_EVENT_STATE, SEV, i % 2 == 0 ? CONTROL_STATE_PAUSED : CONTROL_STATE_RUNNING));
    }
    for (const uint8_t *at = window(CONTROL_EVENTS + CONTROL_EVENT_COUNT * sizeof(struct control_event));
         at < window(CONTROL_DATA); at++)
        assert_int_equal(*at, 0);
    assert_int_equal(ask((struct control_request){.operation = CONTROL_INTERRUPT, .argument = 0}), CONTROL_OK);
    (void)interrupted(0x51);
    guest_end(&guests[SEV], GUEST_END_POWEROFF, "test");
    settle();
    assert_false(interrupted(0x51));
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* ---- launches that wait ---- */

/* Flags of hv's own copy of the manifest, as the packer would set them. */
static void launch_with(uint16_t flags)
{
    lifecycle_begin(&machine.handoff);
    ((struct manifest_guest *)(uintptr_t)guests[SEV].config)->flags = flags;
    for (unsigned i = 0; i < 10000 && (guests[SEV].awaits == 0 || guests[CTL].state != GUEST_RUNNING); i++)
        step();
    machine.commands[0] = '\0';
}

/* As settle(), while a launch waits for what the test has not sent yet. */
static enum control_result ask_meanwhile(struct control_request r)
{
    request(r);
    for (unsigned i = 0; i < 10000 && answer()->sequence != sequence; i++)
        step();
    assert_int_equal(answer()->sequence, sequence);
    return answer()->result;
}

static uint32_t state_of(uint32_t guest)
{
    assert_int_equal(ask_meanwhile((struct control_request){.operation = CONTROL_GUEST_INFO,
                                                            .guest = guest,
                                                            .data = CONTROL_DATA,
                                                            .size = sizeof(struct control_guest)}),
                     CONTROL_OK);
    return ((const struct control_guest *)window(CONTROL_DATA))->state;
}

static void a_guest_that_requires_a_secret_is_held_until_it_has_one(void **state)
{
    (void)state;
    launch_with(MANIFEST_GUEST_REQUIRE_SECRET);
    assert_int_equal(state_of(SEV), CONTROL_STATE_HELD);
    assert_memory_equal(((const struct control_guest *)window(CONTROL_DATA))->measure, &guests[SEV].measurement, 32);
    assert_int_equal(((const struct control_guest *)window(CONTROL_DATA))->phase, LAUNCH_MEASURE_CMD);
    struct control_request resume = {.operation = CONTROL_RESUME, .guest = SEV};
    assert_int_equal(ask_meanwhile(resume), CONTROL_STATE);
    assert_non_null(strstr(answer()->text, "LAUNCH_SECRET"));
    assert_int_equal(ask_meanwhile((struct control_request){.operation = CONTROL_PAUSE, .guest = SEV}), CONTROL_STATE);
    assert_null(strstr(machine.commands, "LAUNCH_FINISH"));
    assert_int_equal(guests[SEV].vcpus_queued, 0);
    guests[SEV].secret_placed = true; /* what LAUNCH_SECRET does is told elsewhere */
    assert_int_equal(ask_meanwhile(resume), CONTROL_OK);
    settle();
    assert_true(guests[SEV].state == GUEST_RUNNING && strstr(machine.commands, "LAUNCH_FINISH") != NULL);
    finish(GUEST_END_POWEROFF);
    all_is_back();

    /* The next launch requires the next secret; and one that is held can be ended. */
    assert_true(lifecycle_relaunch(&guests[CTL]) && lifecycle_relaunch(&guests[SEV]));
    for (unsigned i = 0; i < 10000 && guests[SEV].awaits == 0; i++)
        step();
    assert_true(guests[SEV].awaits == CONTROL_STATE_HELD && !guests[SEV].secret_placed);
    for (unsigned i = 0; i < 10000 && guests[CTL].state != GUEST_RUNNING; i++)
        step();
    assert_int_equal(ask_meanwhile((struct control_request){.operation = CONTROL_END, .guest = SEV}), CONTROL_OK);
    settle();
    assert_int_equal(guests[SEV].state, GUEST_ENDED);
    finish(GUEST_END_POWEROFF);
    all_is_back();

    /* Nobody would place it; and what an earlier launch had is not shown. */
    assert_true(lifecycle_relaunch(&guests[SEV]));
    assert_int_equal(guests[SEV].awaits, 0);
    assert_int_equal(guests[SEV].measurement.measure[0] | guests[SEV].measurement.measure[1], 0);
    settle();
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    assert_non_null(strstr(guests[SEV].end_reason, "control guest, which does not run"));
    all_is_back();
}

static void a_launch_waits_for_its_session_which_is_checked(void **state)
{
    (void)state;
    launch_with(MANIFEST_GUEST_SESSION_AT_LAUNCH);
    assert_int_equal(state_of(SEV), CONTROL_STATE_SESSION);
    assert_null(strstr(machine.commands, "LAUNCH_START"));
    struct control_request r = {
        .operation = CONTROL_SESSION, .guest = SEV, .data = CONTROL_DATA, .size = sizeof(struct control_session)};
    struct control_session session = {.policy = 5};
    static const uint32_t wrong[] = {5, 4, 0x40, 0x8000};
    for (unsigned i = 0; i < sizeof(wrong) / sizeof(*wrong); i++) {
        session.policy = wrong[i];
        memcpy(window(CONTROL_DATA), &session, sizeof(session));
        assert_int_equal(ask_meanwhile(r), CONTROL_INVALID);
        assert_int_equal(state_of(SEV), CONTROL_STATE_SESSION);
    }
    r.size--;
    assert_int_equal(ask_meanwhile(r), CONTROL_INVALID);
    r.size++;
    session.policy = 0x21;
    memcpy(window(CONTROL_DATA), &session, sizeof(session));
    assert_int_equal(ask_meanwhile(r), CONTROL_SEV_FAILED); /* no certificate: the SEV firmware has seen it */
    assert_non_null(strstr(machine.commands, "LAUNCH_START"));
    assert_non_null(strstr(answer()->text, "LAUNCH_START"));
    assert_int_equal(guests[SEV].sev_policy, 0x21);
    settle();
    assert_true(guests[SEV].state == GUEST_REFUSED && guests[SEV].session == NULL);
    assert_int_equal(ask_meanwhile(r), CONTROL_STATE);

    assert_int_equal(ask_meanwhile((struct control_request){.operation = CONTROL_LAUNCH, .guest = SEV}), CONTROL_OK);
    for (unsigned i = 0; i < 10000 && guests[SEV].awaits == 0; i++)
        step();
    assert_int_equal(ask_meanwhile((struct control_request){.operation = CONTROL_END, .guest = SEV}), CONTROL_OK);
    settle();
    assert_int_equal(guests[SEV].state, GUEST_ENDED);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* ---- debugging ---- */

static void what_may_not_be_debugged_is_refused_and_the_rest_is_read_and_written(void **state)
{
    (void)state;
    launch();
    struct control_request read = {
        .operation = CONTROL_MEMORY_READ, .guest = NONE, .address = 0x100ffd, .data = CONTROL_DATA, .size = 6};
    struct control_request write = {
        .operation = CONTROL_MEMORY_WRITE, .guest = NONE, .address = 0x300ffd, .data = CONTROL_DATA, .size = 6};
    struct control_request get = {
        .operation = CONTROL_VCPU_GET, .guest = NONE, .data = CONTROL_DATA, .size = sizeof(struct control_vcpu)};
    assert_int_equal(ask(get), CONTROL_STATE);
    assert_int_equal(ask_about(CONTROL_PAUSE, NONE), CONTROL_OK);
    assert_int_equal(ask_about(CONTROL_PAUSE, SEV), CONTROL_OK);
    memset(window(CONTROL_DATA), 0x77, 6);
    assert_int_equal(ask(read), CONTROL_POLICY);
    assert_int_equal(ask(write), CONTROL_POLICY);
    assert_int_equal(ask(get), CONTROL_POLICY);
    assert_int_equal(*window(CONTROL_DATA), 0x77);
    assert_int_equal(machine_private(&guests[NONE], 0x300ffd), 0);
    get.guest = read.guest = write.guest = SEV; /* its policy is 1 */
    assert_true(ask(get) == CONTROL_POLICY && ask(read) == CONTROL_POLICY && ask(write) == CONTROL_POLICY);
    get.guest = read.guest = CTL; /* not itself */
    assert_true(ask(get) == CONTROL_INVALID && ask(read) == CONTROL_INVALID);

    ((struct manifest_guest *)(uintptr_t)guests[NONE].config)->flags = MANIFEST_GUEST_DEBUG;
    guests[SEV].sev_policy = 0;
    get.guest = read.guest = SEV;
    assert_int_equal(ask(read), CONTROL_NOT_SHARED);
    assert_int_equal(ask(get), CONTROL_OK);
    struct control_vcpu vcpu;
    memcpy(&vcpu, window(CONTROL_DATA), sizeof(vcpu));
    const struct manifest_registers *registers = &good.guests[SEV].registers;
    assert_true(answer()->size == sizeof(vcpu) && vcpu.rip == registers->rip && vcpu.cr3 == registers->cr3);
    assert_true(vcpu.rdi == registers->rdi && vcpu.efer == registers->efer && vcpu.state == VCPU_RUNNABLE);
    assert_memory_equal(&vcpu.es, &registers->es, 10 * sizeof(struct control_segment));
    get.vcpu = 1;
    assert_int_equal(ask(get), CONTROL_INVALID);

    read.guest = write.guest = NONE;
    assert_int_equal(ask(read), CONTROL_OK);
    for (unsigned b = 0; b < 6; b++)
        assert_int_equal(*window(CONTROL_DATA + b), machine_private(&guests[NONE], 0x100ffd + b));
    memcpy(window(CONTROL_DATA), "abcdef", 6);
    assert_int_equal(ask(write), CONTROL_OK);
    for (unsigned b = 0; b < 6; b++)
        assert_int_equal(machine_private(&guests[NONE], 0x300ffd + b), "abcdef"[b]);
    static const uint64_t outside[] = {GUEST_MEMORY, GUEST_MEMORY - 5, UINT64_MAX, UINT64_MAX - 5, UINT64_C(1) << 63};
    for (unsigned i = 0; i < sizeof(outside) / sizeof(*outside); i++) {
        read.address = write.address = outside[i];
        assert_true(ask(read) == CONTROL_INVALID && ask(write) == CONTROL_INVALID);
    }
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* The launch program's shared page, and what the guest has shared meanwhile; nothing of private pages, whoever asks. */
static void only_pages_that_a_guest_with_sev_shares_are_read_and_written(void **state)
{
    (void)state;
    static const struct {
        uint32_t policy;
        enum control_result shared_read, shared_write, private_read;
    } rules[] = {
        {0, CONTROL_OK, CONTROL_OK, CONTROL_NOT_SHARED},
        {SEV_POLICY_NODBG, CONTROL_OK, CONTROL_POLICY, CONTROL_POLICY},
        {SEV_POLICY_NOSEND, CONTROL_OK, CONTROL_OK, CONTROL_NOT_SHARED},
        {SEV_POLICY_NODBG | SEV_POLICY_NOSEND, CONTROL_POLICY, CONTROL_POLICY, CONTROL_POLICY},
    };
    launch();
    for (unsigned i = 0; i < sizeof(rules) / sizeof(*rules); i++) {
        struct control_request r = {.operation = CONTROL_MEMORY_READ,
                                    .guest = SEV,
                                    .address = 0x200005,
                                    .data = CONTROL_DATA,
                                    .size = PAGE_SIZE - 5};
        guests[SEV].sev_policy = rules[i].policy;
        uint8_t was = machine_shared(&guests[SEV], 0x200005);
        memset(window(CONTROL_DATA), was + 1, PAGE_SIZE);
        assert_int_equal(ask(r), rules[i].shared_read);
        assert_int_equal(*window(CONTROL_DATA), rules[i].shared_read == CONTROL_OK ? was : (uint8_t)(was + 1));
        r.operation = CONTROL_MEMORY_WRITE;
        memset(window(CONTROL_DATA), was + 1, PAGE_SIZE);
        assert_int_equal(ask(r), rules[i].shared_write);
        assert_int_equal(machine_shared(&guests[SEV], 0x200005),
                         rules[i].shared_write == CONTROL_OK ? (uint8_t)(was + 1) : was);
        r.size++; /* the next page's first byte */
        assert_int_equal(ask(r), rules[i].shared_write == CONTROL_OK ? CONTROL_NOT_SHARED : CONTROL_POLICY);
        r.operation = CONTROL_MEMORY_READ;
        assert_int_equal(ask(r), rules[i].private_read);
        r.size = 1;
        r.address = 0x1fffff;
        assert_int_equal(ask(r), rules[i].private_read);
        r.address = 0x100000;
        assert_int_equal(ask(r), rules[i].private_read);
        pages_set_shared(&guests[SEV], gpaddr(0x201000), PAGE_SIZE, true);
        r.address = 0x200fff;
        r.size = 2;
        assert_int_equal(ask(r), rules[i].shared_read);
        pages_set_shared(&guests[SEV], gpaddr(0x201000), PAGE_SIZE, false);
        assert_int_equal(ask(r), rules[i].private_read);
    }
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static struct control_vcpu registers_of(uint32_t guest)
{
    struct control_vcpu found;
    assert_int_equal(ask((struct control_request){
                         .operation = CONTROL_VCPU_GET, .guest = guest, .data = CONTROL_DATA, .size = sizeof(found)}),
                     CONTROL_OK);
    memcpy(&found, window(CONTROL_DATA), sizeof(found));
    return found;
}

static enum control_result set_registers(uint32_t guest, const struct control_vcpu *vcpu)
{
    memcpy(window(CONTROL_DATA), vcpu, sizeof(*vcpu));
    return ask((struct control_request){
        .operation = CONTROL_VCPU_SET, .guest = guest, .data = CONTROL_DATA, .size = sizeof(*vcpu)});
}

static void paused_and_open(uint32_t guest)
{
    this_cpu()->features.decode_assists = this_cpu()->features.next_rip = true;
    launch();
    guests[SEV].sev_policy = 0;
    ((struct manifest_guest *)(uintptr_t)guests[NONE].config)->flags = MANIFEST_GUEST_DEBUG;
    assert_int_equal(ask_about(CONTROL_PAUSE, guest), CONTROL_OK);
}

static void registers_are_set_whole_or_not_at_all(void **state)
{
    (void)state;
    paused_and_open(SEV);
    const struct control_vcpu was = registers_of(SEV);
    struct vcpu *vcpu = guests[SEV].vcpus[0];
    struct control_vcpu in = was;
    uint64_t *general = &in.rax;
    for (unsigned i = 0; i < 16; i++)
        general[i] = UINT64_C(0x8123456789ab0000) + i;
    in.rip = UINT64_C(0xffff800000001234);
    in.rflags = 0x3f7fd7 & ~RFLAGS_VM;
    in.cr2 = UINT64_C(0xdead000000000000);
    in.cr3 = UINT64_C(0x000ffffffffff018);
    in.dr0 = 1, in.dr1 = UINT64_MAX, in.dr2 = 3, in.dr3 = 4;
    in.dr6 = 0xffff0ff3;
    in.dr7 = 0xffff2755;
    in.star = 5, in.lstar = UINT64_C(0xffffffff81000000), in.cstar = 7, in.sfmask = 8, in.kernel_gs_base = 9;
    in.sysenter_cs = 10, in.sysenter_esp = 11, in.sysenter_eip = 12;
    in.fs.base = UINT64_C(0x7fffffffffff);
    in.gdtr.limit = 0xffff;
    in.ss.attributes |= 3u << 5;
    vcpu_cr_step(vcpu, true); /* it was paused in the middle of a LMSW: that begins anew */
    assert_int_equal(set_registers(SEV, &in), CONTROL_OK);
    const struct control_vcpu now = registers_of(SEV);
    assert_memory_equal(&now, &in, sizeof(now));
    assert_true(!vcpu->stepping && vcpu->vmcb->cpl == 3 && vcpu->breakpoints == 0xf);
    assert_true((vcpu->vmcb->cr4 & CR4_MCE) != 0 && (vcpu->vmcb->efer & EFER_SVME) != 0);
    assert_true(vcpu->vmcb->tlb_control != TLB_CONTROL_NONE);
    assert_int_equal(vcpu->switched.dr[3], 4);

    static const struct {
        uint32_t offset;
        uint64_t change; /* XOR */
    } hostile[] = {
#define HOSTILE(field, bits) {offsetof(struct control_vcpu, field), bits}
        HOSTILE(cr4, CR4_MCE), /* hv's */
        HOSTILE(cr4, UINT64_C(1) << 13), /* VMXE: not on AMD */
        HOSTILE(cr4, UINT64_C(1) << 63),
        HOSTILE(cr4, CR4_PAE), /* in long mode */
        HOSTILE(efer, EFER_SVME),
        HOSTILE(efer, UINT64_C(1) << 14), /* FFXSR */
        HOSTILE(efer, UINT64_C(1) << 63),
        HOSTILE(efer, EFER_LMA),
        HOSTILE(efer, EFER_LME),
        HOSTILE(cr0, CR0_NW),
        HOSTILE(cr0, CR0_PE),
        HOSTILE(cr0, CR0_PG), /* LMA stays */
        HOSTILE(cr0, UINT64_C(1) << 32),
        HOSTILE(cr0, UINT64_C(1) << 6),
        HOSTILE(cr3, UINT64_C(1) << 52),
        HOSTILE(cr3, UINT64_C(1) << 63),
        HOSTILE(rip, UINT64_C(1) << 47),
        HOSTILE(rip, UINT64_C(1) << 62),
        HOSTILE(rflags, 2),
        HOSTILE(rflags, 8),
        HOSTILE(rflags, RFLAGS_VM),
        HOSTILE(rflags, UINT64_C(1) << 40),
        HOSTILE(dr6, UINT64_C(1) << 32),
        HOSTILE(dr7, UINT64_C(1) << 32),
        HOSTILE(dr7, UINT64_C(1) << 11),
        HOSTILE(dr7, UINT64_C(1) << 15),
        HOSTILE(cs.attributes, 0x400), /* L and D */
        HOSTILE(cs.attributes, 0x1000),
        HOSTILE(tr.attributes, 0x8000),
        HOSTILE(fs.base, UINT64_C(1) << 47),
        HOSTILE(gdtr.base, UINT64_C(1) << 63),
        HOSTILE(gdtr.limit, 0x10000),
        HOSTILE(idtr.limit, 0x80000000),
        HOSTILE(tr.base, UINT64_C(1) << 50),
        HOSTILE(lstar, UINT64_C(1) << 47),
        HOSTILE(cstar, UINT64_C(1) << 48),
        HOSTILE(kernel_gs_base, UINT64_C(1) << 63),
        HOSTILE(sysenter_esp, UINT64_C(1) << 56),
        HOSTILE(sysenter_eip, UINT64_C(1) << 47),
        HOSTILE(state, 1),
    };
    for (unsigned i = 0; i < sizeof(hostile) / sizeof(*hostile); i++) {
        struct control_vcpu bad = in;
        bad.rax = i;
        uint8_t *at = (uint8_t *)&bad + hostile[i].offset;
        for (unsigned byte = 0; byte < 8 && hostile[i].change >> 8 * byte != 0; byte++)
            at[byte] ^= (uint8_t)(hostile[i].change >> 8 * byte);
        if (set_registers(SEV, &bad) != CONTROL_INVALID)
            fail_msg("hostile value %u is taken", i);
        const struct control_vcpu still = registers_of(SEV);
        assert_memory_equal(&still, &in, sizeof(still));
    }
    /* Out of long mode other rules hold. */
    in.efer = in.cr4 = 0, in.cr0 = CR0_ET, in.cr3 = 0, in.rip = UINT32_MAX, in.cs.attributes = 0x9b;
    in.rflags = 2 | RFLAGS_VM;
    assert_int_equal(set_registers(SEV, &in), CONTROL_OK);
    in.rip++;
    assert_int_equal(set_registers(SEV, &in), CONTROL_INVALID);
    in.rip = 0, in.cr4 = CR4_PCIDE;
    assert_int_equal(set_registers(SEV, &in), CONTROL_INVALID);

    struct control_request set = {
        .operation = CONTROL_VCPU_SET, .guest = SEV, .data = CONTROL_DATA, .size = sizeof(in) - 1};
    assert_int_equal(ask(set), CONTROL_INVALID);
    set.size++;
    set.vcpu = 1;
    assert_int_equal(ask(set), CONTROL_INVALID);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* What VMRUN refuses (APM2 15.5.1), and what hv keeps for itself: in the VMCB, whatever was asked for. */
static void vmrun_takes(const struct vmcb *v)
{
    bool long_mode = (v->efer & EFER_LME) != 0 && (v->cr0 & CR0_PG) != 0;
    assert_true((v->efer & EFER_SVME) != 0 && (v->efer >> 16) == 0);
    assert_true((v->cr0 & (CR0_CD | CR0_NW)) == 0 && v->cr0 >> 32 == 0);
    assert_true((v->cr4 & CR4_MCE) != 0 && (v->cr4 & (UINT64_C(1) << 13)) == 0 && v->cr4 >> 32 == 0);
    assert_true(v->cr3 >> 52 == 0 && v->dr6 >> 32 == 0 && v->dr7 >> 32 == 0);
    assert_true(!long_mode || ((v->cr4 & CR4_PAE) != 0 && (v->cr0 & CR0_PE) != 0));
    assert_true(!long_mode || (v->cs.attributes & 0x600) != 0x600);
    assert_int_equal((v->efer & EFER_LMA) != 0, long_mode);
    assert_true(v->cpl <= 3 && (v->rflags & 2) != 0 && v->gdtr.limit <= 0xffff && v->idtr.limit <= 0xffff);
    const uint64_t addresses[] = {v->es.base, v->fs.base, v->gs.base,        v->tr.base,      v->gdtr.base,
                                  v->lstar,   v->cstar,   v->kernel_gs_base, v->sysenter_esp, v->sysenter_eip};
    for (unsigned i = 0; i < sizeof(addresses) / sizeof(*addresses); i++)
        assert_true(addresses[i] >> 56 == 0 || addresses[i] >> 56 == 0xff);
}

static void random_registers_are_such_as_vmrun_takes(void **state)
{
    (void)state;
    srandom(20261201);
    paused_and_open(SEV);
    const struct vmcb *vmcb = guests[SEV].vcpus[0]->vmcb;
    struct control_vcpu in = registers_of(SEV);
    unsigned taken = 0, refused = 0;
    for (unsigned i = 0; i < 20000; i++) {
        struct control_vcpu out = in;
        for (unsigned changes = (unsigned)random() % 3 + 1; changes > 0; changes--)
            ((uint8_t *)&out)[(unsigned long)random() % offsetof(struct control_vcpu, state)] ^=
                (uint8_t)(1u << random() % 8);
        struct vmcb before = *vmcb;
        if (set_registers(SEV, &out) == CONTROL_OK) {
            taken++;
            vmrun_takes(vmcb);
            in = registers_of(SEV);
        } else {
            refused++;
            assert_int_equal(answer()->result, CONTROL_INVALID);
            assert_memory_equal(&before, vmcb, sizeof(before));
        }
    }
    assert_true(taken > 1000 && refused > 1000);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void nothing_of_it_is_for_guests_that_may_not_be_debugged(void **state)
{
    (void)state;
    static const uint32_t operations[] = {CONTROL_VCPU_SET, CONTROL_STEP};
    launch();
    assert_int_equal(ask_about(CONTROL_PAUSE, SEV), CONTROL_OK);
    assert_int_equal(ask_about(CONTROL_PAUSE, NONE), CONTROL_OK);
    for (unsigned i = 0; i < 2; i++) {
        struct vcpu *vcpu = guests[SEV].vcpus[0];
        struct vmcb before = *vcpu->vmcb;
        assert_int_equal(ask_about(operations[i], SEV), CONTROL_POLICY);
        assert_int_equal(ask_about(operations[i], NONE), CONTROL_POLICY);
        assert_int_equal(ask_about(operations[i], CTL), CONTROL_INVALID);
        assert_memory_equal(&before, vcpu->vmcb, sizeof(before));
        assert_true(guests[SEV].paused && guests[NONE].paused && vcpu->step == STEP_NONE);
    }
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void a_step_runs_one_vcpu_and_its_end_is_told(void **state)
{
    (void)state;
    paused_and_open(SEV);
    struct guest *guest = &guests[SEV];
    struct vcpu *vcpu = guest->vcpus[0];
    struct control_request step_one = {.operation = CONTROL_STEP, .guest = SEV, .vcpu = 1};
    assert_int_equal(ask(step_one), CONTROL_INVALID);
    step_one.vcpu = 0;
    for (unsigned round = 0; round < 2; round++) {
        uint32_t from = events();
        assert_int_equal(ask(step_one), CONTROL_OK);
        assert_true(vcpu->step == STEP_ASKED && vcpu->queued && info(SEV).state == CONTROL_STATE_RUNNING);
        assert_int_equal(ask(step_one), CONTROL_STATE);
        /* The round after it: told behind a WBINVD, also when nobody has looked at the guest meanwhile. */
        vcpu->step = STEP_NONE;
        vcpu->stopped = 1;
        machine.late_looks = 2;
        guest_pause(guest);
        machine_look_around();
        control_poll();
        assert_false(told(from, CONTROL_EVENT_STOPPED, SEV, 0));
        settle();
        for (unsigned i = 0; i < 5; i++)
            step();
        assert_true(told(from, CONTROL_EVENT_STOPPED, SEV, 0));
        assert_int_equal(event(events() - 1)->vcpu, 0);
        assert_int_equal(vcpu->stopped, 0);
        assert_int_equal(info(SEV).state, CONTROL_STATE_PAUSED);
    }
    /* Resumed, it steps no longer. */
    vcpu->stopped = 3;
    assert_int_equal(ask_about(CONTROL_RESUME, SEV), CONTROL_OK);
    assert_true(vcpu->step == STEP_NONE && vcpu->stopped == 0 && !guest->paused);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* ---- moves ---- */

static struct control_request pages_request(uint32_t guest, uint64_t gpa, uint32_t npages, uint64_t argument)
{
    return (struct control_request){.operation = CONTROL_PAGES,
                                    .guest = guest,
                                    .address = gpa,
                                    .argument = argument,
                                    .data = CONTROL_DATA,
                                    .size = npages};
}

static uint8_t page_byte(uint64_t page)
{
    return *window(CONTROL_DATA + (uint32_t)page);
}

#define WRITTEN (CONTROL_PAGE_TOUCHED | CONTROL_PAGE_DIRTY)
#define ALL_PAGES ((uint32_t)(GUEST_MEMORY / PAGE_SIZE))

static void pages_of_the_launch_program_are_touched_and_what_others_write_is_dirty(void **state)
{
    (void)state;
    good.guests[SEV].flags = MANIFEST_GUEST_SNAPSHOT;
    good_seal(&good);
    machine_manifest(&good, sizeof(good));
    launch();
    guests[SEV].sev_policy = SEV_POLICY_NODBG;
    uint64_t tables = guests[SEV].npt.pages;
    assert_int_equal(tables, 5); /* two of small pages: it has 4 MiB */
    for (unsigned track = 0; track < 3; track++) {
        assert_int_equal(ask(pages_request(SEV, 0, 5000, track > 0)), CONTROL_OK);
        assert_int_equal(answer()->size, ALL_PAGES);
        for (uint64_t page = 0; page < ALL_PAGES; page++) {
            bool program = page == 4 || (page >= 8 && page < 11) || page == 0x100 || page == 0x101 || page == 0x200;
            uint8_t expected = !program ? 0 : track < 2 ? WRITTEN : CONTROL_PAGE_TOUCHED;
            /* Private at first, as all are: its own step shares it. */
            expected |= page == 0x200 ? CONTROL_PAGE_SHARED : 0;
            assert_int_equal(page_byte(page), expected);
        }
    }
    assert_int_equal(guests[SEV].npt.pages, tables);

    /* hv, by MEMORY_WRITE; the SEV firmware, or so it may be (it knows that the guest has NODBG). */
    guests[SEV].sev_policy = 0;
    struct control_request write = {
        .operation = CONTROL_MEMORY_WRITE, .guest = SEV, .address = 0x200010, .data = CONTROL_DATA, .size = 16};
    assert_int_equal(ask(write), CONTROL_OK);
    struct control_request debug = {.operation = CONTROL_FIRMWARE, .guest = SEV, .command = SEV_CMD_DBG_ENCRYPT};
    uint64_t from = CONTROL_DATA, to = 0x300000;
    uint32_t length = 16;
    memcpy(debug.buffer + 8, &from, sizeof(from));
    memcpy(debug.buffer + 16, &to, sizeof(to));
    memcpy(debug.buffer + 24, &length, sizeof(length));
    assert_int_equal(ask(debug), CONTROL_SEV_FAILED);
    debug.command = SEV_CMD_DBG_DECRYPT; /* only reads */
    from = 0x301000, to = CONTROL_DATA;
    memcpy(debug.buffer + 8, &from, sizeof(from));
    memcpy(debug.buffer + 16, &to, sizeof(to));
    assert_int_equal(ask(debug), CONTROL_SEV_FAILED);
    pages_set_shared(&guests[SEV], gpaddr(0x302000), PAGE_SIZE, true);
    assert_int_equal(ask(pages_request(SEV, 0x1ff000, 0x200, 0)), CONTROL_OK);
    assert_int_equal(page_byte(1), WRITTEN | CONTROL_PAGE_SHARED);
    assert_int_equal(page_byte(0x101), WRITTEN);
    assert_int_equal(page_byte(0x102), 0);
    assert_int_equal(page_byte(0x103), CONTROL_PAGE_SHARED | CONTROL_PAGE_DIRTY);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void large_pages_are_split_where_they_are_tracked_or_nothing_changes(void **state)
{
    (void)state;
    launch();
    ((struct manifest_guest *)(uintptr_t)guests[NONE].config)->flags = MANIFEST_GUEST_DEBUG;
    assert_int_equal(guests[NONE].npt.pages, 3);
    assert_int_equal(ask(pages_request(NONE, 0, ALL_PAGES, 0)), CONTROL_OK);
    for (uint64_t page = 0; page < ALL_PAGES; page++) /* its program lies in the first 2 MiB */
        assert_int_equal(page_byte(page), page < 512 ? WRITTEN : 0);
    assert_int_equal(guests[NONE].npt.pages, 3);
    machine.fail_pool = 1;
    memset(window(CONTROL_DATA), 0x77, ALL_PAGES);
    assert_int_equal(ask(pages_request(NONE, 0x300000, 1, 1)), CONTROL_LIMIT);
    assert_true(answer()->size == 0 && page_byte(0) == 0x77 && guests[NONE].npt.pages == 3);
    assert_int_equal(ask(pages_request(NONE, 0x1ff000, 2, 1)), CONTROL_OK);
    assert_true(answer()->size == 2 && page_byte(0) == WRITTEN && page_byte(1) == 0 && page_byte(2) == 0x77);
    assert_int_equal(guests[NONE].npt.pages, 5);
    assert_int_equal(ask(pages_request(NONE, 0x1fe000, 2, 0)), CONTROL_OK);
    assert_true(page_byte(0) == WRITTEN && page_byte(1) == CONTROL_PAGE_TOUCHED); /* of its neighbour's, nothing */

    static const struct control_request refused[] = {
        {.address = 1},  {.address = GUEST_MEMORY}, {.address = UINT64_MAX - 4095},
        {.argument = 2}, {.argument = UINT64_MAX},  {.size = UINT32_MAX /* none, below */},
    };
    for (unsigned i = 0; i < sizeof(refused) / sizeof(*refused); i++) {
        struct control_request r =
            pages_request(NONE, refused[i].address, refused[i].size == 0 ? 1 : 0, refused[i].argument);
        assert_int_equal(ask(r), CONTROL_INVALID);
    }
    assert_int_equal(ask(pages_request(NONE, GUEST_MEMORY - PAGE_SIZE, 9, 0)), CONTROL_OK);
    assert_int_equal(answer()->size, 1);
    ((struct manifest_guest *)(uintptr_t)guests[NONE].config)->flags = 0;
    assert_int_equal(ask(pages_request(NONE, 0, 1, 0)), CONTROL_POLICY);
    guests[SEV].sev_policy = SEV_POLICY_NOSEND;
    assert_int_equal(ask(pages_request(SEV, 0, 1, 1)), CONTROL_POLICY);
    assert_int_equal(ask(pages_request(CTL, 0, 1, 0)), CONTROL_INVALID);
    guest_end(&guests[SEV], GUEST_END_POWEROFF, "test");
    settle();
    assert_int_equal(ask(pages_request(SEV, 0, 1, 0)), CONTROL_STATE);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* Each vCPU is told to flush; the answer waits until each CPU has been interrupted. */
static void tracked_pages_are_answered_when_no_cpu_writes_unseen(void **state)
{
    (void)state;
    launch();
    guests[SEV].sev_policy = 0;
    request(pages_request(SEV, 0, 1, 0));
    settle();
    assert_false(guests[SEV].vcpus[0]->tlb_stale);
    machine.late_looks = 1000;
    request(pages_request(SEV, 0, 1, 1));
    for (unsigned i = 0; i < 30; i++) {
        step();
        assert_int_equal(answer()->sequence, sequence - 1);
    }
    assert_true(guests[SEV].vcpus[0]->tlb_stale);
    machine.late_looks = 0;
    settle();
    assert_true(answer()->sequence == sequence && answer()->result == CONTROL_OK);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* A guest's way out and in again, through buffers of the test's. */

#define AT(kib) (CONTROL_DATA + (kib) * 1024u)

static struct {
    struct control_guest_state whole;
    struct control_vcpu_state vcpu;
    struct control_session session;
    struct {
        uint8_t header[52], data[PAGE_SIZE];
    } pages[6];
    uint8_t shared[PAGE_SIZE];
} stream;

static const uint64_t private_pages[6] = {0x4000, 0x8000, 0x9000, 0xa000, 0x100000, 0x101000};

static void put(uint8_t *buffer, unsigned at, uint64_t value, unsigned size)
{
    memcpy(buffer + at, &value, size);
}

static enum control_result firmware(uint32_t guest, uint8_t command, const uint8_t buffer[static 80])
{
    struct control_request r = {.operation = CONTROL_FIRMWARE, .guest = guest, .command = command};
    memcpy(r.buffer, buffer, sizeof(r.buffer));
    return ask_meanwhile(r);
}

static enum control_result by_handle(uint32_t guest, uint8_t command)
{
    return firmware(guest, command, (const uint8_t[80]){0});
}

static enum control_result packet(uint32_t guest, uint8_t command, uint64_t gpa)
{
    uint8_t buffer[80] = {0};
    put(buffer, 0x08, AT(0), 8);
    put(buffer, 0x10, 52, 4);
    put(buffer, 0x18, gpa, 8);
    put(buffer, 0x20, PAGE_SIZE, 4);
    put(buffer, 0x28, AT(4), 8);
    put(buffer, 0x30, PAGE_SIZE, 4);
    return firmware(guest, command, buffer);
}

/* To this platform itself: its chain, with what AMD's key server adds. */
static void send_start(uint32_t guest)
{
    static uint8_t amd[2 * SEVFW_ROOT_CERT_SIZE];
    uint8_t export[80] = {0}, start[80] = {0};
    if (amd[0] == 0) {
        kds_ask(amd);
        kds_ark(amd + SEVFW_ROOT_CERT_SIZE);
    }
    put(export, 0x00, AT(0), 8);
    put(export, 0x08, 2084, 4);
    put(export, 0x10, AT(4), 8);
    put(export, 0x18, 6252, 4);
    assert_int_equal(firmware(guest, SEV_CMD_PDH_CERT_EXPORT, export), CONTROL_OK);
    memcpy(stream.session.dh_cert, window(AT(0)), 2084);
    uint8_t chip[SEVFW_CHIP_ID_SIZE] = {0};
    kds_cek(chip, 1, 55, window(AT(4) + 2 * 2084));
    memcpy(window(AT(12)), amd, sizeof(amd));
    put(start, 0x08, AT(0), 8);
    put(start, 0x10, 2084, 4);
    put(start, 0x18, AT(4), 8);
    put(start, 0x20, 6252, 4);
    put(start, 0x28, AT(12), 8);
    put(start, 0x30, sizeof(amd), 4);
    put(start, 0x38, AT(16), 8);
    put(start, 0x40, 128, 4);
    assert_int_equal(firmware(guest, SEV_CMD_SEND_START, start), CONTROL_OK);
    memcpy(stream.session.session, window(AT(16)), 128);
    stream.session.policy = guests[guest].sev_policy;
}

static struct control_request state_request(uint32_t operation, uint32_t guest, uint32_t vcpu, uint32_t size)
{
    return (struct control_request){
        .operation = operation, .guest = guest, .vcpu = vcpu, .data = CONTROL_DATA, .size = size};
}

static enum control_result set_state(uint32_t guest, uint32_t vcpu, const void *state, size_t size)
{
    memcpy(window(CONTROL_DATA), state, size);
    return ask_meanwhile(state_request(CONTROL_STATE_SET, guest, vcpu, (uint32_t)size));
}

static void get_state(uint32_t guest, uint32_t vcpu, void *state, size_t size)
{
    assert_int_equal(ask_meanwhile(state_request(CONTROL_STATE_GET, guest, vcpu, (uint32_t)size)), CONTROL_OK);
    assert_int_equal(answer()->size, size);
    memcpy(state, window(CONTROL_DATA), size);
}

/* A vCPU in the middle of its life. */
static void live(struct guest *guest)
{
    struct vcpu *vcpu = guest->vcpus[0];
    vcpu->run.gprs.r13 = 0x1313;
    vmcb_set_rip(vcpu->vmcb, 0x100123);
    vmcb_set_cr2(vcpu->vmcb, 0xdead000);
    vmcb_set_g_pat(vcpu->vmcb, UINT64_C(0x0007040600070406) ^ 1);
    vmcb_set_interrupt_shadow(vcpu->vmcb, 1);
    vcpu->switched.dr[1] = 0x1234;
    vcpu->switched.fpu[100] = 0x77;
    vcpu->mtrr_def_type = 0x800;
    vcpu->pvclock.system_time_msr = 0x5001;
    vcpu->pvclock.version = 6;
    vlapic_post(&vcpu->lapic, 0x51);
    vlapic_post(&vcpu->lapic, 0x61);
    vlapic_accept(&vcpu->lapic, 0x61);
    vmcb_set_v_intr(vcpu->vmcb, vcpu->vmcb->v_intr | 3);
    vcpu->lapic.lvt[0] = 0x400ec; /* TSC deadline */
    vcpu->lapic.deadline_tsc = UINT64_C(1) << 60;
    vcpu->nmi_pending = true;
    vcpu->exception = vmcb_event(EVENT_TYPE_EXCEPTION, 13) | EVENT_ERROR_VALID | UINT64_C(5) << EVENT_ERROR_SHIFT;
    vcpu->posted.irr[2] = 1u << 3; /* by another vCPU: 0x43 */
    vcpu->posted.any = 1;
    guest->uart.scr = 0x5c;
    guest->uart.fcr = 0xc1;
    for (unsigned i = 0; i < 3; i++)
        assert_true(guest_input(guest, (uint8_t)"abc"[i]));
    assert_true(vuart_break(&guest->uart));
    guest->migration_control = guest->sev;
}

static void same_state(uint32_t guest)
{
    struct control_guest_state whole;
    struct control_vcpu_state vcpu;
    get_state(guest, CONTROL_WHOLE_GUEST, &whole, sizeof(whole));
    get_state(guest, 0, &vcpu, sizeof(vcpu));
    /* The guest's TSC has gone on from where it was, within what the test's own steps take. */
    uint64_t then = stream.whole.tsc + stream.vcpu.tsc_offset, now = whole.tsc + vcpu.tsc_offset;
    assert_true(now >= then && now - then < 10 * clock_hz());
    whole.tsc = stream.whole.tsc;
    vcpu.tsc_offset = stream.vcpu.tsc_offset;
    vcpu.registers.cpu = stream.vcpu.registers.cpu;
    assert_memory_equal(&whole, &stream.whole, sizeof(whole));
    assert_memory_equal(&vcpu, &stream.vcpu, sizeof(vcpu));
}

static void check_state(const struct guest *guest)
{
    const struct control_vcpu_state *vcpu = &stream.vcpu;
    assert_true(stream.whole.memory == GUEST_MEMORY && stream.whole.vcpus == 1 && stream.whole.input_count == 4 &&
                stream.whole.input_break == 3 && memcmp(stream.whole.input, "abc", 4) == 0);
    assert_true(stream.whole.uart_scr == 0x5c && stream.whole.migration_control == guest->sev);
    assert_true(vcpu->registers.r13 == 0x1313 && vcpu->registers.rip == 0x100123 && vcpu->registers.dr1 == 0x1234);
    assert_true(vcpu->registers.state == VCPU_RUNNABLE && vcpu->event == (UINT64_C(5) << 32 | 0x80000b0d));
    assert_true(vcpu->apic_irr[2] == (1u << 0x11 | 1u << 3) && vcpu->apic_isr[3] == 2 && vcpu->apic_tpr == 0x30);
    assert_true(vcpu->xsave[100] == 0x77 && vcpu->nmi_pending == 1 && vcpu->system_time_msr == 0x5001);
}

static void wait_for(uint32_t guest, uint32_t awaited)
{
    for (unsigned i = 0; i < 20000 && guests[guest].awaits != awaited; i++)
        step();
    assert_int_equal(state_of(guest), awaited);
}

static struct control_request about(uint32_t operation, uint32_t guest)
{
    return (struct control_request){.operation = operation, .guest = guest};
}

static void leave(void)
{
    launch();
    guests[SEV].sev_policy &= ~SEV_POLICY_NOSEND;
    live(&guests[SEV]);
    send_start(SEV); /* it still runs */
    assert_int_equal(ask(about(CONTROL_PAUSE, SEV)), CONTROL_OK);
    for (unsigned i = 0; i < 6; i++) {
        assert_int_equal(packet(SEV, SEV_CMD_SEND_UPDATE_DATA, private_pages[i]), CONTROL_OK);
        memcpy(stream.pages[i].header, window(AT(0)), 52);
        memcpy(stream.pages[i].data, window(AT(4)), PAGE_SIZE);
    }
    assert_int_equal(ask((struct control_request){.operation = CONTROL_MEMORY_READ,
                                                  .guest = SEV,
                                                  .address = 0x200000,
                                                  .data = CONTROL_DATA,
                                                  .size = PAGE_SIZE}),
                     CONTROL_OK);
    memcpy(stream.shared, window(CONTROL_DATA), PAGE_SIZE);
    get_state(SEV, CONTROL_WHOLE_GUEST, &stream.whole, sizeof(stream.whole));
    get_state(SEV, 0, &stream.vcpu, sizeof(stream.vcpu));
    check_state(&guests[SEV]);
}

static void enter_session(void)
{
    assert_int_equal(ask_meanwhile(about(CONTROL_RECEIVE, SEV)), CONTROL_OK);
    wait_for(SEV, CONTROL_STATE_SESSION);
    memcpy(window(CONTROL_DATA), &stream.session, sizeof(stream.session));
    assert_int_equal(ask_meanwhile(state_request(CONTROL_SESSION, SEV, 0, sizeof(stream.session))), CONTROL_OK);
    wait_for(SEV, CONTROL_STATE_RECEIVING);
}

static void enter_memory(void)
{
    for (unsigned i = 0; i < 6; i++) {
        memcpy(window(AT(0)), stream.pages[i].header, 52);
        memcpy(window(AT(4)), stream.pages[i].data, PAGE_SIZE);
        assert_int_equal(packet(SEV, SEV_CMD_RECEIVE_UPDATE_DATA, private_pages[i]), CONTROL_OK);
    }
    struct control_request write = {
        .operation = CONTROL_MEMORY_WRITE, .guest = SEV, .address = 0x200000, .data = CONTROL_DATA, .size = PAGE_SIZE};
    memcpy(window(CONTROL_DATA), stream.shared, PAGE_SIZE);
    assert_int_equal(ask_meanwhile(write), CONTROL_OK);
    write.size = 16; /* whole pages: what is shared and what is not has no other unit */
    assert_int_equal(ask_meanwhile(write), CONTROL_INVALID);
}

static void a_guest_with_sev_goes_on_where_it_was_sent_and_not_before_all_of_it_came(void **state)
{
    (void)state;
    leave();
    assert_int_equal(by_handle(SEV, SEV_CMD_SEND_FINISH), CONTROL_OK);
    settle();
    assert_int_equal(guests[SEV].state, GUEST_ENDED);

    enter_session();
    assert_non_null(strstr(machine.commands, "RECEIVE_START ACTIVATE "));
    const struct control_request resume = about(CONTROL_RESUME, SEV);
    assert_int_equal(ask_meanwhile(resume), CONTROL_STATE);
    assert_int_equal(set_state(SEV, 0, &stream.vcpu, sizeof(stream.vcpu)), CONTROL_STATE); /* the whole comes first */
    enter_memory();
    /* The TSC of where it comes from is another. */
    stream.whole.tsc += UINT64_C(1) << 50;
    stream.vcpu.tsc_offset -= UINT64_C(1) << 50;
    assert_int_equal(set_state(SEV, CONTROL_WHOLE_GUEST, &stream.whole, sizeof(stream.whole)), CONTROL_OK);
    assert_int_equal(ask_meanwhile(resume), CONTROL_STATE);
    assert_int_equal(set_state(SEV, 0, &stream.vcpu, sizeof(stream.vcpu)), CONTROL_OK);
    assert_int_equal(ask_meanwhile(resume), CONTROL_STATE);
    assert_non_null(strstr(answer()->text, "RECEIVE_FINISH"));
    assert_true(guests[SEV].vcpus_queued == 0 && state_of(SEV) == CONTROL_STATE_RECEIVING);
    assert_int_equal(by_handle(SEV, SEV_CMD_RECEIVE_FINISH), CONTROL_OK);
    guests[SEV].vcpus_set = 0; /* as if its vCPU were still to come */
    assert_int_equal(ask_meanwhile(resume), CONTROL_STATE);
    assert_int_equal(set_state(SEV, 0, &stream.vcpu, sizeof(stream.vcpu)), CONTROL_OK);
    assert_int_equal(ask_meanwhile(resume), CONTROL_OK);
    settle();
    assert_true(guests[SEV].state == GUEST_RUNNING && guests[SEV].vcpus_queued == 1);
    assert_int_equal(ask(about(CONTROL_PAUSE, SEV)), CONTROL_OK);
    same_state(SEV);
    for (unsigned b = 0; b < PAGE_SIZE; b++) {
        assert_int_equal(machine_private(&guests[SEV], 0x101000 + b), good.payload[PAGE_IMAGE + 1][b]);
        assert_int_equal(machine_private(&guests[SEV], 0x8000 + b), 0);
        assert_int_equal(machine_shared(&guests[SEV], 0x200000 + b), good.payload[PAGE_SHARED][b]);
    }
    assert_int_equal(ask(pages_request(SEV, 0, ALL_PAGES, 0)), CONTROL_OK);
    unsigned shared = 0;
    for (uint64_t page = 0; page < ALL_PAGES; page++)
        shared += page_byte(page) & CONTROL_PAGE_SHARED;
    assert_true(shared == 1 && (page_byte(0x200) & CONTROL_PAGE_SHARED) != 0);

    /* Its next launch is one. */
    assert_int_equal(ask(about(CONTROL_END, SEV)), CONTROL_OK);
    settle();
    assert_int_equal(ask(about(CONTROL_LAUNCH, SEV)), CONTROL_OK);
    settle();
    assert_true(guests[SEV].state == GUEST_RUNNING && !guests[SEV].receives);
    finish(GUEST_END_POWEROFF);
    all_is_back();
    assert_true(machine_scrubbed());
}

static void a_cancelled_move_leaves_the_source_as_it_was(void **state)
{
    (void)state;
    leave();
    assert_int_equal(by_handle(SEV, SEV_CMD_SEND_CANCEL), CONTROL_OK);
    assert_int_equal(ask(about(CONTROL_RESUME, SEV)), CONTROL_OK);
    assert_int_equal(ask(about(CONTROL_PAUSE, SEV)), CONTROL_OK);
    same_state(SEV);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* At each point of its way in, by CONTROL_END and by the control guest's own end. */
static void what_came_of_a_guest_goes_without_having_run(void **state)
{
    for (unsigned n = 0; n < 8; n++) {
        if (n > 0)
            begin(state);
        leave();
        assert_int_equal(by_handle(SEV, SEV_CMD_SEND_FINISH), CONTROL_OK);
        settle();
        uint32_t launches = guests[SEV].launches;
        enter_session();
        if (n >= 2)
            enter_memory();
        if (n >= 4) {
            assert_int_equal(set_state(SEV, CONTROL_WHOLE_GUEST, &stream.whole, sizeof(stream.whole)), CONTROL_OK);
            assert_int_equal(set_state(SEV, 0, &stream.vcpu, sizeof(stream.vcpu)), CONTROL_OK);
        }
        if (n >= 6)
            assert_int_equal(by_handle(SEV, SEV_CMD_RECEIVE_FINISH), CONTROL_OK);
        if (n % 2 == 0) {
            assert_int_equal(ask_meanwhile(about(CONTROL_END, SEV)), CONTROL_OK);
        } else {
            guest_end(&guests[CTL], GUEST_END_DESTROYED, "test");
        }
        settle();
        assert_true(guests[SEV].launches == launches && guests[SEV].vcpus[0] == NULL && guests[SEV].asid == 0);
        finish(GUEST_END_POWEROFF);
        all_is_back();
        assert_true(machine_scrubbed());
        if (n < 7)
            teardown(state);
    }
}

static void a_session_of_another_place_is_refused_in_words(void **state)
{
    (void)state;
    leave();
    assert_int_equal(by_handle(SEV, SEV_CMD_SEND_FINISH), CONTROL_OK);
    settle();
    assert_int_equal(ask_meanwhile(about(CONTROL_RECEIVE, SEV)), CONTROL_OK);
    wait_for(SEV, CONTROL_STATE_SESSION);
    memcpy(window(CONTROL_DATA), &stream.session, sizeof(stream.session));
    *window(CONTROL_DATA + offsetof(struct control_session, session) + 5) ^= 1;
    assert_int_equal(ask_meanwhile(state_request(CONTROL_SESSION, SEV, 0, sizeof(stream.session))), CONTROL_SEV_FAILED);
    assert_non_null(strstr(answer()->text, "RECEIVE_START: "));
    settle();
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void guests_without_sev_move_where_their_entry_allows_it(void **state)
{
    (void)state;
    launch();
    uint16_t *flags = &((struct manifest_guest *)(uintptr_t)guests[NONE].config)->flags;
    assert_int_equal(ask(about(CONTROL_PAUSE, NONE)), CONTROL_OK);
    assert_int_equal(ask(state_request(CONTROL_STATE_GET, NONE, 0, sizeof(stream.vcpu))), CONTROL_POLICY);
    *flags = MANIFEST_GUEST_DEBUG;
    live(&guests[NONE]);
    get_state(NONE, CONTROL_WHOLE_GUEST, &stream.whole, sizeof(stream.whole));
    get_state(NONE, 0, &stream.vcpu, sizeof(stream.vcpu));
    check_state(&guests[NONE]);
    assert_int_equal(ask(state_request(CONTROL_STATE_GET, NONE, 1, sizeof(stream.vcpu))), CONTROL_INVALID);
    assert_int_equal(ask(state_request(CONTROL_STATE_SET, NONE, 0, sizeof(stream.vcpu))), CONTROL_STATE);
    assert_int_equal(ask(about(CONTROL_END, NONE)), CONTROL_OK);
    settle();
    *flags = 0;
    assert_int_equal(ask(about(CONTROL_RECEIVE, NONE)), CONTROL_POLICY);
    *flags = MANIFEST_GUEST_DEBUG;
    assert_int_equal(ask_meanwhile(about(CONTROL_RECEIVE, NONE)), CONTROL_OK);
    wait_for(NONE, CONTROL_STATE_RECEIVING);
    struct control_request write = {
        .operation = CONTROL_MEMORY_WRITE, .guest = NONE, .address = 0x100ffd, .data = CONTROL_DATA, .size = 6};
    memcpy(window(CONTROL_DATA), "abcdef", 6);
    assert_int_equal(ask_meanwhile(write), CONTROL_OK);
    assert_int_equal(by_handle(NONE, SEV_CMD_RECEIVE_FINISH), CONTROL_STATE);
    assert_int_equal(set_state(NONE, CONTROL_WHOLE_GUEST, &stream.whole, sizeof(stream.whole)), CONTROL_OK);
    assert_int_equal(ask_meanwhile(about(CONTROL_RESUME, NONE)), CONTROL_STATE);
    assert_int_equal(set_state(NONE, 0, &stream.vcpu, sizeof(stream.vcpu)), CONTROL_OK);
    assert_int_equal(ask_meanwhile(about(CONTROL_RESUME, NONE)), CONTROL_OK);
    settle();
    assert_int_equal(ask(about(CONTROL_PAUSE, NONE)), CONTROL_OK);
    same_state(NONE);
    assert_true(machine_private(&guests[NONE], 0x101000) == 'd' && machine_private(&guests[NONE], 0x4000) == 0);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* One field at a time; nothing of the rest is taken over then. */
static void hostile_state_is_refused_and_changes_nothing(void **state)
{
    (void)state;
    launch();
    ((struct manifest_guest *)(uintptr_t)guests[NONE].config)->flags = MANIFEST_GUEST_DEBUG;
    assert_int_equal(ask(about(CONTROL_PAUSE, NONE)), CONTROL_OK);
    live(&guests[NONE]);
    get_state(NONE, CONTROL_WHOLE_GUEST, &stream.whole, sizeof(stream.whole));
    get_state(NONE, 0, &stream.vcpu, sizeof(stream.vcpu));
    assert_int_equal(ask(about(CONTROL_END, NONE)), CONTROL_OK);
    settle();
    assert_int_equal(ask_meanwhile(about(CONTROL_RECEIVE, NONE)), CONTROL_OK);
    wait_for(NONE, CONTROL_STATE_RECEIVING);

    struct control_guest_state whole;
    struct vuart uart = guests[NONE].uart;
#define WRONG(change)                                                                               \
    whole = stream.whole;                                                                           \
    whole.change;                                                                                   \
    assert_int_equal(set_state(NONE, CONTROL_WHOLE_GUEST, &whole, sizeof(whole)), CONTROL_INVALID); \
    assert_memory_equal(&guests[NONE].uart, &uart, sizeof(uart));                                   \
    assert_false(guests[NONE].state_set);
    WRONG(version++)
    WRONG(encryption++)
    WRONG(vcpus = 2)
    WRONG(memory += PAGE_SIZE)
    WRONG(migration_control = 1)
    WRONG(tsc_hz += clock_hz() / 3999)
    WRONG(tsc_hz -= clock_hz() / 3999)
    WRONG(tsc_hz = 0)
    WRONG(uart_ier = 0x10)
    WRONG(uart_fcr = 0x41 + 2)
    WRONG(uart_fcr = 0x40)
    WRONG(uart_mcr = 0x20)
    WRONG(uart_flags = 4)
    WRONG(input_count = VUART_INPUT + 1)
    WRONG(input_count = UINT32_MAX)
    WRONG(input_break = 4)
#undef WRONG
    assert_int_equal(ask_meanwhile(state_request(CONTROL_STATE_SET, NONE, CONTROL_WHOLE_GUEST, sizeof(whole) - 1)),
                     CONTROL_INVALID);
    whole = stream.whole;
    whole.tsc_hz += clock_hz() / 4001;
    assert_int_equal(set_state(NONE, CONTROL_WHOLE_GUEST, &whole, sizeof(whole)), CONTROL_OK);

    struct control_vcpu_state vcpu;
    struct vcpu kept = *guests[NONE].vcpus[0];
    static struct vmcb vmcb;
    vmcb = *kept.vmcb;
#define WRONG(change)                                                           \
    vcpu = stream.vcpu;                                                         \
    vcpu.change;                                                                \
    assert_int_equal(set_state(NONE, 0, &vcpu, sizeof(vcpu)), CONTROL_INVALID); \
    assert_memory_equal(guests[NONE].vcpus[0], &kept, sizeof(kept));            \
    assert_memory_equal(kept.vmcb, &vmcb, sizeof(vmcb));                        \
    assert_int_equal(guests[NONE].vcpus_set, 0);
    WRONG(registers.cr4 = UINT64_MAX) /* and what VCPU_SET checks besides */
    WRONG(registers.lstar = UINT64_C(1) << 63)
    WRONG(registers.state = 3)
    WRONG(cpl = 3)
    WRONG(cpl = 4)
    WRONG(pat = 2)
    WRONG(pat = UINT64_C(8) << 56)
    WRONG(mtrr_def_type = 0x1000)
    WRONG(spec_ctrl = UINT64_C(1) << 63)
    WRONG(tsc_aux = UINT64_C(1) << 32)
    WRONG(interrupt_shadow = 2)
    WRONG(event = 0xb0d) /* not valid */
    WRONG(event = 0x80000000 | 1 << 8) /* no such type */
    WRONG(event = 0x80000000 | 1 << 12)
    WRONG(nmi_pending = 2)
    WRONG(nmi_blocked = 2)
    WRONG(apic_base ^= 1 << 8)
    WRONG(apic_irr[0] = 1 << 15)
    WRONG(apic_isr[0] = 1)
    WRONG(apic_tpr = 0x100)
    WRONG(apic_svr = 0x400)
    WRONG(apic_esr = 0x100)
    WRONG(apic_esr_shadow = 0x100)
    WRONG(apic_lvt[0] = 3 << 17)
    WRONG(apic_lvt[5] = 1 << 13)
    WRONG(apic_timer_divide = 4)
    WRONG(apic_lvt[0] = 1 << 17) /* periodic, every 0 counts */
    WRONG(apic_icr = 1 << 20)
    WRONG(xcr0 = 0)
    WRONG(xcr0 = UINT64_C(1) << 9 | 1)
    WRONG(xsave[520] = 1) /* XCOMP_BV */
    WRONG(xsave[575] = 1)
    WRONG(xsave[519] = 0x80) /* XSTATE_BV */
    WRONG(xsave[27] = 1) /* MXCSR */
#undef WRONG
    assert_int_equal(ask_meanwhile(state_request(CONTROL_STATE_SET, NONE, 0, sizeof(vcpu) - 1)), CONTROL_INVALID);
    assert_int_equal(set_state(NONE, 1, &stream.vcpu, sizeof(vcpu)), CONTROL_INVALID);
    for (uint32_t now = VCPU_RUNNABLE; now <= VCPU_WAIT_SIPI; now++) {
        vcpu = stream.vcpu;
        vcpu.registers.state = now;
        assert_int_equal(set_state(NONE, 0, &vcpu, sizeof(vcpu)), CONTROL_OK);
        assert_int_equal(guests[NONE].vcpus[0]->state, now);
    }
    assert_int_equal(ask_meanwhile(about(CONTROL_END, NONE)), CONTROL_OK);
    settle();
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* ---- the control guest's death ---- */

/* Until it runs again; in ms. */
static uint64_t dies(enum guest_end_kind end)
{
    uint64_t ms = 0;
    guest_end(&guests[CTL], end, "test");
    for (; guests[CTL].state != GUEST_RUNNING || guests[CTL].end != GUEST_END_NONE; ms++) {
        assert_true(ms < 10000);
        machine.now_ns += 1000000;
        for (unsigned i = 0; i < 100; i++)
            step();
    }
    return ms;
}

static void it_is_started_again_as_often_as_it_dies_but_once_a_second(void **state)
{
    (void)state;
    launch();
    for (unsigned death = 0; death < 30; death++) {
        assert_in_range(dies(death % 2 == 0 ? GUEST_END_CRASH : GUEST_END_RESET), death == 0 ? 0 : 995, 1010);
        assert_int_equal(guests[CTL].launches, death + 2);
        sequence = 0;
        assert_int_equal(info(SEV).launches, 1);
    }
    machine.now_ns += 5000000000; /* who has run for long is started at once */
    assert_in_range(dies(GUEST_END_CRASH), 0, 10);
    static const enum guest_end_kind kinds[] = {GUEST_END_DESTROYED, GUEST_END_POWEROFF};
    for (unsigned i = 0; i < 2; i++) {
        guest_end(&guests[CTL], kinds[i], "test");
        settle();
        assert_true(guests[CTL].state == GUEST_ENDED && guests[CTL].stays_ended);
        assert_true(lifecycle_relaunch(&guests[CTL]));
        settle();
    }
    finish(GUEST_END_POWEROFF);
    all_is_back();
    assert_true(machine_scrubbed());
}

static void what_it_held_goes_on(void **state)
{
    (void)state;
    for (unsigned stepping = 0; stepping < 2; stepping++) {
        paused_and_open(SEV);
        assert_int_equal(ask_about(CONTROL_PAUSE, NONE), CONTROL_OK);
        if (stepping)
            assert_int_equal(ask((struct control_request){.operation = CONTROL_STEP, .guest = NONE}), CONTROL_OK);
        (void)dies(GUEST_END_CRASH);
        for (unsigned i = 0; i < GOOD_GUESTS; i++) {
            assert_true(guests[i].state == GUEST_RUNNING && !guests[i].paused);
            assert_int_equal(guests[i].vcpus_queued, guests[i].config->vcpus);
            assert_int_equal(guests[i].vcpus[0]->step, STEP_NONE);
        }
        sequence = 0;
        assert_int_equal(info(SEV).state, CONTROL_STATE_RUNNING);
        finish(GUEST_END_POWEROFF);
        all_is_back();
        begin(state);
    }
}

static void a_launch_waits_for_the_next_one(void **state)
{
    (void)state;
    launch_with(MANIFEST_GUEST_SESSION_AT_LAUNCH);
    (void)dies(GUEST_END_CRASH);
    sequence = 0;
    assert_int_equal(state_of(SEV), CONTROL_STATE_SESSION);
    /* It does not wait for what the other would give back, which waits for it. */
    machine.fail_extent = 1;
    guest_end(&guests[CTL], GUEST_END_CRASH, "test");
    for (unsigned i = 0; i < 10000 && guests[SEV].state != GUEST_REFUSED; i++) {
        machine.now_ns += 1000000;
        step();
    }
    assert_true(guests[CTL].state == GUEST_REFUSED && guests[SEV].state == GUEST_REFUSED);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* ---- the SEV firmware ---- */

static void commands_go_to_the_sev_firmware_and_their_answers_come_back(void **state)
{
    (void)state;
    launch();
    assert_int_equal(ask((struct control_request){.operation = CONTROL_FIRMWARE, .command = SEV_CMD_PLATFORM_STATUS}),
                     CONTROL_OK);
    struct sev_platform_status_buffer status;
    memcpy(&status, answer()->buffer, sizeof(status));
    assert_true(answer()->status == 0 && status.api_major == 1 && status.api_minor == 55 && status.guest_count == 1);
    assert_int_equal(
        ask((struct control_request){.operation = CONTROL_FIRMWARE, .command = SEV_CMD_LAUNCH_MEASURE, .guest = SEV}),
        CONTROL_UNKNOWN);
    assert_int_equal(ask((struct control_request){.operation = CONTROL_FIRMWARE, .command = SEV_CMD_SHUTDOWN}),
                     CONTROL_IN_USE);
    assert_int_equal(
        ask((struct control_request){.operation = CONTROL_FIRMWARE, .command = SEV_CMD_DBG_DECRYPT, .guest = SEV}),
        CONTROL_POLICY);
    assert_int_equal(
        ask((struct control_request){.operation = CONTROL_FIRMWARE, .command = SEV_CMD_DBG_DECRYPT, .guest = 99}),
        CONTROL_NO_GUEST);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* ---- whatever a guest asks ---- */

static uint32_t random_word(void)
{
    static const uint32_t edges[] = {0,
                                     1,
                                     2,
                                     3,
                                     0xfff,
                                     CONTROL_DATA - 1,
                                     CONTROL_DATA,
                                     CONTROL_WINDOW_SIZE - 1,
                                     CONTROL_WINDOW_SIZE,
                                     SIZE_2M,
                                     GUEST_MEMORY,
                                     0x7fffffff,
                                     0x80000000,
                                     UINT32_MAX};
    return random() % 2 == 0 ? edges[(unsigned long)random() % (sizeof(edges) / sizeof(*edges))] : (uint32_t)random();
}

static void random_requests_harm_nobody(void **state)
{
    (void)state;
    srandom(20261130);
    launch();
    unsigned answered[CONTROL_LIMIT + 1] = {0};
    for (unsigned i = 0; i < 4000; i++) {
        uint32_t words[sizeof(struct control_request) / 4];
        struct control_request r;
        for (unsigned w = 0; w < sizeof(words) / sizeof(*words); w++)
            words[w] = random_word();
        memcpy(&r, words, sizeof(r));
        if (random() % 8 != 0)
            r.operation = (uint32_t)random() % (CONTROL_FIRMWARE + 1);
        if (random() % 4 != 0)
            r.guest = random() % 2 == 0 ? SEV : NONE;
        if (random() % 4 != 0) {
            r.data = CONTROL_DATA + (uint32_t)random() % CONTROL_DATA_SIZE;
            r.size = (uint32_t)random() % (CONTROL_WINDOW_SIZE - r.data + 1);
        }
        if (r.operation == CONTROL_END && r.guest == CTL)
            r.guest = SEV;
        answered[ask_meanwhile(r)]++; /* a launch may wait for what never comes */
        for (unsigned byte = 0; byte < sizeof(struct control_event);
             byte++) /* what hv wrote there is nothing that it reads */
            *window((uint32_t)random() % CONTROL_WINDOW_SIZE) = (uint8_t)random();
        memcpy(window(CONTROL_ANSWER), &sequence, sizeof(sequence));
        assert_int_equal(guests[CTL].end, GUEST_END_NONE);
    }
    assert_true(answered[CONTROL_OK] > 100 && answered[CONTROL_INVALID] > 100 && answered[CONTROL_STATE] > 100);
    for (uint32_t i = 0; i < GOOD_GUESTS; i++) {
        uint32_t now = state_of(i);
        if (now == CONTROL_STATE_SESSION || now == CONTROL_STATE_RECEIVING)
            assert_int_equal(ask_meanwhile((struct control_request){.operation = CONTROL_END, .guest = i}), CONTROL_OK);
    }
    settle();
    for (unsigned i = 0; i < GOOD_GUESTS; i++)
        if (info(i).state == CONTROL_STATE_PAUSED)
            assert_int_equal(ask_about(CONTROL_RESUME, i), CONTROL_OK);
    finish(GUEST_END_POWEROFF);
    all_is_back();
    assert_true(machine_scrubbed());
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_window_is_zero_at_launch_and_goes_scrubbed),
        TEST(every_failing_allocation_returns_all),
        TEST(nobody_else_has_one),
        TEST(platform_and_guests_are_described),
        TEST(each_field_of_a_request_is_checked),
        TEST(guests_are_paused_resumed_ended_and_launched),
        TEST(a_pause_is_answered_when_no_vcpu_runs),
        TEST(the_control_guests_end_waits_for_its_request),
        TEST(consoles_go_both_ways),
        TEST(events_and_answers_interrupt_the_control_guest),
        TEST(a_guest_that_requires_a_secret_is_held_until_it_has_one),
        TEST(a_launch_waits_for_its_session_which_is_checked),
        TEST(what_may_not_be_debugged_is_refused_and_the_rest_is_read_and_written),
        TEST(only_pages_that_a_guest_with_sev_shares_are_read_and_written),
        TEST(registers_are_set_whole_or_not_at_all),
        TEST(random_registers_are_such_as_vmrun_takes),
        TEST(nothing_of_it_is_for_guests_that_may_not_be_debugged),
        TEST(a_step_runs_one_vcpu_and_its_end_is_told),
        TEST(pages_of_the_launch_program_are_touched_and_what_others_write_is_dirty),
        TEST(large_pages_are_split_where_they_are_tracked_or_nothing_changes),
        TEST(tracked_pages_are_answered_when_no_cpu_writes_unseen),
        TEST(a_guest_with_sev_goes_on_where_it_was_sent_and_not_before_all_of_it_came),
        TEST(a_cancelled_move_leaves_the_source_as_it_was),
        TEST(what_came_of_a_guest_goes_without_having_run),
        TEST(a_session_of_another_place_is_refused_in_words),
        TEST(guests_without_sev_move_where_their_entry_allows_it),
        TEST(hostile_state_is_refused_and_changes_nothing),
        TEST(it_is_started_again_as_often_as_it_dies_but_once_a_second),
        TEST(what_it_held_goes_on),
        TEST(a_launch_waits_for_the_next_one),
        TEST(commands_go_to_the_sev_firmware_and_their_answers_come_back),
        TEST(random_requests_harm_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
