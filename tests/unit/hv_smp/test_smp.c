/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The files themselves, so that each test finds their variables as at the start. */
#include "../hv_core/test.h"

#include "hv/control/wbinvd.c"
#include "hv/cpu/smp.c"
#include "hv/init/shutdown.c"
#include "hv/init/smp.c"
#include "hv/cpu/lapic.c"
#include "../boards/boards.h"
#include "machine.h"

static struct handoff handoff;

/* As init/trap.c and init/uefi.c do it. */
static void wait_elsewhere(void)
{
    shutdown_wait();
    machine_take_over();
}

static void on_nmi(void)
{
    if (shutdown_is_elsewhere())
        wait_elsewhere();
}

static bool end_begins(void)
{
    if (shutdown_begin())
        return true;
    wait_elsewhere();
    return false;
}

static int set_up(void **state)
{
    (void)state;
    memset(cpus, 0, sizeof(cpus));
    memset(flushing, 0, sizeof(flushing));
    memset(&handshake, 0, sizeof(handshake));
    cpus_end = 1;
    wbinvd_tickets = 0;
    lapic_hz = 0;
    ender = halted = watcher = 0;
    machine_begin();
    memset(&handoff, 0, sizeof(handoff));
    handoff.startup_base = 0x8000;
    handoff.cpu_count = MACHINE_CPUS;
    for (uint32_t i = 0; i < MACHINE_CPUS; i++)
        handoff.apic_ids[i] = 2 * i;
    lapic_init();
    machine_log[0] = '\0';
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    for (uint32_t i = 1; i < MACHINE_CPUS; i++)
        machine[i].alive = false;
    return 0;
}

static void assert_runs(unsigned mask)
{
    machine_others();
    for (uint32_t i = 0; i < MACHINE_CPUS; i++) {
        assert_int_equal(smp_cpu(i) != NULL, mask >> i & 1);
        if (i > 0)
            assert_int_equal(machine[i].serves, mask >> i & 1);
    }
}

/* ---- start ---- */

static void all_cpus_of_the_hand_over_start(void **state)
{
    (void)state;
    smp_start(&handoff);
    assert_runs(0xf);
    assert_int_equal(smp_cpus(), MACHINE_CPUS);
    assert_string_equal(machine_log, "4 of 4 CPUs run\n");
    for (uint32_t i = 1; i < MACHINE_CPUS; i++)
        assert_int_equal(machine[i].inits, 1);
    assert_null(smp_cpu(MAX_CPUS));
}

/* A server has 512: at 10 ms each they would take 5 s. */
static void no_cpu_waits_ten_milliseconds_for_its_start(void **state)
{
    (void)state;
    uint64_t before = machine_now;
    smp_start(&handoff);
    assert_runs(0xf);
    assert_in_range(machine_now - before, 0, (MACHINE_CPUS - 1) * MACHINE_US(2000));
}

static void one_that_does_not_start_is_left_out_and_one_startup_may_be_missed(void **state)
{
    (void)state;
    machine[1].deaf_startups = 1;
    machine[2].deaf_startups = 2;
    smp_start(&handoff);
    assert_runs(0xb);
    assert_int_equal(smp_cpus(), MACHINE_CPUS);
    assert_int_equal(machine[2].inits, 2);          /* should it come late, it is not to run into another's start */
    assert_non_null(strstr(machine_log, "CPU 2 (APIC 4) is left out: it does not start\n"));
    assert_non_null(strstr(machine_log, "3 of 4 CPUs run\n"));
    uint64_t ticket = smp_wbinvd_begin((const uint64_t[MAX_CPUS / 64]){0xf});
    machine_others();
    assert_true(smp_wbinvd_done((const uint64_t[MAX_CPUS / 64]){0xf}, ticket));     /* nobody waits for it */
}

/* In xAPIC mode 255 would be INIT for all CPUs, the boot CPU included, and 256 for CPU 0. */
static void one_whose_id_no_interrupt_reaches_is_told_and_left_alone(void **state)
{
    static const struct {
        bool x2apic;
        uint32_t id;
        bool reached;
    } cases[] = {
        {true, 254, true},         {true, 255, true},          {true, 256, true},   {true, UINT32_MAX - 1, true},
        {true, UINT32_MAX, false}, {false, 254, true},         {false, 255, false}, {false, 256, false},
        {false, 258, false},       {false, UINT32_MAX, false},
    };
    volatile uint32_t registers[1024];
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        lapic_registers = cases[i].x2apic ? NULL : registers;
        assert_int_equal(lapic_reaches(cases[i].id), cases[i].reached);
    }
    lapic_registers = NULL;
    handoff.apic_ids[2] = UINT32_MAX;
    smp_start(&handoff);
    assert_runs(0xb);
    assert_int_equal(machine[2].inits + machine[2].startups, 0);
    assert_non_null(
        strstr(machine_log, "CPU 2 (APIC 4294967295) is left out: that id cannot be sent an interrupt of its own"));
    assert_non_null(strstr(machine_log, "3 of 4 CPUs run\n"));
    (void)state;
}

static void every_cpu_of_a_real_board_is_reached_in_the_mode_that_its_processor_offers(void **state)
{
    static volatile uint32_t registers[1024];
    uint32_t seen = 0;
    (void)state;
    for (uint32_t b = 0; b < board_count; b++) {
        const struct board_leaf *l = board_leaf(&boards[b], 1, 0);
        lapic_registers = l != NULL && (l->ecx >> 21 & 1) != 0 ? NULL : registers;
        for (uint32_t i = 0; i < boards[b].cpus; i++, seen++)
            assert_true(lapic_reaches(boards[b].apic_ids[i]));
    }
    lapic_registers = NULL;
    assert_true(seen > 2000);
}

static void one_that_is_not_like_the_boot_cpu_is_left_out(void **state)
{
    (void)state;
    machine[1].other_features = true;
    machine[2].tsc_skew = (int64_t)MACHINE_US(3000);
    machine[3].apic_id = 7;
    smp_start(&handoff);
    assert_runs(0x1);
    assert_non_null(strstr(machine_log, "CPU 1 (APIC 2) is left out: its features are not those of the boot CPU"));
    assert_non_null(strstr(machine_log, "CPU 2 (APIC 4) is left out: its TSC is not that of the boot CPU"));
    assert_non_null(strstr(machine_log, "CPU 3 (APIC 6) is left out: another APIC id answered"));
}

static void a_tsc_that_is_behind_is_another_too(void **state)
{
    (void)state;
    machine[1].tsc_skew = -(int64_t)MACHINE_US(1000);
    smp_start(&handoff);
    assert_runs(0xd);
}

/* An SMI, a debugger, a host that stops its emulator: at any moment of the start. */
static void a_stall_leaves_no_cpu_out(void **state)
{
    uint64_t whole = MACHINE_US(INIT_US * (MACHINE_CPUS - 1)) + MACHINE_US(1000);
    for (uint64_t at = 0; at < whole; at += whole / 31) {
        set_up(state);
        machine_stall_at = machine_now + at;
        machine_stall = MACHINE_US(15000000);
        smp_start(&handoff);
        assert_runs(0xf);
        tear_down(state);
    }
}

static void nor_one_in_the_middle_of_the_comparison(void **state)
{
    for (uint64_t look = 0; look < 40; look++) {
        set_up(state);
        handoff.cpu_count = 2;
        machine_stall_at = machine_now + MACHINE_US(INIT_US) + look * MACHINE_TICK;
        machine_stall = MACHINE_US(15000000);
        smp_start(&handoff);
        assert_runs(0x3);
        tear_down(state);
    }
}

/* ---- kicks ---- */

static void a_cpu_is_interrupted_once_until_it_looks(void **state)
{
    (void)state;
    smp_start(&handoff);
    machine_others();
    struct cpu *cpu = smp_cpu(2);
    uint64_t before = machine_now;
    smp_kick(cpu);
    smp_kick(cpu);
    machine_others();
    assert_true(cpu->timer_fired);
    assert_int_equal(machine[2].kicks, 1);
    assert_true(cpu->interrupted_tsc > before);
    smp_acknowledge_kick(cpu);
    smp_kick(cpu);
    machine_others();
    assert_int_equal(machine[2].kicks, 2);
    smp_kick(smp_cpu(0));                           /* itself: no interrupt, but a look */
    machine_others();
    assert_true(smp_cpu(0)->timer_fired);
    assert_int_equal(machine[0].kicks + machine[1].kicks + machine[3].kicks, 0);
}

/* ---- WBINVD ---- */

static const uint64_t one_and_two[MAX_CPUS / 64] = {6}, all_four[MAX_CPUS / 64] = {0xf};

static void wbinvd_is_done_by_those_that_are_asked(void **state)
{
    (void)state;
    machine[1].wbinvd_takes = MACHINE_US(3000);
    machine[2].wbinvd_takes = MACHINE_US(4000);
    machine[0].wbinvd_takes = MACHINE_US(1000);
    smp_start(&handoff);
    machine_others();
    uint64_t ticket = smp_wbinvd_begin(one_and_two);
    assert_false(smp_wbinvd_done(one_and_two, ticket));
    machine_others();
    assert_true(smp_wbinvd_done(one_and_two, ticket));
    assert_int_equal(machine[0].wbinvds, 0);
    assert_int_equal(machine[1].wbinvds, 1);
    assert_int_equal(machine[2].wbinvds, 1);
    assert_int_equal(machine[3].wbinvds, 0);
    ticket = smp_wbinvd_begin(all_four);
    assert_int_equal(machine[0].wbinvds, 1);        /* its own at once */
    assert_true(read_rflags() & RFLAGS_IF);
    machine_others();
    assert_true(smp_wbinvd_done(all_four, ticket));
    struct smp_cost cost = smp_wbinvd_cost(all_four);
    assert_in_range(cost.others, MACHINE_US(7000), MACHINE_US(7010));
    assert_in_range(cost.longest, MACHINE_US(4000), MACHINE_US(4010));
    assert_in_range(smp_cpu(2)->others_tsc, MACHINE_US(8000), MACHINE_US(8020));
    assert_int_equal(smp_cpu(0)->others_tsc, 0);
}

static void a_late_cpu_owes_it_and_an_older_one_is_no_answer(void **state)
{
    (void)state;
    smp_start(&handoff);
    machine_others();
    machine[2].held = true;
    uint64_t first = smp_wbinvd_begin(one_and_two);
    machine_others();
    assert_false(smp_wbinvd_done(one_and_two, first));
    assert_true(smp_wbinvd_done((const uint64_t[MAX_CPUS / 64]){2}, first));
    uint64_t second = smp_wbinvd_begin(all_four);
    assert_false(
        smp_wbinvd_done((const uint64_t[MAX_CPUS / 64]){2}, second));     /* CPU 1 did it before it was asked again */
    machine[2].held = false;
    machine_others();
    assert_true(smp_wbinvd_done(one_and_two, first));
    assert_true(smp_wbinvd_done(all_four, second));
    assert_int_equal(machine[2].wbinvds, 1);        /* for both */
    assert_int_equal(machine[1].wbinvds, 2);
}

/* From a device, say, by chance or by malice: cheap, and no answer to anybody. */
static void an_interrupt_that_nobody_has_a_ticket_for_is_ignored(void **state)
{
    (void)state;
    smp_start(&handoff);
    for (unsigned i = 0; i < 3; i++) {
        lapic_send(2, LAPIC_MESSAGE_FIXED | TRAP_WBINVD);
        machine_others();
        assert_int_equal(machine[1].wbinvds, 0);
    }
    uint64_t ticket = smp_wbinvd_begin((const uint64_t[MAX_CPUS / 64]){2});
    machine_others();
    assert_true(smp_wbinvd_done((const uint64_t[MAX_CPUS / 64]){2}, ticket));
    assert_int_equal(machine[1].wbinvds, 1);
    lapic_send(2, LAPIC_MESSAGE_FIXED | TRAP_WBINVD);
    machine_others();
    assert_int_equal(machine[1].wbinvds, 1);
}

static void whoever_needs_all_waits_for_the_last_and_says_so(void **state)
{
    (void)state;
    machine[2].other_features = true;               /* left out, but its caches count */
    smp_start(&handoff);
    machine_others();
    machine[3].held = true;
    machine_log[0] = '\0';
    struct wbinvd w = {0};
    for (unsigned looks = 0; looks < 1000; looks++) { /* ten seconds; guests and the operator have this CPU meanwhile */
        assert_false(wbinvd_all(&w));
        machine_now += MACHINE_US(10000);
        machine_others();
    }
    machine[3].held = false;
    machine_others();
    assert_true(wbinvd_all(&w));
    for (uint32_t i = 0; i < MACHINE_CPUS; i++)
        assert_int_equal(machine[i].wbinvds, 1);
    assert_non_null(strstr(machine_log, "CPU 3 (APIC 6) has not done a WBINVD for 2 s"));
    assert_null(strstr(machine_log, "CPU 1"));
    assert_non_null(strstr(machine_log, "all CPUs have done their WBINVD\n"));
    machine_log[0] = '\0';
    machine_stall_at = machine_now + 50;
    machine_stall = MACHINE_US(15000000);
    unsigned looks = 0;
    while (!wbinvd_all(&w)) {
        assert_true(looks++ < 3);
        machine_others();
    }
    assert_string_equal(machine_log, ""); /* the machine stood still, not a CPU */
    for (uint32_t i = 0; i < MACHINE_CPUS; i++)
        assert_int_equal(machine[i].wbinvds, 2); /* a second one, for the second call */
}

/* ---- the end ---- */

static void one_cpu_ends_and_all_others_halt_with_their_caches_written(void **state)
{
    (void)state;
    machine[2].other_features = true; /* left out, but it is there */
    smp_start(&handoff);
    machine_others();
    machine_nmi = on_nmi;
    on_nmi(); /* an NMI of somebody else's: nobody ends */
    assert_false(shutdown_is_here());
    assert_int_equal(halted, 0);
    uint64_t before = machine_now;
    assert_true(end_begins());
    assert_true(machine_now - before < MACHINE_US(1000)); /* it did not wait in vain */
    assert_true(shutdown_is_here());
    assert_int_equal(halted, 3);
    assert_false(read_rflags() & RFLAGS_IF);
    on_nmi(); /* spares who ends, and so does a panic of its own */
    assert_true(end_begins());
    machine_others();
    for (uint32_t i = 0; i < MACHINE_CPUS; i++) {
        assert_int_equal(machine[i].wbinvds, i > 0);
        assert_int_equal(machine[i].nmis, i > 0);
    }
    assert_int_equal(halted, 3);
}

static void the_end_does_not_wait_for_ever_nor_halt_another_ender(void **state)
{
    (void)state;
    smp_start(&handoff);
    machine_others();
    uint64_t before = machine_now; /* none of them takes the NMI */
    assert_true(end_begins());
    assert_in_range(machine_now - before, MACHINE_US(HALT_US), MACHINE_US(2 * HALT_US));
    assert_int_equal(halted, 0);
    machine_nmi = on_nmi;
    ender = 3; /* CPU 2 was faster */
    assert_false(shutdown_is_here());
    lapic_send(machine[2].cpu.apic_id, LAPIC_MESSAGE_NMI);
    lapic_send(machine[3].cpu.apic_id, LAPIC_MESSAGE_NMI);
    machine_others();
    assert_int_equal(halted, 1);
    assert_int_equal(machine[2].wbinvds, 0);
    assert_int_equal(machine[3].wbinvds, 1);
}

/* CPU 2 ends the machine, and calls what may not come back: twice, until the test lets it. CPU 0 runs the test, and halts not. */
static struct {
    uint32_t let, done;
    bool comes_back, panics;
} call;

static void make_an_end(void)
{
    if (this_cpu()->index != 2 || ender != 0) {
        if (this_cpu()->index != 0)
            on_nmi();
        return;
    }
    machine[0].alive = false; /* else it would wait in vain */
    assert_true(end_begins());
    machine[0].alive = true;
    for (unsigned i = 1; i <= 2; i++) {
        shutdown_call();
        while (call.let < i)
            cpu_relax();
        if (call.panics)
            assert_true(end_begins());
        else if (!shutdown_return())
            wait_elsewhere();
        call.done = i;
        while (!call.comes_back)
            cpu_relax();
    }
    for (;;)
        cpu_relax();
}

static void begin_an_end(void)
{
    memset(&call, 0, sizeof(call));
    call.comes_back = true;
    smp_start(&handoff);
    machine_others();
    machine_nmi = make_an_end;
    lapic_send(machine[2].cpu.apic_id, LAPIC_MESSAGE_NMI);
    machine_others();
    assert_int_equal(halted, 2);
    assert_int_equal(machine[0].nmis, 1);
}

/* All other CPUs look at the clock all the time. */
static void pass(uint64_t us)
{
    for (uint64_t end = machine_now + MACHINE_US(us); machine_now < end; machine_now += MACHINE_US(10000))
        cpu_relax();
}
#define LONG (SHUTDOWN_CALL_US - 1000000u)

static unsigned bits(uint32_t mask)
{
    return (unsigned)__builtin_popcount(mask);
}

static void a_cpu_that_is_lost_in_a_call_is_replaced_by_one_other(void **state)
{
    (void)state;
    begin_an_end();
    pass(LONG);
    assert_int_equal(machine_taken_over, 0);
    unsigned nmis = machine[2].nmis;
    pass(2000000);
    assert_int_equal(bits(machine_taken_over), 1);
    assert_int_equal(machine_taken_over, 1u << (watcher - 1));
    assert_int_equal((uint32_t)ender, watcher);
    assert_int_equal(ender >> 32, 0); /* the new one is in no call */
    /* The lost one is halted by NMI where it is, and is not heard of again. */
    assert_int_equal(machine[2].nmis, nmis + 1);
    assert_int_equal(machine[2].wbinvds, 1);
    call.let = 2;
    pass(3 * LONG);
    assert_int_equal(call.done, 0);
    assert_int_equal(bits(machine_taken_over), 1);
}

/* No NMI reaches it either. */
static void a_lost_one_that_comes_back_after_all_halts(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        set_up(state);
        begin_an_end();
        call.panics = i == 1;
        machine_nmi = NULL;
        pass(LONG + 2000000);
        assert_int_equal(bits(machine_taken_over), 1);
        assert_int_equal(machine[2].wbinvds, 0);
        call.let = 2;
        machine_others();
        assert_int_equal(call.done, 0);
        assert_int_equal(machine[2].wbinvds, 1);
        tear_down(state);
    }
}

static void one_that_comes_back_in_time_stays_and_the_next_call_has_its_own_time(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        set_up(state);
        begin_an_end();
        call.panics = i == 1; /* it comes back by a panic of its own */
        call.comes_back = false;
        pass(LONG);
        call.let = 1;
        machine_others();
        assert_int_equal(call.done, 1);
        pass(5 * LONG); /* hv's own time has no limit */
        assert_int_equal(machine_taken_over, 0);
        call.comes_back = true;
        pass(LONG);
        assert_int_equal(call.done, 1);
        assert_int_equal(machine_taken_over, 0);
        pass(2000000);
        assert_int_equal(bits(machine_taken_over), 1);
        tear_down(state);
    }
}

/* The watcher has no look between the two. */
static void also_when_the_next_call_follows_at_once(void **state)
{
    (void)state;
    begin_an_end();
    pass(LONG);
    call.let = 1;
    pass(LONG);
    assert_int_equal(call.done, 1);
    assert_int_equal(machine_taken_over, 0);
    pass(2000000);
    assert_int_equal(bits(machine_taken_over), 1);
}

static void a_machine_that_stands_still_uses_up_no_time_of_a_call(void **state)
{
    (void)state;
    begin_an_end();
    pass(LONG);
    machine_stall_at = machine_now;
    machine_stall = MACHINE_US(60000000);
    pass(500000);
    assert_int_equal(machine_stall, 0);
    assert_int_equal(machine_taken_over, 0);
}

/* From a CPU that had lost the race for the end, and gets the winner's NMI then; from the BMC. */
static void an_nmi_does_not_keep_the_watcher_from_its_work(void **state)
{
    (void)state;
    begin_an_end();
    uint32_t before = watcher;
    for (unsigned i = 0; i < 3; i++) {
        lapic_send(machine[before - 1].cpu.apic_id, LAPIC_MESSAGE_NMI);
        machine_others();
    }
    assert_int_equal(watcher, before);
    pass(LONG + 2000000);
    assert_int_equal(machine_taken_over, 1u << (before - 1));
}

/* ---- the LAPIC's timer ---- */

static void the_timer_is_calibrated_also_when_something_comes_between(void **state)
{
    for (unsigned i = 0; i < 2; i++) {
        set_up(state);
        lapic_hz = 0;
        machine_stall_at = machine_now + MACHINE_US(3000);
        machine_stall = i == 0 ? MACHINE_US(500000) : MACHINE_US(100000000); /* the count is over long before */
        lapic_init();
        assert_in_range(lapic_hz, 99900000, 100100000);
    }
}

static void the_timer_is_never_early_and_goes_on_after_a_second(void **state)
{
    (void)state;
    struct cpu *cpu = smp_cpu(0) != NULL ? smp_cpu(0) : cpu_boot();
    uint64_t end = machine_now + MACHINE_US(2500000);
    lapic_timer_arm(end);
    assert_int_equal(cpu->timer_tsc, end);
    for (unsigned i = 0; i < 5 && !cpu->timer_fired; i++) {
        machine_now = machine_timer_start + (uint64_t)machine_timer * MACHINE_US(1) / 100;
        lapic_timer_interrupt();
        assert_true(cpu->interrupted_tsc + MACHINE_TICK > machine_now);
    }
    assert_true(cpu->timer_fired);
    assert_in_range(machine_now, end, end + MACHINE_US(500));
    lapic_timer_arm(UINT64_MAX);
    assert_int_equal(machine_timer, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_cpus_of_the_hand_over_start),
        TEST(one_that_does_not_start_is_left_out_and_one_startup_may_be_missed),
        TEST(every_cpu_of_a_real_board_is_reached_in_the_mode_that_its_processor_offers),
        TEST(one_whose_id_no_interrupt_reaches_is_told_and_left_alone),
        TEST(one_that_is_not_like_the_boot_cpu_is_left_out),
        TEST(a_tsc_that_is_behind_is_another_too),
        TEST(a_stall_leaves_no_cpu_out),
        TEST(nor_one_in_the_middle_of_the_comparison),
        TEST(a_cpu_is_interrupted_once_until_it_looks),
        TEST(wbinvd_is_done_by_those_that_are_asked),
        TEST(no_cpu_waits_ten_milliseconds_for_its_start),
        TEST(an_interrupt_that_nobody_has_a_ticket_for_is_ignored),
        TEST(a_late_cpu_owes_it_and_an_older_one_is_no_answer),
        TEST(whoever_needs_all_waits_for_the_last_and_says_so),
        TEST(one_cpu_ends_and_all_others_halt_with_their_caches_written),
        TEST(the_end_does_not_wait_for_ever_nor_halt_another_ender),
        TEST(a_cpu_that_is_lost_in_a_call_is_replaced_by_one_other),
        TEST(a_lost_one_that_comes_back_after_all_halts),
        TEST(one_that_comes_back_in_time_stays_and_the_next_call_has_its_own_time),
        TEST(also_when_the_next_call_follows_at_once),
        TEST(a_machine_that_stands_still_uses_up_no_time_of_a_call),
        TEST(an_nmi_does_not_keep_the_watcher_from_its_work),
        TEST(the_timer_is_calibrated_also_when_something_comes_between),
        TEST(the_timer_is_never_early_and_goes_on_after_a_second),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
