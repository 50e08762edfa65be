/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Between the vCPUs of a guest: interrupts, NMI, INIT, startup (APM2 16.5, 14.1.3). */
#include "with_cmocka.h"

#include <string.h>

#include "hv/vm/event.h"
#include "rig.h"

#define VCPUS 3u
#define ICR(destination, low) ((uint64_t)(destination) << 32 | (low))
#define FIXED 0x4000u
#define LOWEST 0x4100u
#define NMI 0x4400u
#define INIT 0x4500u
#define INIT_DEASSERT 0x8500u
#define STARTUP 0x4600u
#define LOGICAL 0x800u
#define SELF 0x40000u
#define ALL 0x80000u
#define OTHERS 0xc0000u

static struct vcpu *vcpus[VCPUS];

static void three_vcpus(void)
{
    vcpus[0] = rig_guest(0, false);
    rig_config[0].vcpus = VCPUS;
    for (uint32_t i = 1; i < VCPUS; i++) {
        assert_true(vcpu_create(&guests[0], i, &rig_registers, &guests[0].vcpus[i]));
        vcpus[i] = guests[0].vcpus[i];
        vcpus[i]->cpu = &rig_cpu;
        assert_int_equal(vcpus[i]->state, VCPU_WAIT_SIPI);
    }
}

static void post_only(uint32_t from, uint64_t icr)
{
    vcpus[from]->run.gprs.rcx = 0x830;
    vcpus[from]->run.gprs.rdx = icr >> 32;
    vcpus[from]->vmcb->rax = (uint32_t)icr;
    rig_exit(vcpus[from], VMEXIT_MSR, 1, 0);
}

static void send(uint32_t from, uint64_t icr)
{
    post_only(from, icr);
    for (uint32_t i = 0; i < VCPUS; i++)
        ipi_take(vcpus[i]);
}

/* Which vCPUs have the vector in IRR, as a mask; and forgets it. */
static unsigned got(uint8_t vector)
{
    unsigned mask = 0;
    for (uint32_t i = 0; i < VCPUS; i++) {
        uint32_t *irr = &vcpus[i]->lapic.irr[vector / 32];
        mask |= (*irr >> vector % 32 & 1) << i;
        *irr &= ~(1u << vector % 32);
    }
    return mask;
}

static void start(uint32_t i)
{
    send(0, ICR(i, INIT));
    send(0, ICR(i, STARTUP | 0x9a));
    vcpus[i]->lapic.svr |= 0x100;
}

static void startup_begins_in_real_mode_at_its_page(void **state)
{
    (void)state;
    three_vcpus();
    send(0, ICR(1, STARTUP | 0x9a));
    struct vmcb *vmcb = vcpus[1]->vmcb;
    assert_int_equal(vcpus[1]->state, VCPU_RUNNABLE);
    assert_int_equal(vcpus[2]->state, VCPU_WAIT_SIPI);
    assert_int_equal(vmcb->cs.selector, 0x9a00);
    assert_int_equal(vmcb->cs.base, 0x9a000);
    assert_int_equal(vmcb->rip, 0);
    assert_int_equal(vmcb->cr0, 0x10);
    assert_int_equal(vmcb->efer, EFER_SVME);
    assert_int_equal(vmcb->rflags, 2);
    assert_int_equal(vmcb->tsc_offset, vcpus[0]->vmcb->tsc_offset);
    assert_int_equal(vcpus[1]->lapic.id, 1);
    assert_int_equal(vcpus[1]->lapic.svr & 0x100, 0);
    send(0, ICR(1, STARTUP | 0x55));        /* it runs already: ignored */
    assert_int_equal(vmcb->cs.selector, 0x9a00);
}

static void init_stops_a_vcpu_whatever_it_does(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    vcpus[1]->vmcb->cr0 = 0x80050033;
    vcpus[1]->vmcb->efer |= EFER_LMA;
    vcpus[1]->run.gprs.rbx = 7;
    vcpus[1]->exception = vmcb_event(EVENT_TYPE_EXCEPTION, 6);
    vlapic_post(&vcpus[1]->lapic, 0x41);
    send(0, ICR(1, INIT_DEASSERT));         /* of old: means nothing */
    assert_int_equal(vcpus[1]->state, VCPU_RUNNABLE);
    send(2, ICR(1, INIT));
    assert_int_equal(vcpus[1]->state, VCPU_WAIT_SIPI);
    assert_int_equal(vcpus[1]->vmcb->cr0, 0x10);
    assert_int_equal(vcpus[1]->vmcb->efer, EFER_SVME);
    assert_int_equal(vcpus[1]->run.gprs.rbx, 0);
    assert_int_equal(vcpus[1]->exception, 0);
    assert_int_equal(got(0x41), 0);
    send(0, ICR(1, STARTUP | 0x10));
    assert_int_equal(vcpus[1]->vmcb->cs.base, 0x10000);
}

/* The run loop prepares an event, and may look around once more before it enters. */
static void what_was_to_be_injected_and_what_was_translated_ends_with_init(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    rig_cpu.features.flush_by_asid = true;
    vcpus[1]->vmcb->rflags = RFLAGS_IF | 2;
    vlapic_post(&vcpus[1]->lapic, 0x41);
    event_prepare(vcpus[1]);
    vmcb_set_tlb_control(vcpus[1]->vmcb, TLB_CONTROL_NONE);
    assert_int_equal(vcpus[1]->vmcb->eventinj, UINT64_C(0x80000041));
    start(1);                               /* without a look at it in between */
    event_prepare(vcpus[1]);
    assert_int_equal(vcpus[1]->vmcb->eventinj, 0);
    assert_int_equal(vcpus[1]->vmcb->tlb_control, TLB_CONTROL_FLUSH_ASID);
}

/* APM2 14.1.3: DR0-3 and CR2 are 0 after it, DR6 and DR7 as after a reset, and an NMI is not held back for the IRET of one from
 * before. */
static void init_leaves_no_fault_address_breakpoint_or_nmi_behind(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    send(0, ICR(1, NMI));
    event_prepare(vcpus[1]);
    assert_true((vcpus[1]->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_IRET)) != 0);
    event_iret(vcpus[1]); /* about to end */
    send(0, ICR(1, NMI));
    event_prepare(vcpus[1]);
    vcpus[1]->nmi_blocked = true;
    vcpus[1]->vmcb->intercept_misc1 |= INTERCEPT(VMEXIT_IRET);
    vcpus[1]->vmcb->cr2 = UINT64_C(0xffff800000001000);
    vcpus[1]->vmcb->dr6 = 0xffff4ff1;
    vcpus[1]->vmcb->dr7 = 0x26ff; /* GD, too */
    for (unsigned i = 0; i < 4; i++)
        vcpus[1]->switched.dr[i] = i + 1;
    vmcb_mark_clean(vcpus[1]->vmcb);
    send(0, ICR(1, INIT));
    assert_int_equal(vcpus[1]->vmcb->cr2, 0);
    assert_int_equal(vcpus[1]->vmcb->vmcb_clean & (VMCB_CLEAN_CR2 | VMCB_CLEAN_DRX), 0);
    assert_int_equal(vcpus[1]->vmcb->dr6, 0xffff0ff0);
    assert_int_equal(vcpus[1]->vmcb->dr7, 0x400);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(vcpus[1]->switched.dr[i], 0);
    assert_int_equal(vcpus[1]->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_IRET), 0);
    assert_true(vcpus[1]->nmi_iret_rip == NMI_NO_IRET);
    assert_true(event_nmi_possible(vcpus[1]));
}

static void init_to_the_boot_vcpu_ends_the_guest(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    send(1, ICR(0, INIT));
    assert_int_equal(guests[0].end, GUEST_END_RESET);
}

static void halt_deaf(uint32_t i)
{
    vcpus[i]->vmcb->exitcode = VMEXIT_HLT;
    vcpus[i]->vmcb->rflags = 2;
    assert_false(exit_dispatch(&vcpus[i]->run));
}

static void sleep_deaf(uint32_t i)
{
    halt_deaf(i);
    vcpu_poll(vcpus[i], rig_tsc);
    assert_int_equal(vcpus[i]->state, VCPU_HALTED);
}

static void a_guest_ends_when_none_of_its_vcpus_can_wake_another(void **state)
{
    (void)state;
    three_vcpus();
    for (uint32_t i = 1; i < VCPUS; i++)
        vcpu_poll(vcpus[i], rig_tsc); /* one of them waits for its startup to the end */
    start(1);
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    sleep_deaf(1);
    post_only(0, ICR(1, NMI)); /* which is on its way when the sender goes to sleep */
    sleep_deaf(0);
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    vcpu_poll(vcpus[1], rig_tsc);
    assert_int_equal(vcpus[1]->state, VCPU_RUNNABLE);
    event_prepare(vcpus[1]);
    event_iret(vcpus[1]);
    vcpus[1]->vmcb->rip++;
    post_only(1, ICR(0, FIXED | 0x41)); /* does not wake who has interrupts off; he sees to it that that is noticed */
    sleep_deaf(1);
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    vcpu_poll(vcpus[0], rig_tsc);
    assert_int_equal(vcpus[0]->state, VCPU_HALTED);
    assert_int_equal(guests[0].end, GUEST_END_CRASH);
    assert_non_null(strstr(guests[0].end_reason, "any of its 3 vCPUs"));
    assert_non_null(strstr(guests[0].end_reason, "vCPU 0, the last"));
}

static void nor_does_it_end_while_one_hears_interrupts(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    start(2);
    for (uint32_t i = 0; i < 2; i++)
        sleep_deaf(i);
    rig_exit(vcpus[2], VMEXIT_HLT, 0, 0);
    vcpu_poll(vcpus[2], rig_tsc);
    assert_int_equal(vcpus[2]->state, VCPU_HALTED);
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    post_only(2, ICR(2, INIT));
    vcpu_poll(vcpus[2], rig_tsc);
    assert_int_equal(guests[0].end, GUEST_END_CRASH);
}

static void destinations(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    start(2);
    static const struct {
        uint64_t icr;
        unsigned to;
    } cases[] = {
        {ICR(1, FIXED | 0x41), 1 << 1},
        {ICR(2, FIXED | 0x41), 1 << 2},
        {ICR(0, FIXED | 0x41), 1 << 0},
        {ICR(9, FIXED | 0x41), 0},
        {ICR(UINT32_MAX, FIXED | 0x41), 7},
        {ICR(0x6, FIXED | LOGICAL | 0x41), 1 << 1 | 1 << 2},
        {ICR(0x10001, FIXED | LOGICAL | 0x41), 0},
        {ICR(UINT32_MAX, FIXED | LOGICAL | 0x41), 7},
        {ICR(0x6, LOWEST | LOGICAL | 0x41), 1 << 1},
        {ICR(UINT32_MAX, LOWEST | LOGICAL | 0x41), 1 << 0}, /* one alone */
        {ICR(0x4, LOWEST | LOGICAL | 0x41), 1 << 2},
        {ICR(0, LOWEST | OTHERS | 0x41), 1 << 1},
        {ICR(0, FIXED | SELF | 0x41), 1 << 0},
        {ICR(0, FIXED | ALL | 0x41), 7},
        {ICR(0, FIXED | OTHERS | 0x41), 6},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        send(0, cases[i].icr);
        assert_int_equal(got(0x41), cases[i].to);
    }
}

/* INIT resets its APIC, which another CPU may look at in the middle of that. */
static void a_vcpu_has_its_address_while_its_apic_is_reset(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    vcpus[1]->lapic.id = 0;
    send(0, ICR(0, FIXED | 0x41));
    assert_int_equal(got(0x41), 1 << 0);
    send(0, ICR(1, FIXED | 0x41));
    assert_int_equal(got(0x41), 1 << 1);
}

static void what_is_sent_wakes_and_asks_the_cpu_to_look(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    vcpus[1]->state = VCPU_HALTED;
    vcpus[1]->vmcb->rflags = RFLAGS_IF | 2;
    rig_cpu.timer_fired = false;
    vcpus[0]->run.gprs.rcx = 0x830;
    vcpus[0]->run.gprs.rdx = 1;
    vcpus[0]->vmcb->rax = FIXED | 0x41;
    rig_exit(vcpus[0], VMEXIT_MSR, 1, 0);
    assert_true(rig_cpu.timer_fired);
    assert_int_equal(vcpus[1]->state, VCPU_HALTED); /* its own CPU wakes it, when it looks */
    vcpu_poll(vcpus[1], rig_tsc);
    assert_int_equal(vcpus[1]->state, VCPU_RUNNABLE);
}

/* Whether a message to vCPU 1 asks its CPU to look around. */
static bool kicks(uint32_t message)
{
    rig_cpu.timer_fired = false;
    ipi_send(vcpus[0], ICR(1, message));
    return rig_cpu.timer_fired;
}

/* The look around that a kick asks for, while `running` has the CPU. */
static void look(struct vcpu *running)
{
    bool preempt;
    rig_cpu.timer_fired = false;
    if (running == NULL)
        rig_cpu.slices++;
    sched_poll(&rig_cpu, running, rig_tsc, &preempt);
}

static void a_cpu_is_not_asked_again_for_a_vcpu_that_does_not_hear(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    struct vcpu *worker = rig_guest(1, false);
    vcpus[1]->queued = true;
    vcpus[1]->state = VCPU_HALTED;
    vcpus[1]->vmcb->rflags = 2;
    look(NULL);
    assert_true(kicks(FIXED | 0x41));
    look(worker);
    assert_int_equal(vcpus[1]->state, VCPU_HALTED);
    assert_false(kicks(FIXED | 0x42));
    look(NULL); /* the slice is over, or there is nobody else */
    assert_int_equal(vcpus[1]->lapic.irr[2], 6);
    assert_true(kicks(NMI));
    look(worker);
    assert_int_equal(vcpus[1]->state, VCPU_RUNNABLE);
    assert_false(kicks(NMI)); /* it waits for its turn, and looks when that comes */
}

/* INIT to one that waits for its turn, and is not kicked for; and then, with nobody else to run, its startup. */
static void one_that_was_waiting_for_its_turn_hears_its_startup(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    vcpus[1]->queued = true;
    sched_put_back(&rig_cpu, vcpus[1], UINT64_MAX);
    assert_false(kicks(INIT));
    look(NULL);
    assert_int_equal(vcpus[1]->state, VCPU_WAIT_SIPI);
    assert_null(rig_cpu.ready);
    assert_true(kicks(STARTUP | 0x10));
    look(NULL);
    assert_int_equal(vcpus[1]->state, VCPU_RUNNABLE);
    assert_ptr_equal(rig_cpu.ready, &vcpus[1]->ready);
}

static void nmis_reach_others_and_the_sender(void **state)
{
    (void)state;
    three_vcpus();
    start(1);
    send(0, ICR(1, NMI));
    assert_true(vcpus[1]->nmi_pending);
    assert_false(vcpus[0]->nmi_pending || vcpus[2]->nmi_pending);
    send(0, ICR(0, NMI));
    assert_true(vcpus[0]->nmi_pending);
    send(0, ICR(2, NMI)); /* waits for its startup: not for it */
    assert_false(vcpus[2]->nmi_pending);
    vcpus[1]->state = VCPU_HALTED;
    vcpus[1]->vmcb->rflags = 2;
    vcpu_poll(vcpus[1], rig_tsc);
    assert_int_equal(vcpus[1]->state, VCPU_RUNNABLE);
    event_prepare(vcpus[1]);
    sleep_deaf(1); /* in the first one's handler: the next has to wait */
    post_only(0, ICR(1, NMI));
    vcpu_poll(vcpus[1], rig_tsc);
    assert_int_equal(vcpus[1]->state, VCPU_HALTED);
    vcpus[1]->vmcb->rflags |= RFLAGS_IF;
    send(0, ICR(1, FIXED | 0x41));
    vcpu_poll(vcpus[1], rig_tsc);
    assert_int_equal(vcpus[1]->state, VCPU_RUNNABLE);
    event_iret(vcpus[1]); /* whose IRET goes to the HLT that stands before it */
    vcpus[1]->vmcb->nrip = 0;
    vcpus[1]->vmcb->rip--;
    halt_deaf(1);
    vcpu_poll(vcpus[1], rig_tsc);
    assert_int_equal(vcpus[1]->state, VCPU_RUNNABLE);
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(startup_begins_in_real_mode_at_its_page),
        TEST(init_stops_a_vcpu_whatever_it_does),
        TEST(what_was_to_be_injected_and_what_was_translated_ends_with_init),
        TEST(init_leaves_no_fault_address_breakpoint_or_nmi_behind),
        TEST(init_to_the_boot_vcpu_ends_the_guest),
        TEST(a_guest_ends_when_none_of_its_vcpus_can_wake_another),
        TEST(nor_does_it_end_while_one_hears_interrupts),
        TEST(destinations),
        TEST(a_vcpu_has_its_address_while_its_apic_is_reset),
        TEST(what_is_sent_wakes_and_asks_the_cpu_to_look),
        TEST(a_cpu_is_not_asked_again_for_a_vcpu_that_does_not_hear),
        TEST(nmis_reach_others_and_the_sender),
        TEST(one_that_was_waiting_for_its_turn_hears_its_startup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
