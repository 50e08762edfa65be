/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Whom an interrupt or exception of the host goes to, and what is acknowledged. */
#include "fake_cpu.h"

#include "hv/cpu/clock.h"
#include "hv/vm/exit.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/mca.h"
#include "hv/cpu/smp.h"
#include "hv/init/uefi.h"
#include "hv/init/panic.h"
#include "hv/init/shutdown.h"
#include "hv/cpu/trap.h"
#include "hv/lib/apic.h"
#include "hv/vm/watch.h"

const uint8_t vmrun_after_stgi[1];
static struct vcpu vcpu;
static struct mca_errors errors;        /* what the banks say */
static bool ends_here, ends_elsewhere;

static bool catches;                    /* the machine's end does */

bool end_catch(struct trap_frame *frame, const char *what)
{
    note("catch %lu %s", frame->vector, what);
    return catches;
}

/* Called, and noted. */
#define NOTED(name, words)    \
    void __real_##name(void); \
    void __wrap_##name(void); \
    void __wrap_##name(void)  \
    {                         \
        note(words);          \
        __real_##name();      \
    }

NOTED(lapic_timer_interrupt, "timer")
NOTED(smp_wbinvd_interrupt, "wbinvd for another")
NOTED(smp_kick_interrupt, "kick")

bool shutdown_is_elsewhere(void)
{
    note("end?");
    return ends_elsewhere;
}
bool shutdown_is_here(void)
{
    return ends_here;
}

void end_elsewhere(void)
{
    note("elsewhere");
    longjmp(*fake_out, 1);
}

void mca_collect(struct mca_errors *found)
{
    *found = errors;
    note("banks");
}
void mca_done(void)
{
    note("banks done");
}
void panic_banks(const struct mca_errors *found)
{
    note("told %u", found->count);
}

void exit_machine_check(struct vcpu *hit, const struct mca_errors *found)
{
    assert_ptr_equal(hit, &vcpu);
    note("hit %u", found->count);
}

void panic_trap(const struct trap_frame *frame, const char *name)
{
    note("panic %lu %s", frame->vector, name);
    longjmp(*fake_out, 1);
}

static int set_up(void **state)
{
    fake_reset(state);
    fake_cpu.current = &vcpu;
    fake_cpu.timer_tsc = UINT64_MAX;
    fake_msrs[0].msr = APIC_EOI;
    errors = (struct mca_errors){.count = 2};
    ends_here = ends_elsewhere = catches = false;
    return 0;
}

/* False: it ended in a panic. */
static __attribute__((noinline)) bool trap(uint64_t vector, uint64_t rip)
{
    struct trap_frame frame = {.vector = vector, .rip = rip};
    return !ENDS(trap_handle(&frame));
}

/* Where the machine's end goes wrong, or takes too long, it goes on elsewhere. */
static void the_end_of_the_machine_survives_exceptions_and_is_told_the_time(void **state)
{
    (void)state;
    catches = true;
    assert_true(trap(14, 0x1000));
    assert_true(trap(13, 0x1000));
    assert_string_equal(did, "catch 14 #PF page fault\ncatch 13 #GP general protection\n");
    did[0] = '\0';
    assert_true(trap(TRAP_TIMER, 0x1000));
    assert_string_equal(did, "timer\nwrmsr 80b 0\n");
    did[0] = '\0';
    fake_cpu.timer_fired = true;
    assert_true(trap(TRAP_TIMER, 0x1000));
    assert_string_equal(did, "timer\nwrmsr 80b 0\ncatch 64 the UEFI firmware has not returned in time, interrupted\n");
    did[0] = '\0';
    assert_true(trap(TRAP_KICK, 0x1000));
    assert_string_equal(did, "kick\nwrmsr 80b 0\n");
}

static void each_vector_is_handled_and_acknowledged_once(void **state)
{
    (void)state;
    for (unsigned vector = TRAP_EXCEPTIONS; vector < TRAP_VECTORS; vector++) {
        set_up(NULL);
        assert_true(trap(vector, 0x1000));
        /* APM2 16.4.7: a spurious interrupt is not acknowledged. */
        assert_string_equal(did, vector == 0xff   ? ""
                                 : vector == 0x40 ? "timer\nwrmsr 80b 0\n"
                                 : vector == 0x41 ? "kick\nwrmsr 80b 0\n"
                                 : vector == 0x42 ? "wbinvd for another\nwrmsr 80b 0\n"
                                                  : "wrmsr 80b 0\n");
        assert_int_equal(fake_cpu.nmis, 0);
    }
}

/* APM2 8.2 */
static void each_exception_is_a_panic_by_its_name(void **state)
{
    static const char *const names[32] = {
        "#DE",      "#DB",         NULL,       "#BP",      "#OF",      "#BR", "#UD",      "#NM",
        "#DF",      "coprocessor", "#TS",      "#NP",      "#SS",      "#GP", "#PF",      "reserved",
        "#MF",      "#AC",         NULL,       "#XF",      "reserved", "#CP", "reserved", "reserved",
        "reserved", "reserved",    "reserved", "reserved", "#HV",      "#VC", "#SX",      "reserved",
    };
    (void)state;
    for (unsigned vector = 0; vector < TRAP_EXCEPTIONS; vector++) {
        char expected[64];
        if (names[vector] == NULL)
            continue;
        did[0] = '\0';
        assert_false(trap(vector, 0x1000));
        snprintf(expected, sizeof(expected), "catch %u %s", vector, names[vector]);
        assert_ptr_equal(strstr(did, expected), did);
        snprintf(expected, sizeof(expected), "\npanic %u %s", vector, names[vector]);
        assert_non_null(strstr(did, expected));
    }
}

static void an_nmi_is_counted_unless_another_cpu_asked_by_it(void **state)
{
    (void)state;
    assert_true(trap(TRAP_NMI, 0x4321));
    assert_string_equal(did, "end?\n");         /* first of all, whether the machine ends */
    assert_int_equal(fake_cpu.nmis, 1);
    fake_cpu.answer_wanted = true;
    assert_true(trap(TRAP_NMI, 0x4321));
    assert_int_equal(fake_cpu.answer_rip, 0x4321);
    assert_int_equal(fake_cpu.nmis, 1);
}

/* Where it came, what is corrupt, whether this CPU ends the machine: who is hit. */
static void a_machine_check_ends_whom_it_hit(void **state)
{
    const uint64_t guest = (uintptr_t)vmrun_after_stgi;
    static const char hit[] = "banks\nhit 2\n", told[] = "banks\ntold 2\nbanks done\n",
                      panics[] = "banks\npanic 18 #MC machine check\n";
    const struct {
        uint64_t rip;
        bool context, task, here;
        const char *what;
    } cases[] = {
        {guest, false, false, false, hit},   {guest, false, false, true, hit},
        {guest, true, false, false, panics}, {guest, false, true, false, panics},
        {guest, true, true, true, panics},   {0x1000, false, false, false, panics},
        {0x1000, false, false, true, told},  {0x1000, true, false, true, panics},
        {0x1000, false, true, true, panics}, {guest + 1, false, false, false, panics},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        set_up(NULL);
        errors.context_corrupt = cases[i].context;
        errors.task_corrupt = cases[i].task;
        ends_here = cases[i].here;
        assert_int_equal(trap(TRAP_MC, cases[i].rip), cases[i].what != panics);
        assert_string_equal(did, cases[i].what);
        assert_int_equal(fake_cpu.mca_errors != NULL, cases[i].what == panics);
        assert_int_equal(fake_cpu.nmis, 0);
    }
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(each_vector_is_handled_and_acknowledged_once),
        T(each_exception_is_a_panic_by_its_name),
        T(the_end_of_the_machine_survives_exceptions_and_is_told_the_time),
        T(an_nmi_is_counted_unless_another_cpu_asked_by_it),
        T(a_machine_check_ends_whom_it_hit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
