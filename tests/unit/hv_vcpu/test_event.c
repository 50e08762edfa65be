/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the next entry injects. */
#include "with_cmocka.h"

#include "hv/vm/event.h"
#include "rig.h"

#define IF RFLAGS_IF

static struct vcpu *interruptible(uint32_t index)
{
    struct vcpu *vcpu = rig_guest(index, false);
    vcpu->vmcb->rflags = IF | 2;
    return vcpu;
}

/* The window that makes the guest exit when it can take an interrupt; -1: none. */
static int window(const struct vcpu *vcpu)
{
    bool irq = (vcpu->vmcb->v_intr & V_IRQ) != 0;
    assert_int_equal((vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_VINTR)) != 0, irq);
    assert_true((vcpu->vmcb->v_intr & V_INTR_MASKING) != 0);
    return irq ? (int)(vcpu->vmcb->v_intr >> 16 & 0xf) : -1;
}

static void an_interrupt_goes_in_when_the_guest_can_take_it(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vlapic_post(&vcpu->lapic, 0x41);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000041));
    assert_int_equal(window(vcpu), -1);
    assert_int_equal(vcpu->lapic.irr[2], 0);
    assert_int_equal(vcpu->lapic.isr[2], 2);
    assert_false(vcpu->request);
}

static void if_and_the_interrupt_shadow_hold_it_back_with_a_window(void **state)
{
    (void)state;
    for (int shadow = 0; shadow < 2; shadow++) {
        struct vcpu *vcpu = interruptible((uint32_t)shadow);
        if (shadow)
            vcpu->vmcb->interrupt_shadow = 1;
        else
            vcpu->vmcb->rflags = 2;
        vlapic_post(&vcpu->lapic, 0x41);
        event_prepare(vcpu);
        assert_int_equal(vcpu->vmcb->eventinj, 0);
        assert_int_equal(window(vcpu), 4);
        /* The window opens. */
        vcpu->vmcb->interrupt_shadow = 0;
        assert_false(rig_exit(vcpu, VMEXIT_VINTR, 0, 0));
        event_prepare(vcpu);
        assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000041));
        assert_int_equal(window(vcpu), -1);
    }
}

static void tpr_holds_it_back_until_cr8_falls(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vcpu->vmcb->v_intr |= 6;
    vlapic_post(&vcpu->lapic, 0x61);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, 0);
    assert_int_equal(vcpu->vmcb->v_intr & V_TPR_MASK, 6);
    assert_int_equal(window(vcpu), 6);          /* 6 is not above 6: the processor waits for a lower V_TPR */
    vcpu->vmcb->v_intr = (vcpu->vmcb->v_intr & ~V_TPR_MASK) | 5;
    assert_false(rig_exit(vcpu, VMEXIT_VINTR, 0, 0));
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000061));
}

static void a_halted_guest_that_lowered_cr8_wakes(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vcpu->vmcb->v_intr |= 6;
    vlapic_post(&vcpu->lapic, 0x61);
    event_prepare(vcpu);
    vcpu->vmcb->v_intr &= ~V_TPR_MASK;
    assert_false(rig_exit(vcpu, VMEXIT_HLT, 0, 0));
    assert_int_equal(vcpu->state, VCPU_HALTED);
    assert_int_equal(vcpu_poll(vcpu, rig_tsc), UINT64_MAX);
    assert_int_equal(vcpu->state, VCPU_RUNNABLE);
    assert_true(vcpu->request);
}

static void what_is_in_service_holds_lower_ones_back_without_a_window(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vlapic_post(&vcpu->lapic, 0x80);
    vlapic_post(&vcpu->lapic, 0x40);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000080));
    assert_int_equal(window(vcpu), -1);         /* 0x40 waits for the EOI, which exits */
    vlapic_post(&vcpu->lapic, 0x90);            /* a higher one; the first has been delivered by the exit */
    assert_true(rig_exit(vcpu, VMEXIT_INTR, 0, 0));
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000090));
    /* EOI of both by MSR, then 0x40 has its turn. */
    vcpu->run.gprs.rcx = 0x80b;
    vcpu->run.gprs.rdx = vcpu->vmcb->rax = 0;
    assert_false(rig_exit(vcpu, VMEXIT_MSR, 1, 0));
    assert_false(rig_exit(vcpu, VMEXIT_MSR, 1, 0));
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000040));
    assert_true(rig_exit(vcpu, VMEXIT_MSR, 1, 0));      /* nothing waits: straight back */
}

/* The host's timer may fire between event_prepare() and VMRUN: the loop then looks around and prepares again. */
static void what_was_prepared_and_not_delivered_is_not_lost(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vlapic_post(&vcpu->lapic, 0x80);
    event_prepare(vcpu);
    vlapic_post(&vcpu->lapic, 0x90);
    vcpu->nmi_pending = true;
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000080));
    assert_int_equal(window(vcpu), 9);
    assert_true(rig_exit(vcpu, VMEXIT_INTR, 0, 0));
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000202));
    assert_true(rig_exit(vcpu, VMEXIT_INTR, 0, 0));
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000090));
}

static void an_nmi_needs_no_if_and_the_next_waits_for_iret(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vcpu->vmcb->rflags = 2;
    vcpu->nmi_pending = true;
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000202));
    assert_true((vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_IRET)) != 0);

    vcpu->nmi_pending = true;
    assert_true(rig_exit(vcpu, VMEXIT_INTR, 0, 0));
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, 0);      /* the first one's handler runs */
    assert_false(rig_exit(vcpu, VMEXIT_IRET, 0, 0));
    assert_int_equal(vcpu->vmcb->rip, 0x1000);      /* the IRET itself is still to come */
    assert_false((vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_IRET)) != 0);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, 0);
    assert_true(vcpu->request);                     /* it is tried again at the next exit, whatever that is */
    vcpu->vmcb->eventinj = 0;
    vcpu->vmcb->rip = 0x2000;
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000202));
}

/* One that comes after the IRET is seen at the next poll; without one, an IRET costs nothing more. */
static void after_the_iret_an_nmi_waits_for_nothing(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vcpu->nmi_pending = true;
    event_prepare(vcpu);
    assert_true(rig_exit(vcpu, VMEXIT_IRET, 0, 0));
    vcpu->vmcb->rip = 0x2000;
    vcpu->nmi_pending = true;
    vcpu_poll(vcpu, rig_tsc);
    assert_true(vcpu->request);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000202));
}

/* As CONTROL_STATE_SET makes them, of a vCPU that comes from elsewhere. */
static void what_was_decided_and_blocked_elsewhere_stays_so(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    assert_int_equal(event_first(vcpu), 0);
    event_inject_exception(vcpu, 14, true, 0x12);
    assert_int_equal(event_first(vcpu), UINT64_C(0x1280000b0e));
    event_inject_exception(vcpu, 6, false, 0);
    assert_int_equal(event_first(vcpu), UINT64_C(0x80000306));
    vmcb_set_eventinj(vcpu->vmcb, UINT64_C(0x80000051)); /* prepared before, and not delivered */
    assert_int_equal(event_first(vcpu), UINT64_C(0x80000051));
    event_prepare(vcpu);
    assert_true(vcpu->vmcb->eventinj == UINT64_C(0x80000051) && vcpu->exception != 0);
    vmcb_set_eventinj(vcpu->vmcb, 0);
    event_prepare(vcpu);
    assert_true(vcpu->vmcb->eventinj == UINT64_C(0x80000306) && vcpu->exception == 0);

    vmcb_set_eventinj(vcpu->vmcb, 0);
    vcpu->nmi_pending = true;
    event_block_nmi(vcpu, true, NMI_NO_IRET);
    assert_true((vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_IRET)) != 0);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, 0);
    vcpu->vmcb->rip = 0x1000;
    event_block_nmi(vcpu, true, 0x1000); /* the IRET is next */
    assert_false((vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_IRET)) != 0);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, 0);
    vcpu->vmcb->rip = 0x2000;
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000202));
    vmcb_set_eventinj(vcpu->vmcb, 0);
    vcpu->nmi_pending = true;
    event_block_nmi(vcpu, false, 0x2000);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000202));
}

static void an_exception_goes_first_and_the_interrupt_gets_a_window(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vlapic_post(&vcpu->lapic, 0x41);
    event_inject_exception(vcpu, 13, true, 0x18);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x0000001880000b0d));
    assert_int_equal(window(vcpu), 4);
    assert_int_equal(vcpu->exception, 0);
    assert_true(rig_exit(vcpu, VMEXIT_INTR, 0, 0));
    event_inject_exception(vcpu, 6, false, 0x18);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000306));
}

/* One exit during whose delivery of `intinfo` something happened. */
static void interrupted(struct vcpu *vcpu, uint64_t code, uint64_t intinfo)
{
    vcpu->request = false;
    vcpu->vmcb->rip = 0x1000;
    vcpu->vmcb->rflags = IF | 2;
    vcpu->vmcb->exitcode = code;
    vcpu->vmcb->exitintinfo = intinfo;
    assert_false(exit_dispatch(&vcpu->run));
    event_prepare(vcpu);
}

static void a_delivery_that_was_cut_short_is_done_again(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    static const struct {
        uint64_t intinfo, eventinj;
    } cases[] = {
        {UINT64_C(0x80000030), UINT64_C(0x80000030)},                   /* interrupt */
        {UINT64_C(0x80000202), UINT64_C(0x80000202)},                   /* NMI */
        {UINT64_C(0x0000000680000b0e), UINT64_C(0x0000000680000b0e)},   /* #PF with its error code */
        {UINT64_C(0x80000300), UINT64_C(0x80000300)},                   /* #DE */
        {UINT64_C(0x80000480), 0},                                      /* INT 0x80: RIP is still there */
        {UINT64_C(0x80000303), 0},                                      /* INT3 likewise */
        {UINT64_C(0x80000304), 0},                                      /* INTO */
        {UINT64_C(0x1234567880000630), 0},                              /* a type that does not exist */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        interrupted(vcpu, VMEXIT_INTR, cases[i].intinfo);
        assert_int_equal(vcpu->vmcb->eventinj, cases[i].eventinj);
        assert_int_equal(window(vcpu), -1);
        assert_int_equal(vcpu->lapic.irr[1], 0);
        assert_int_equal(vcpu->lapic.isr[1], cases[i].intinfo == UINT64_C(0x80000030) ? 1 << 16 : 0);
        vcpu->lapic.isr[1] = 0;
    }
    interrupted(vcpu, VMEXIT_VINTR, UINT64_C(0x7fffffff));              /* not valid */
    assert_int_equal(vcpu->vmcb->eventinj, 0);
}

/* The first entry after the exit injects the #DB, whose gate closes IF. */
static void an_interrupt_is_not_lost_to_an_exception_in_its_delivery(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vlapic_accept(&vcpu->lapic, 0x30);
    interrupted(vcpu, VMEXIT_EXCEPTION_DB, UINT64_C(0x80000030));
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000301));       /* #DB first */
    assert_int_equal(window(vcpu), 3);                                  /* then as soon as can be */
    assert_false(rig_exit(vcpu, VMEXIT_VINTR, 0, 0));
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000030));
    assert_int_equal(window(vcpu), -1);
    /* #AC during the delivery of #AC: no loop inside the processor, one exit each. */
    interrupted(vcpu, VMEXIT_EXCEPTION_AC, UINT64_C(0x0000000080000b11));
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x0000000080000b11));
}

/* Between the exit and the next entry, or in the handler of an exception that came first, IF, TPR and the shadow change. */
static void a_delivery_is_done_again_only_when_the_guest_can_take_it(void **state)
{
    (void)state;
    for (unsigned why = 0; why < 4; why++) {
        struct vcpu *vcpu = interruptible(why);
        struct vmcb *vmcb = vcpu->vmcb;
        vlapic_accept(&vcpu->lapic, 0x30);
        interrupted(vcpu, VMEXIT_EXCEPTION_DB, UINT64_C(0x80000030));
        assert_int_equal(vmcb->eventinj, UINT64_C(0x80000301));
        /* Another exit in the #DB's handler. */
        vcpu->request = true;
        vmcb->exitcode = VMEXIT_CPUID;
        vmcb->exitintinfo = 0;
        vmcb->rflags = why == 0 ? 2 : IF | 2;
        if (why == 2)
            vmcb->v_intr |= 3;
        assert_false(exit_dispatch(&vcpu->run));
        if (why == 1)
            vmcb->interrupt_shadow = INTERRUPT_SHADOW;
        if (why == 3)
            vlapic_accept(&vcpu->lapic, 0x3f); /* in service, at the same priority */
        event_prepare(vcpu);
        assert_int_equal(vmcb->eventinj, 0);
        assert_int_equal(window(vcpu), why == 3 ? -1 : 3);
        assert_int_equal(vcpu->lapic.irr[1], 1 << 16);
        /* It can take it. */
        vmcb->rflags = IF | 2;
        vmcb->interrupt_shadow = 0;
        vmcb->v_intr &= ~V_TPR_MASK;
        vcpu->lapic.isr[1] = 0;
        assert_false(rig_exit(vcpu, VMEXIT_VINTR, 0, 0));
        event_prepare(vcpu);
        assert_int_equal(vmcb->eventinj, UINT64_C(0x80000030));
        assert_int_equal(vcpu->lapic.isr[1], 1 << 16);
        assert_int_equal(vcpu->lapic.irr[1], 0);
    }
}

static void an_nmi_whose_delivery_was_cut_short_comes_after_the_exception_and_once(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vcpu->nmi_pending = true;
    event_prepare(vcpu);
    assert_true(vcpu->nmi_blocked);
    interrupted(vcpu, VMEXIT_EXCEPTION_DB, UINT64_C(0x80000202));
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000301));
    assert_false(vcpu->nmi_blocked); /* else the IRET from #DB would end a block that is not its own */
    assert_int_equal(vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_IRET), 0);
    assert_true(vcpu->request); /* the next exit, whatever it is, is its time */
    vcpu->vmcb->exitcode = VMEXIT_INTR;
    vcpu->vmcb->exitintinfo = 0;
    assert_false(exit_dispatch(&vcpu->run));
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000202));
    assert_true(vcpu->nmi_blocked);
    assert_false(vcpu->request);
    assert_true(rig_exit(vcpu, VMEXIT_INTR, 0, 0));
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, 0);
}

static void a_higher_interrupt_comes_before_one_that_is_delivered_again(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    vlapic_accept(&vcpu->lapic, 0x30);
    vlapic_post(&vcpu->lapic, 0xf0);
    interrupted(vcpu, VMEXIT_INTR, UINT64_C(0x80000030));
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x800000f0));
    assert_int_equal(vcpu->lapic.irr[1], 1 << 16);
}

static void unchanged_interrupt_state_keeps_its_clean_bits(void **state)
{
    (void)state;
    struct vcpu *vcpu = interruptible(0);
    event_prepare(vcpu);
    vmcb_mark_clean(vcpu->vmcb);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->vmcb_clean, VMCB_CLEAN_ALL);
    vcpu->vmcb->rflags = 2;
    vlapic_post(&vcpu->lapic, 0x41);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->vmcb_clean, VMCB_CLEAN_ALL & ~(VMCB_CLEAN_I | VMCB_CLEAN_TPR));
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_interrupt_goes_in_when_the_guest_can_take_it),
        TEST(if_and_the_interrupt_shadow_hold_it_back_with_a_window),
        TEST(tpr_holds_it_back_until_cr8_falls),
        TEST(a_halted_guest_that_lowered_cr8_wakes),
        TEST(what_is_in_service_holds_lower_ones_back_without_a_window),
        TEST(an_exception_goes_first_and_the_interrupt_gets_a_window),
        TEST(a_delivery_that_was_cut_short_is_done_again),
        TEST(an_interrupt_is_not_lost_to_an_exception_in_its_delivery),
        TEST(a_higher_interrupt_comes_before_one_that_is_delivered_again),
        TEST(a_delivery_is_done_again_only_when_the_guest_can_take_it),
        TEST(an_nmi_whose_delivery_was_cut_short_comes_after_the_exception_and_once),
        TEST(unchanged_interrupt_state_keeps_its_clean_bits),
        TEST(what_was_prepared_and_not_delivered_is_not_lost),
        TEST(an_nmi_needs_no_if_and_the_next_waits_for_iret),
        TEST(after_the_iret_an_nmi_waits_for_nothing),
        TEST(what_was_decided_and_blocked_elsewhere_stays_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
