/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's steps and breakpoints. */
#include "with_cmocka.h"

#include "hv/lib/x86.h"
#include "hv/vm/debug.h"
#include "hv/vm/event.h"
#include "rig.h"

#define DEFAULT_EXCEPTIONS (1u << 1 | 1u << 17 | 1u << 18)
#define DR6_NONE 0xffff0ff0u

static struct vcpu *vcpu;

static int set_up(void **state)
{
    rig_reset(state);
    rig_cpu.features.decode_assists = rig_cpu.features.next_rip = rig_cpu.features.flush_by_asid = true;
    vcpu = rig_guest(0, false);
    vcpu->vmcb->rflags = RFLAGS_IF | 2;
    vcpu->vmcb->dr6 = DR6_NONE;
    vcpu->vmcb->rip = 0x1000;
    vcpu->guest->state = GUEST_RUNNING;
    vcpu->cpu = &rig_cpu;
    rig_cpu.current = vcpu;
    return 0;
}

/* RFLAGS and all else as they are. */
static bool exits(uint64_t code, uint64_t info1, uint64_t intinfo)
{
    vcpu->vmcb->exitcode = code;
    vcpu->vmcb->exitinfo1 = info1;
    vcpu->vmcb->exitintinfo = intinfo;
    return exit_dispatch(&vcpu->run);
}

static void begin(void)
{
    vcpu->guest->paused = false;
    debug_begin(vcpu->guest, vcpu);
    event_prepare(vcpu);
}

static void is_stopped(uint32_t code)
{
    assert_int_equal(vcpu->stopped, code + 1);
    assert_true(vcpu->guest->paused && vcpu->request);
    assert_false(vcpu->stepping);
    assert_int_equal(vcpu->step, STEP_NONE);
    assert_int_equal(vcpu->vmcb->intercept_exceptions, DEFAULT_EXCEPTIONS);
}

static void goes_on(void)
{
    assert_true(vcpu->stopped == 0 && !vcpu->guest->paused && vcpu->step != STEP_NONE);
}

static void an_instruction_is_executed_and_the_guest_pauses(void **state)
{
    (void)state;
    begin();
    goes_on();
    assert_true(vcpu->stepping && (vcpu->vmcb->rflags & (RFLAGS_TF | RFLAGS_RF)) == (RFLAGS_TF | RFLAGS_RF));
    assert_int_equal(vcpu->vmcb->intercept_exceptions, ~(1u << 2));
    assert_true((vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_CR0_SEL_WRITE)) != 0);
    assert_true(exits(VMEXIT_INTR, 0, 0)); /* the host's interrupt is no instruction */
    goes_on();
    vcpu->vmcb->rip = 0x1003;
    vcpu->vmcb->rflags &= ~RFLAGS_RF;
    vcpu->vmcb->dr6 |= DR6_BS;
    assert_false(exits(VMEXIT_EXCEPTION_DB, 0, 0));
    is_stopped(0);
    assert_int_equal(vcpu->exception, 0);
    assert_true(vcpu->vmcb->rflags == (RFLAGS_IF | 2) && vcpu->vmcb->dr6 == DR6_NONE);
}

/* What exits is over with hv's part of it. */
static void an_instruction_that_exits_counts_as_one(void **state)
{
    (void)state;
    static const uint64_t codes[] = {VMEXIT_CPUID, VMEXIT_HLT, VMEXIT_VMMCALL};
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        vcpu->vmcb->nrip = 0x1002 + i;
        begin();
        assert_false(exits(codes[i], 0, 0));
        is_stopped(0);
        assert_int_equal(vcpu->vmcb->rip, 0x1002 + i);
        assert_int_equal(vcpu->exception, 0);
        assert_int_equal(vcpu->vmcb->rflags & RFLAGS_TF, 0);
        vcpu->stopped = 0;
        vcpu->state = VCPU_RUNNABLE;
    }
}

static void so_does_one_that_is_the_guests_with_cr0_free(void **state)
{
    (void)state;
    begin();
    assert_true(exits(VMEXIT_CR0_SEL_WRITE, 0, 0)); /* LMSW */
    goes_on();
    assert_int_equal(vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_CR0_SEL_WRITE), 0);
    vcpu->vmcb->dr6 |= DR6_BS;
    assert_false(exits(VMEXIT_EXCEPTION_DB, 0, 0));
    is_stopped(0);
    assert_int_equal(vcpu->vmcb->rflags & RFLAGS_TF, 0); /* hv's own was not taken for the guest's */
    assert_true((vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_CR0_SEL_WRITE)) != 0);
}

static void interrupts_and_nmis_wait(void **state)
{
    (void)state;
    vlapic_post(&vcpu->lapic, 0x41);
    vcpu->nmi_pending = true;
    begin();
    assert_int_equal(vcpu->vmcb->eventinj, 0);
    assert_int_equal(vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_VINTR), 0); /* else it would exit for ever */
    assert_true(vcpu->stepping && vcpu->nmi_pending);
    vcpu->vmcb->dr6 |= DR6_BS;
    exits(VMEXIT_EXCEPTION_DB, 0, 0);
    is_stopped(0);
    debug_begin(vcpu->guest, NULL);
    assert_int_equal(vcpu->stopped, 0);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, vmcb_event(EVENT_TYPE_NMI, 2));
    vcpu->vmcb->eventinj = 0;
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, vmcb_event(EVENT_TYPE_INTERRUPT, 0x41));
}

/* No instruction of the handler: an interrupt of the host's is pending when VMRUN has injected the exception. */
static void an_exception_is_delivered_and_ends_the_step(void **state)
{
    (void)state;
    begin();
    assert_false(exits(VMEXIT_EXCEPTION_DE + 14, 2, 0));
    goes_on();
    assert_int_equal(rig_self_kicks, 0);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x280000b0e));
    assert_int_equal(vcpu->vmcb->rflags & RFLAGS_TF, 0); /* the handler does not find it on its stack */
    assert_true(rig_gif_clear && rig_self_kicks == 1 && vcpu->request);
    /* A nested page fault in the middle of the delivery: once more. */
    rig_gif_clear = false;
    assert_false(exits(VMEXIT_INTR, 0, UINT64_C(0x280000b0e)));
    goes_on();
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x280000b0e));
    assert_int_equal(rig_self_kicks, 2);
    assert_false(exits(VMEXIT_INTR, 0, 0));
    is_stopped(0);
    assert_int_equal(vcpu->exception, 0);
}

static void the_guests_own_single_step_is_told_to_it(void **state)
{
    (void)state;
    for (int skipped = 0; skipped < 2; skipped++) {
        vcpu->vmcb->rflags = RFLAGS_TF | 2;
        vcpu->vmcb->dr6 = DR6_NONE;
        begin();
        if (!skipped)
            vcpu->vmcb->dr6 |= DR6_BS;
        exits(skipped ? VMEXIT_CPUID : VMEXIT_EXCEPTION_DB, 0, 0);
        is_stopped(0);
        assert_true(vcpu->exception != 0 && EVENT_VECTOR(vcpu->exception) == 1);
        assert_true((vcpu->vmcb->dr6 & DR6_BS) != 0 && (vcpu->vmcb->rflags & RFLAGS_TF) != 0);
        vcpu->exception = 0;
        vcpu->stopped = 0;
    }
}

/* Paused by the operator before it came: what is left of it is hv's alone. */
static void a_step_that_was_given_up_stops_nobody(void **state)
{
    (void)state;
    begin();
    guest_pause(vcpu->guest);
    vcpu->guest->paused = false;
    debug_begin(vcpu->guest, NULL);
    vcpu->vmcb->dr6 |= DR6_BS;
    exits(VMEXIT_EXCEPTION_DB, 0, 0);
    assert_true(vcpu->stopped == 0 && !vcpu->guest->paused && vcpu->exception == 0 && !vcpu->stepping);
    assert_int_equal(vcpu->vmcb->rflags & RFLAGS_TF, 0);
}

/* ---- breakpoints ---- */

#define DR7(n, type) (UINT64_C(2) << 2 * (n) | (uint64_t)(type) << (16 + 4 * (n)))

static void what_vcpu_set_enables_stops_the_guest(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 4; n++) {
        for (unsigned type = 0; type < 4; type++) {
            const uint64_t dr[4] = {10, 11, 12, 13};
            vcpu->guest->paused = false;
            vcpu->stopped = 0;
            vcpu->vmcb->rflags = 2;
            debug_set_breakpoints(vcpu, dr, DR7(n, type));
            assert_int_equal(vcpu->vmcb->dr7, DR7(n, type) | DR7_RESET);
            assert_int_equal(vcpu->vmcb->vmcb_clean & VMCB_CLEAN_DRX, 0);
            assert_memory_equal(vcpu->switched.dr, dr, sizeof(dr));
            vcpu->vmcb->dr6 |= 1u << n;
            assert_false(exits(VMEXIT_EXCEPTION_DB, 0, 0));
            is_stopped(1 + n);
            assert_int_equal(vcpu->exception, 0);
            assert_int_equal(vcpu->vmcb->dr6, DR6_NONE);
            /* Only a fault comes before its instruction, and would come again. */
            assert_int_equal(vcpu->vmcb->rflags & RFLAGS_RF, type == 0 ? RFLAGS_RF : 0);
            debug_set_breakpoints(vcpu, dr, 0);
        }
    }
}

static void the_guests_own_breakpoints_stay_its_own(void **state)
{
    (void)state;
    const uint64_t dr[4] = {0};
    vcpu->vmcb->dr7 = DR7(1, 0) | DR7_RESET;
    debug_set_breakpoints(vcpu, dr, DR7(1, 0) | DR7(2, 1));
    vcpu->vmcb->dr6 |= 1u << 1 | 1u << 3; /* 3: matched, but is not enabled */
    assert_false(exits(VMEXIT_EXCEPTION_DB, 0, 0));
    assert_true(vcpu->stopped == 0 && vcpu->exception != 0);
    vcpu->exception = 0;
    vcpu->vmcb->dr6 = DR6_NONE | 1u << 1 | 1u << 2;
    assert_false(exits(VMEXIT_EXCEPTION_DB, 0, 0)); /* both */
    is_stopped(3);
    assert_true(vcpu->exception != 0 && EVENT_VECTOR(vcpu->exception) == 1);
    assert_int_equal(vcpu->vmcb->dr6, DR6_NONE | 1u << 1);
    /* What the operator has disabled, the guest may enable: it is its own then. */
    vcpu->guest->paused = false;
    vcpu->exception = 0;
    vcpu->stopped = 0;
    debug_set_breakpoints(vcpu, dr, 0);
    vcpu->vmcb->dr7 = DR7(2, 0) | DR7_RESET;
    vcpu->vmcb->dr6 = DR6_NONE | 1u << 2;
    assert_false(exits(VMEXIT_EXCEPTION_DB, 0, 0));
    assert_true(vcpu->stopped == 0 && vcpu->exception != 0);
}

/* Its guest runs on; what it enables itself later is its own. */
static void nobody_is_stopped_by_breakpoints_of_a_debugger_that_is_gone(void **state)
{
    (void)state;
    const uint64_t dr[4] = {0};
    vcpu->vmcb->dr7 = DR7(0, 0) | DR7_RESET;
    debug_set_breakpoints(vcpu, dr, DR7(0, 0) | DR7(1, 1) | DR7(3, 0));
    debug_forget();
    vcpu->vmcb->dr6 |= 1u << 3;
    assert_true(exits(VMEXIT_EXCEPTION_DB, 0, 0) || vcpu->request);
    assert_true(vcpu->stopped == 0 && !vcpu->guest->paused && vcpu->exception == 0);
    assert_int_equal(vcpu->vmcb->dr6, DR6_NONE);
    assert_int_equal(vcpu->vmcb->dr7 & 0xff, DR7(0, 0) & 0xff);
    assert_int_equal(vcpu->breakpoints, 0);
    debug_set_breakpoints(vcpu, dr, vcpu->vmcb->dr7 | DR7(1, 0));
    vcpu->vmcb->dr6 |= 1u << 1;
    exits(VMEXIT_EXCEPTION_DB, 0, 0);
    is_stopped(2);
    /* Of a paused guest. */
    debug_forget();
    debug_refresh(vcpu);
    assert_int_equal(vcpu->vmcb->dr7 & 0xff, DR7(0, 0) & 0xff);
}

static void a_step_onto_data_tells_the_breakpoint(void **state)
{
    (void)state;
    const uint64_t dr[4] = {0};
    debug_set_breakpoints(vcpu, dr, DR7(0, 1));
    begin();
    vcpu->vmcb->dr6 |= DR6_BS | 1u;
    assert_false(exits(VMEXIT_EXCEPTION_DB, 0, 0));
    is_stopped(1);
    assert_int_equal(vcpu->exception, 0);
    assert_int_equal(vcpu->vmcb->dr6, DR6_NONE);
    assert_int_equal(vcpu->vmcb->rflags & RFLAGS_TF, 0);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, set_up)
    const struct CMUnitTest tests[] = {
        TEST(an_instruction_is_executed_and_the_guest_pauses),
        TEST(an_instruction_that_exits_counts_as_one),
        TEST(so_does_one_that_is_the_guests_with_cr0_free),
        TEST(interrupts_and_nmis_wait),
        TEST(an_exception_is_delivered_and_ends_the_step),
        TEST(the_guests_own_single_step_is_told_to_it),
        TEST(a_step_that_was_given_up_stops_nobody),
        TEST(what_vcpu_set_enables_stops_the_guest),
        TEST(the_guests_own_breakpoints_stay_its_own),
        TEST(nobody_is_stopped_by_breakpoints_of_a_debugger_that_is_gone),
        TEST(a_step_onto_data_tells_the_breakpoint),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
