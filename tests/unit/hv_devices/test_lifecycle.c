/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guests from manifest to end, with every allocation failing once. */
#include "with_cmocka.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hv/control/report.h"
#include "hv/control/sev.h"
#include "hv/cpu/smp.h"
#include "hv/control/job.h"
#include "hv/control/lifecycle.h"
#include "three_guests.h"

/* ---- the good case ---- */

static void each_guest_finds_its_bytes_under_its_own_key(void **state)
{
    (void)state;
    launch();
    for (unsigned i = 0; i < GOOD_GUESTS; i++) {
        assert_int_equal(guests[i].state, GUEST_RUNNING);
        assert_int_equal(guests[i].launches, 1);
        for (unsigned b = 0; b < MANIFEST_PAGE; b++) {
            assert_int_equal(machine_private(&guests[i], 0x4000 + b), good.payload[PAGE_TABLES][b]);
            assert_int_equal(machine_private(&guests[i], 0x100000 + b), good.payload[PAGE_IMAGE][b]);
            assert_int_equal(machine_private(&guests[i], 0x101000 + b), good.payload[PAGE_IMAGE + 1][b]);
        }
    }
    for (unsigned b = 0; b < MANIFEST_PAGE; b++) {
        assert_int_equal(machine_private(&guests[SEV], 0x8000 + b), 0);
        assert_int_equal(machine_shared(&guests[SEV], 0x200000 + b), good.payload[PAGE_SHARED][b]);
        assert_int_equal(machine_private(&guests[HOST], GUEST_MEMORY - MANIFEST_PAGE + b), good.payload[PAGE_GAMMA][b]);
        assert_int_equal(machine_private(&guests[NONE], 0x300000 + b), 0);
        assert_int_equal(machine_private(&guests[HOST], 0x300000 + b), 0);
    }
    assert_int_equal(machine_scheduled(), 3);
    assert_int_equal(machine.rejected, 0);
    assert_int_equal(machine.coherency_faults, 0);
    assert_true(lifecycle_active());
    finish(GUEST_END_POWEROFF);
    assert_false(lifecycle_active());
    all_is_back();
    assert_true(machine_scrubbed());
    assert_true(report_summary());
    sev_stop();
    settle();
    assert_int_equal(machine.coherency_faults, 0);
    assert_true(machine_said("sevisor: all guests ended as expected\n"));
    assert_int_equal(machine.rejected, 0);
}

/* What a guest sees of its memory that its program does not write: without the C-bit under SEV. It may then write
 * there under its own key: no line of hv's is in a cache that would come over it. */
static void check_rest(const struct guest *guest)
{
    for (uint64_t page = 0; page < guest->memory.size; page += MANIFEST_PAGE) {
        bool written = false;
        for (uint32_t s = 0; s < guest->config->step_count; s++) {
            const struct manifest_step *step = &good.steps[guest->config->first_step + s];
            written |=
                page >= step->gpa && page < step->gpa + step->size && (guest->sev || step->kind != MANIFEST_STEP_ZERO);
        }
        for (unsigned b = 0; b < MANIFEST_PAGE && !written; b++)
            assert_int_equal(machine_shared(guest, page + b), 0);
        if (!written)
            machine_guest_writes(guest, page, 0x55);
    }
    assert_int_equal(machine.coherency_faults, 0);
}

static void what_no_step_writes_is_zero(void **state)
{
    (void)state;
    launch();
    for (unsigned i = 0; i < GOOD_GUESTS; i++)
        check_rest(&guests[i]);
    finish(GUEST_END_POWEROFF);
    all_is_back();
    for (unsigned i = 0; i < GOOD_GUESTS; i++) {        /* each where another was */
        unsigned next = (i + 1) % GOOD_GUESTS;
        assert_true(lifecycle_relaunch(&guests[next]));
        settle();
        check_rest(&guests[next]);
    }
    finish(GUEST_END_POWEROFF);
    all_is_back();
    assert_true(machine_scrubbed());
}

static void zeros_of_a_launch_program_without_sev_are_written_too(void **state)
{
    (void)state;
    good.steps[8] = (struct manifest_step){
        .kind = MANIFEST_STEP_ZERO,
        .gpa = GUEST_MEMORY - 3 * MANIFEST_PAGE,
        .size = 3 * MANIFEST_PAGE,
    };
    good_seal(&good);
    boot((struct machine_options){0});
    launch();
    assert_int_equal(guests[HOST].state, GUEST_RUNNING);
    check_rest(&guests[HOST]);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void commands_come_in_the_documented_order(void **state)
{
    (void)state;
    launch();
    const char *first = strstr(machine.commands, "LAUNCH_START");
    assert_non_null(first);
    /* Three pieces, as the neighbours 0x100000 and 0x101000 are one step; the shared one is not measured. */
    assert_string_equal(
        first,
        "LAUNCH_START ACTIVATE LAUNCH_UPDATE_DATA LAUNCH_UPDATE_DATA LAUNCH_UPDATE_DATA LAUNCH_MEASURE LAUNCH_FINISH ");
    assert_int_equal(guests[SEV].report.commands, 7);
    assert_int_equal(guests[SEV].report.psp_bytes, 6 * 4096);
    machine.commands[0] = '\0';
    finish(GUEST_END_POWEROFF);
    assert_string_equal(machine.commands, "DEACTIVATE DF_FLUSH DECOMMISSION ");
}

static void the_report_has_what_owners_parse(void **state)
{
    (void)state;
    launch();
    const char *line = strstr(machine.console, "measurement alpha: ");
    char measure[65], nonce[33];
    unsigned policy, major, minor, build;
    assert_non_null(line);
    assert_int_equal(sscanf(line, "measurement alpha: %64[0-9a-f] nonce %32[0-9a-f] policy 0x%x api %u.%u build %u\n",
                            measure, nonce, &policy, &major, &minor, &build),
                     6);
    assert_true(strlen(measure) == 64 && strlen(nonce) == 32);
    assert_true(policy == 0x01010001 && major == 1 && minor == 55 && build == 21);
    assert_true(machine_said("digest alpha: d1d1d1d1d1"));
    assert_true(machine_said("launch report: 9gamma, encryption host, 4 MiB\n"));
    finish(GUEST_END_POWEROFF);
}

/* The part of the console that is one guest's launch report. */
static const char *report_of(const char *name)
{
    static char text[4096];
    char heading[64];
    snprintf(heading, sizeof(heading), "launch report: %s, ", name);
    const char *start = strstr(machine.console, heading);
    assert_non_null(start);
    const char *end = strstr(start + 1, "launch report: ");
    const char *log = strstr(start, "\n[");       /* others' launches go on */
    if (log != NULL && (end == NULL || log < end))
        end = log + 1;
    size_t length = end != NULL ? (size_t)(end - start) : strlen(start);
    assert_true(length < sizeof(text));
    memcpy(text, start, length);
    text[length] = '\0';
    return text;
}

static void a_report_has_the_phases_that_the_guest_went_through(void **state)
{
    (void)state;
    static const char *const phases[] = {
        "allocate memory, tables, vCPU",
        "place bytes",
        "LAUNCH_START, ACTIVATE",
        "LAUNCH_UPDATE_DATA",
        "LAUNCH_MEASURE",
        "LAUNCH_FINISH, shared pages",
    };
    launch();
    for (unsigned i = 0; i < GOOD_GUESTS; i++) {
        const char *text = report_of(good.guests[i].name), *at = strchr(text, '\n');
        uint64_t sum = 0, sum_us = 0;
        unsigned phase = 0;
        at = strchr(at + 1, '\n') + 1;          /* the heading of the columns */
        for (; strncmp(at, "  all ", 6) != 0; at = strchr(at, '\n') + 1, phase++) {
            unsigned long cycles, us;
            assert_true(phase < (i == SEV ? 6 : 2));
            assert_memory_equal(at + 2, phases[phase], strlen(phases[phase]));
            assert_int_equal(sscanf(at + 2 + strlen(phases[phase]), "%lu %lu", &cycles, &us), 2);
            assert_int_equal(cycles, guests[i].report.tsc[phase]);
            assert_int_equal(us, cycles / 2000);
            assert_true(phase < LAUNCH_START_CMD || cycles > 0);
            sum += cycles;
        }
        assert_int_equal(phase, i == SEV ? 6 : 2);
        assert_int_equal(sscanf(at, "  all %lu %lu", &sum, &sum_us), 2);
        uint64_t all = 0;
        for (phase = 0; phase < LAUNCH_PHASES; phase++)
            all += guests[i].report.tsc[phase];
        assert_true(sum == all && sum_us == all / 2000);
        char line[200];
        snprintf(line, sizeof(line), "\n  mailbox commands 7, bytes through the secure processor %u\n", 6 * 4096);
        assert_true((strstr(text, line) != NULL) == (i == SEV));
        assert_true((strstr(text, "\nmeasurement ") != NULL) == (i == SEV));
        assert_true((strstr(text, "\ndigest ") != NULL) == (i == SEV));
        assert_true((strstr(text, "secure processor") != NULL) == (i == SEV));
        unsigned long tables, pages, used, total;
        const char *last = strstr(text, "  host pages of 4 KiB: ");
        assert_non_null(last);
        assert_int_equal(
            sscanf(
                last,
                "  host pages of 4 KiB: nested tables %lu, other for this guest %lu; hypervisor in total %lu of %lu\n",
                &tables, &pages, &used, &total),
            4);
        assert_true(tables == 3 && pages == guests[i].report.hv_pages && pages > 0);
        assert_true(used > tables + pages && used < total && total == MACHINE_POOL_PAGES);
    }
    finish(GUEST_END_POWEROFF);
}

static void lists_and_the_summary_add_up_all_launches(void **state)
{
    (void)state;
    launch();
    machine.now_ns += UINT64_C(3000000000);
    report_guests();
    char line[160];
    snprintf(line, sizeof(line), "  2 %-31s running   none       4 %5u %9lu\n", good.guests[NONE].name,
             guests[NONE].asid, 0ul);
    assert_true(machine_said(line));
    snprintf(line, sizeof(line), "  1 %-31s running   sev        4 %5u ", good.guests[SEV].name, guests[SEV].asid);
    assert_true(machine_said(line));
    machine.console_length = 0;
    finish(GUEST_END_RESET);
    machine.now_ns += UINT64_C(5000000000);     /* one is dead, and grows no older; another was launched again */
    report_summary();
    snprintf(line, sizeof(line), "ended %s: reset: test\n", good.guests[SEV].name);
    assert_true(machine_said(line));
    snprintf(line, sizeof(line), "\n  %-31s reset             1       3000          0            7  test\n",
             good.guests[SEV].name);
    assert_true(machine_said(line));
    snprintf(line, sizeof(line), "\n  %-31s running           2       8000          0           14  \n",
             good.guests[NONE].name);
    assert_true(machine_said(line));
    assert_true(machine_said("sevisor: not all guests ended as expected\n"));
    machine.console_length = 0;
    report_guests();
    snprintf(line, sizeof(line), "  1 %-31s reset     sev        4     0 ", good.guests[SEV].name);
    assert_true(machine_said(line));
    finish(GUEST_END_POWEROFF);
}

static void without_an_encrypted_guest_the_processor_is_left_alone(void **state)
{
    (void)state;
    good.guests[SEV].encryption = MANIFEST_ENCRYPTION_NONE;
    good.guests[SEV].sev_policy = 0;
    good.guests[SEV].cbitpos = good.guests[SEV].reduced_phys_bits = 0;
    memset(good.guests[SEV].launch_digest, 0, 32);
    good_seal(&good);
    machine_manifest(&good, sizeof(good));
    launch();
    assert_int_equal(guests[SEV].state, GUEST_RUNNING);
    assert_string_equal(machine.commands, "");
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* ---- restarts ---- */

static void ten_launches_with_one_usable_asid(void **state)
{
    (void)state;
    good.guests[SEV].on_reboot = MANIFEST_ACTION_RESTART;
    good.guests[SEV].restarts = 9;
    good_seal(&good);
    boot((struct machine_options){.sev_asids = 1});
    launch();
    struct free_now running = free_now();
    for (unsigned i = 1; i <= 10; i++) {
        assert_int_equal(guests[SEV].state, GUEST_RUNNING);
        assert_int_equal(guests[SEV].launches, i);
        machine_guest_writes(&guests[SEV], 0x9000, (uint8_t)i);
        guest_end(&guests[SEV], GUEST_END_RESET, "reset %u", i);
        settle();
        struct free_now now = free_now();
        if (i < 10)
            assert_memory_equal(&now, &running, sizeof(now));
    }
    assert_int_equal(guests[SEV].state, GUEST_ENDED);
    assert_string_equal(guests[SEV].end_reason, "reset 10");
    assert_int_equal(guests[SEV].past.exits[3], 70);
    assert_int_equal(guests[SEV].past.run_tsc, 10000);
    finish(GUEST_END_POWEROFF);
    all_is_back();
    assert_int_equal(machine.rejected, 0);
    assert_true(report_summary());
}

static void the_operator_and_a_destroy_policy_end_for_good(void **state)
{
    (void)state;
    good.guests[NONE].on_crash = MANIFEST_ACTION_RESTART;
    good_seal(&good);
    machine_manifest(&good, sizeof(good));
    launch();
    guest_end(&guests[NONE], GUEST_END_CRASH, "triple fault");
    guest_end(&guests[NONE], GUEST_END_POWEROFF, "too late");
    assert_true(guest_is_ending(&guests[NONE]));
    assert_string_equal(guests[NONE].end_reason, "triple fault");
    settle();
    assert_int_equal(guests[NONE].launches, 2);
    guest_end(&guests[NONE], GUEST_END_POWEROFF, "off");    /* on_poweroff: destroy */
    settle();
    assert_int_equal(guests[NONE].state, GUEST_ENDED);
    guest_end(&guests[HOST], GUEST_END_DESTROYED, "by the operator");
    settle();
    settle();      /* again: nothing */
    finish(GUEST_END_POWEROFF);
    all_is_back();
    assert_false(report_summary());
    assert_true(machine_said("sevisor: not all guests ended as expected\n"));
}

static void counters_never_go_back_over_an_end(void **state)
{
    (void)state;
    struct guest_counters before, after;
    good.guests[SEV].on_reboot = MANIFEST_ACTION_RESTART;
    good.guests[SEV].restarts = 1;
    good_seal(&good);
    machine_manifest(&good, sizeof(good));
    launch();
    guest_read_counters(&guests[SEV], &before);
    assert_int_equal(before.exits[3], 7);
    for (uint64_t launches = 1; launches <= 2; launches++) {
        guest_end(&guests[SEV], GUEST_END_RESET, "reset");
        settle();
        guest_read_counters(&guests[SEV], &after);
        assert_int_equal(after.exits[3], 14);       /* the launch that is over, and the present or the last one */
        assert_int_equal(after.run_tsc, 2000);
    }
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* ---- the operator ---- */

/* Every key, after every step of a job. */
static void keys_between_the_steps_of_launches_and_ends(void **state)
{
    (void)state;
    machine.keys = "\035?\035l\035t\035T\035i\035+\035-\035c\035nx\035]\035kn"
                   "\0351x\0350\035s1\035s2\035k1n\035k2n\035k3n\035q";
    launch();
    for (unsigned i = 0; i < GOOD_GUESTS; i++) {
        assert_int_equal(guests[i].state, GUEST_RUNNING);
        assert_int_equal(guests[i].launches, 1);
        assert_false(guest_is_ending(&guests[i]));
    }
    machine.keys = "\035?\035l\035t\035i\0351x\0350\035s1\035k1y\035k2y\035k3y\035q";
    settle();
    step();
    settle();
    for (unsigned i = 0; i < GOOD_GUESTS; i++) {
        assert_int_equal(guests[i].state, GUEST_ENDED);
        assert_int_equal(guests[i].end, GUEST_END_DESTROYED);
    }
    all_is_back();
    assert_true(machine_scrubbed());
    assert_true(machine.polls > 30);
    machine.keys = NULL;
    sev_stop();
    settle();
    assert_int_equal(machine.rejected, 0);
    assert_int_equal(machine.coherency_faults, 0);
}

/* After each number of steps that all launches take: what the firmware was told is told to it again, the other way. */
static void who_is_being_launched_can_be_ended_at_any_step(void **state)
{
    (void)state;
    unsigned ended_in_launch = 0;
    for (unsigned victim = 0; victim < GOOD_GUESTS; victim++) {
        for (unsigned n = 0;; n++) {
            boot((struct machine_options){0});
            platform_pages();
            struct free_now before = free_now();
            lifecycle_begin(&machine.handoff);
            for (unsigned i = 0; i < n; i++)
                step();
            bool over = guests[victim].state == GUEST_RUNNING;
            ended_in_launch += !over;
            assert_true(guest_end(&guests[victim], GUEST_END_DESTROYED, "by the operator"));
            assert_false(guest_end(&guests[victim], GUEST_END_DESTROYED, "twice"));
            settle();
            assert_int_equal(guests[victim].state, GUEST_ENDED);
            assert_int_equal(guests[victim].end, GUEST_END_DESTROYED);
            assert_int_equal(guests[victim].launches, over);
            for (unsigned i = 0; i < GOOD_GUESTS; i++)
                assert_true(i == victim || guests[i].state == GUEST_RUNNING);
            assert_int_equal(machine.contexts, victim != SEV);
            finish(GUEST_END_POWEROFF);
            finish(GUEST_END_POWEROFF);         /* who was launched again */
            all_is_back();
            assert_true(machine_scrubbed());
            assert_int_equal(machine.rejected, 0);
            struct free_now after = free_now();
            assert_true(after.asids == before.asids && after.extent == before.extent &&
                        after.pool == before.pool - POOL_KEPT);
            if (over)
                break;
        }
    }
    assert_true(ended_in_launch > 40);
}

/* ---- several jobs ---- */

/* Two encrypted guests and a plain one. */
static void two_encrypted_guests(struct machine_options options)
{
    good.guests[HOST] = good.guests[SEV];
    strcpy(good.guests[HOST].name, "delta");
    good.guests[HOST].first_step = 6;
    good.guests[HOST].step_count = 3;
    good_seal(&good);
    boot(options);
}

static void one_is_copied_while_the_secure_processor_works_for_another(void **state)
{
    (void)state;
    two_encrypted_guests((struct machine_options){0});
    lifecycle_begin(&machine.handoff);
    uint64_t meanwhile = 0, zeroed = 0;
    unsigned changes = 0;
    const struct job *last = NULL;
    for (enum job_verdict verdict = JOB_MOVED; verdict != JOB_IDLE;) {
        const struct job *owner = sev_mailbox_owner();
        zeroed = machine.zeroed;
        verdict = step();
        if (owner != NULL && owner == sev_mailbox_owner())
            meanwhile += machine.zeroed - zeroed;
        changes += owner != NULL && owner != last;
        last = owner != NULL ? owner : last;
    }
    assert_true(meanwhile >= GUEST_MEMORY);         /* also during the bring-up */
    assert_true(changes >= 3);                      /* the platform's, the one's, the other's, in turn */
    for (unsigned i = 0; i < GOOD_GUESTS; i++)
        assert_int_equal(guests[i].state, GUEST_RUNNING);
    assert_int_equal(machine.rejected, 0);
    finish(GUEST_END_POWEROFF);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* SEV API, DF_FLUSH: since the WBINVDs no other guest may have been deactivated, or the firmware wants them once more. */
static void guests_that_end_at_once_do_not_disturb_each_others_flush(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 12 * 8; i++) {
        unsigned head_start = i / 8;
        setup(NULL);
        two_encrypted_guests((struct machine_options){0});
        launch();
        machine.late_looks = 1 + i % 8;
        guest_end(&guests[SEV], GUEST_END_DESTROYED, "by the operator");
        for (unsigned steps = 0; steps < head_start; steps++)
            step();
        guest_end(&guests[HOST], GUEST_END_DESTROYED, "by the operator");
        settle();
        assert_int_equal(guests[SEV].state, GUEST_ENDED);
        assert_int_equal(guests[HOST].state, GUEST_ENDED);
        assert_int_equal(machine.rejected, 0);
        assert_int_equal(machine.contexts, 0);
        finish(GUEST_END_DESTROYED);
        all_is_back();
    }
}

static uint64_t steps_until_ended(struct guest *guest)
{
    unsigned steps = 0;
    guest_end(guest, GUEST_END_DESTROYED, "by the operator");
    for (; guest->state != GUEST_ENDED; steps++) {
        assert_true(steps < 100);
        step();
    }
    return steps;
}

/* A command that hangs until its deadline costs nobody else a step: a guest ends, and is launched again, in as many steps as
 * without it, long before the deadline. */
static void a_command_that_hangs_delays_no_other_guests_end_or_launch(void **state)
{
    (void)state;
    static const uint8_t commands[] = {SEV_CMD_INIT, SEV_CMD_LAUNCH_START, SEV_CMD_LAUNCH_UPDATE_DATA,
                                       SEV_CMD_LAUNCH_FINISH};
    launch();
    uint64_t alone = steps_until_ended(&guests[NONE]);
    finish(GUEST_END_POWEROFF);
    for (unsigned c = 0; c < sizeof(commands); c++) {
        boot((struct machine_options){0});
        struct mailbox_fault hang = {.kind = MAILBOX_FAULT_HANG, .command = commands[c]};
        mailbox_set_fault(machine.mailbox, &hang);
        lifecycle_begin(&machine.handoff);
        struct psp *psp = sev_psp();
        uint64_t sent_ns = 0;
        while (guests[NONE].state != GUEST_RUNNING || sev_mailbox_owner() == NULL ||
               machine.now_ns - sent_ns < 2000000000) {
            uint64_t before = psp->commands;
            step();
            sent_ns = psp->commands != before ? machine.now_ns : sent_ns;
            assert_false(psp->dead);
        }
        assert_int_equal(guests[SEV].state, GUEST_LAUNCHING);
        uint64_t before_ns = machine.now_ns;
        assert_in_range(steps_until_ended(&guests[NONE]), 1, alone);
        assert_true(lifecycle_relaunch(&guests[NONE]));
        for (unsigned steps = 0; guests[NONE].state != GUEST_RUNNING; steps++) {
            assert_true(steps < 20);
            step();
        }
        assert_true(machine.now_ns - before_ns < UINT64_C(1000000)); /* of the deadline's 30 s and more */
        assert_false(psp->dead);
        assert_int_equal(guests[SEV].state, GUEST_LAUNCHING);
        assert_false(machine_said("LEAK"));
        settle();
        assert_true(psp->dead);
        assert_int_equal(guests[SEV].state, GUEST_REFUSED);
        finish(GUEST_END_POWEROFF);
        all_is_back();
    }
}

/* What others still hold may come back: who lacks it waits until they run, or are gone. */
static void a_launch_is_not_refused_while_an_end_gives_back_what_it_needs(void **state)
{
    (void)state;
    two_encrypted_guests((struct machine_options){.sev_asids = 1});
    launch();
    assert_int_equal(guests[SEV].state, GUEST_RUNNING);
    assert_string_equal(guests[HOST].end_reason, "no ASID is free for another encrypted guest");
    assert_int_equal(guests[HOST].state, GUEST_REFUSED);
    guest_end(&guests[SEV], GUEST_END_DESTROYED, "by the operator");
    assert_true(lifecycle_relaunch(&guests[HOST])); /* before the end has begun */
    settle();
    assert_int_equal(guests[SEV].state, GUEST_ENDED);
    assert_int_equal(guests[HOST].state, GUEST_RUNNING);
    finish(GUEST_END_POWEROFF);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* ---- refusals ---- */

static void no_sev_refuses_the_encrypted_guest_only(void **state)
{
    (void)state;
    boot((struct machine_options){.no_sev = true, .no_device = true});
    launch();
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    assert_string_equal(guests[SEV].end_reason, "this CPU has no SEV");
    assert_int_equal(guests[NONE].state, GUEST_RUNNING);
    assert_int_equal(guests[HOST].state, GUEST_RUNNING);
    finish(GUEST_END_POWEROFF);
    all_is_back();
    assert_false(report_summary());
}

static void no_device_is_said_in_words(void **state)
{
    (void)state;
    boot((struct machine_options){.no_device = true});
    launch();
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    assert_non_null(strstr(guests[SEV].end_reason, "no AMD Secure Processor with SEV"));
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void without_sme_host_encryption_is_refused_never_plain(void **state)
{
    (void)state;
    boot((struct machine_options){.no_sme = true, .no_sev = true, .no_device = true});
    launch();
    assert_int_equal(guests[HOST].state, GUEST_REFUSED);
    assert_non_null(strstr(guests[HOST].end_reason, "SME"));
    assert_int_equal(guests[NONE].state, GUEST_RUNNING);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void another_c_bit_than_the_cpus_is_refused(void **state)
{
    (void)state;
    good.guests[SEV].cbitpos = 47;
    good_seal(&good);
    machine_manifest(&good, sizeof(good));
    launch();
    assert_int_equal(guests[SEV].state, GUEST_REFUSED);
    assert_non_null(strstr(guests[SEV].end_reason, "set cbitpos = 51"));
    assert_null(strstr(machine.commands, "LAUNCH_START"));
    finish(GUEST_END_POWEROFF);
    good.guests[SEV].cbitpos = 51;
    good_seal(&good);
    boot((struct machine_options){.address_bits = 53});
    launch();
    assert_int_equal(guests[SEV].state, GUEST_RUNNING); /* nested tables have 48 bits: all below the C-bit */
    finish(GUEST_END_POWEROFF);
    uint8_t reduced = good.guests[SEV].reduced_phys_bits;
    good.guests[SEV].reduced_phys_bits = 30; /* of those 18 are left */
    good_seal(&good);
    boot((struct machine_options){.address_bits = 53});
    machine_manifest(&good, sizeof(good));
    launch();
    good.guests[SEV].reduced_phys_bits = reduced;
    good_seal(&good);
    assert_non_null(strstr(guests[SEV].end_reason, "set reduced-phys-bits = 1"));
    finish(GUEST_END_POWEROFF);
}

static void many_vcpus_are_scheduled_and_too_much_memory_is_refused(void **state)
{
    (void)state;
    good.guests[HOST].vcpus = 5;
    good.guests[NONE].memory = UINT64_C(1) << 30;
    good_seal(&good);
    machine_manifest(&good, sizeof(good));
    launch();
    assert_int_equal(guests[HOST].state, GUEST_RUNNING);
    assert_int_equal(guests[HOST].vcpus_queued, 5);
    assert_int_equal(machine_scheduled(), 6);
    assert_non_null(strstr(guests[NONE].end_reason, "needs 1024 MiB of contiguous memory"));
    assert_int_equal(guests[SEV].state, GUEST_RUNNING);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

static void a_manifest_that_boot_found_changed_launches_nothing(void **state)
{
    (void)state;
    machine.handoff.manifest_table = 0;
    launch();
    assert_true(machine_said("the manifest changed while it was read: "));
    assert_false(lifecycle_active());
    assert_false(report_summary());
    assert_null(guests[0].config);
}

/* Only the table's copy is used. */
static void what_changes_in_the_manifest_later_is_not_looked_at(void **state)
{
    (void)state;
    launch();
    struct good changed = good;
    changed.header.guest_count--;
    changed.guests[SEV].sev_policy ^= 8;
    machine_change_manifest(&changed, sizeof(changed));
    assert_int_equal(guests[SEV].config->sev_policy, 0x01010001);
    assert_int_equal(guest_count(), GOOD_GUESTS);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* The n-th call of each kind fails, for all n: a guest is refused, nothing stays behind. What guests printed is kept
 * where there is room: without it they run all the same. */
static void every_failing_allocation_returns_all(void **state)
{
    (void)state;
    unsigned retried = 0;
    for (unsigned kind = 0; kind < 7; kind++) {
        for (unsigned n = 1;; n++) {
            boot((struct machine_options){0});
            platform_pages();
            struct free_now before = free_now();
            unsigned *const countdowns[] = {&machine.fail_pool,    &machine.fail_extent, &machine.fail_npt_create,
                                            &machine.fail_npt_map, &machine.fail_vcpu,   &machine.fail_window,
                                            &machine.fail_zero};
            *countdowns[kind] = n;
            launch();
            if (*countdowns[kind] != 0) {
                finish(GUEST_END_POWEROFF);
                break; /* there is no n-th call */
            }
            if (guests[0].config != NULL) { /* the manifest could be read */
                unsigned refused = 0, forgetful = 0;
                uint64_t kept = 0;
                for (unsigned i = 0; i < GOOD_GUESTS; i++)
                    refused += guests[i].state == GUEST_REFUSED && guests[i].end_reason[0] != '\0';
                for (unsigned i = 0; i < GOOD_GUESTS; i++) {
                    forgetful += (guests[i].output.history.bytes == NULL) + (guests[i].uart.input == NULL);
                    kept += (guests[i].output.history.bytes != NULL ? HISTORY_SIZE / PAGE_SIZE : 0) +
                            (guests[i].uart.input != NULL ? VUART_INPUT / PAGE_SIZE : 0);
                }
                /* What could not be had while others held some of it is asked for once more. */
                bool again = kind < 5 && refused + forgetful == 0;
                for (unsigned i = 0; i < GOOD_GUESTS && again; i++)
                    assert_int_equal(guests[i].state, GUEST_RUNNING);
                assert_true(again || refused + forgetful == 1);
                retried += again;
                finish(GUEST_END_POWEROFF);
                all_is_back();
                assert_true(machine_scrubbed());
                struct free_now after = free_now();
                assert_true(after.asids == before.asids && after.extent == before.extent);
                assert_int_equal(after.pool, before.pool - kept);
            }
        }
    }
    assert_true(retried > 0);
}

/* ---- shared windows ---- */

static void a_guest_is_torn_down_no_earlier_than_its_vcpus_have_stopped(void **state)
{
    (void)state;
    launch();
    machine.cpu_busy = true;
    guest_end(&guests[NONE], GUEST_END_DESTROYED, "by the operator");
    settle();
    assert_int_equal(guests[NONE].state, GUEST_RUNNING);
    assert_non_null(guests[NONE].vcpus[0]);
    machine.cpu_busy = false;
    smp_kick(guests[NONE].vcpus[0]->cpu);
    settle();
    assert_int_equal(guests[NONE].state, GUEST_ENDED);
    assert_null(guests[NONE].vcpus[0]);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

/* A guest that a memory error hit may be launched again, and its memory be another's then. */
static void memory_with_an_error_is_nobodys_again(void **state)
{
    (void)state;
    static const uint64_t at[] = {0, SIZE_2M - 1, SIZE_2M, GUEST_MEMORY - 1};
    for (unsigned i = 0; i < 4; i++) {
        boot((struct machine_options){0});
        struct free_now before = free_now();
        launch();
        struct guest *hit = &guests[i % GOOD_GUESTS];
        uint64_t bad = hit->memory.base.raw + at[i];
        char line[120];
        hit->memory_damaged = true;
        hit->damaged_at = at[i];
        finish(GUEST_END_CRASH);
        for (unsigned g = 0; g < GOOD_GUESTS; g++) /* those that were launched again */
            assert_true(guests[g].memory.size == 0 || bad < guests[g].memory.base.raw ||
                        bad >= guests[g].memory.base.raw + guests[g].memory.size);
        finish(GUEST_END_POWEROFF);
        all_is_back();
        snprintf(line, sizeof(line),
                 "error: %s: 2 MiB around 0x%lx stay in quarantine until the next boot: a memory error",
                 hit->config->name, bad);
        assert_true(machine_said(line));
        assert_true(machine_said("all returned but a quarantine of 0 ASIDs, 2 MiB\n"));
        assert_int_equal(free_now().extent, before.extent - SIZE_2M);
        assert_false(hit->memory_damaged);
    }
}

static void windows_onto_guest_memory_stay_inside(void **state)
{
    (void)state;
    launch();
    struct guest *g = &guests[NONE];
    uint64_t size = g->memory.size;
    static const uint64_t sizes[] = {1, 12, 32, 4096};
    for (unsigned i = 0; i < 4; i++) {
        uint64_t s = sizes[i];
        assert_null(guest_map_shared(g, gpaddr(size), s));
        assert_null(guest_map_shared(g, gpaddr(size - s + 1), s));
        assert_null(guest_map_shared(g, gpaddr(UINT64_MAX), s));
        assert_null(guest_map_shared(g, gpaddr(UINT64_MAX - s + 1), s));
        assert_null(guest_map_shared(g, gpaddr(UINT64_C(1) << 51), s));
        void *w = guest_map_shared(g, gpaddr(size - s), s);
        assert_non_null(w);
        guest_unmap_shared();
        w = guest_map_shared(g, gpaddr(0x1ffe), s); /* across pages, but for one byte */
        assert_true((w != NULL) == (s == 1));
        if (w != NULL)
            guest_unmap_shared();
    }
    assert_null(guest_map_shared(g, gpaddr(0), UINT64_MAX));
    assert_null(guest_map_shared(g, gpaddr(0), 0));
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(each_guest_finds_its_bytes_under_its_own_key),
        T(what_no_step_writes_is_zero),
        T(zeros_of_a_launch_program_without_sev_are_written_too),
        T(commands_come_in_the_documented_order),
        T(the_report_has_what_owners_parse),
        T(a_report_has_the_phases_that_the_guest_went_through),
        T(lists_and_the_summary_add_up_all_launches),
        T(without_an_encrypted_guest_the_processor_is_left_alone),
        T(ten_launches_with_one_usable_asid),
        T(the_operator_and_a_destroy_policy_end_for_good),
        T(counters_never_go_back_over_an_end),
        T(keys_between_the_steps_of_launches_and_ends),
        T(who_is_being_launched_can_be_ended_at_any_step),
        T(one_is_copied_while_the_secure_processor_works_for_another),
        T(guests_that_end_at_once_do_not_disturb_each_others_flush),
        T(a_command_that_hangs_delays_no_other_guests_end_or_launch),
        T(a_launch_is_not_refused_while_an_end_gives_back_what_it_needs),
        T(no_sev_refuses_the_encrypted_guest_only),
        T(no_device_is_said_in_words),
        T(without_sme_host_encryption_is_refused_never_plain),
        T(another_c_bit_than_the_cpus_is_refused),
        T(many_vcpus_are_scheduled_and_too_much_memory_is_refused),
        T(a_manifest_that_boot_found_changed_launches_nothing),
        T(what_changes_in_the_manifest_later_is_not_looked_at),
        T(every_failing_allocation_returns_all),
        T(memory_with_an_error_is_nobodys_again),
        T(windows_onto_guest_memory_stay_inside),
        T(a_guest_is_torn_down_no_earlier_than_its_vcpus_have_stopped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
