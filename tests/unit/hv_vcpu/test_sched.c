/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Several guests on one CPU, scripted: what each does until its next exit. */
#include "with_cmocka.h"

#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/vm/event.h"
#include "hv/vm/fair.h"
#include "hv/vm/ipi.h"
#include "hv/vm/sched.h"
#include "rig.h"

#define MS (RIG_HZ / 1000)

enum script { SPIN, SLEEP, STORM, NAP, LATE };
static enum script scripts[GUEST_MAX];
static uint64_t ran[GUEST_MAX];         /* time spent in guest mode */
static unsigned wakes[GUEST_MAX];
static uint64_t slept_until[GUEST_MAX], latest[GUEST_MAX], work[GUEST_MAX];
static uint64_t end_of_test;
static uint64_t last_run[GUEST_MAX], longest_wait[GUEST_MAX];
static uint64_t stall_at;               /* the machine stands still once, for 15 seconds */

/* As the scheduler calls it. */
static unsigned polls;
uint64_t __real_vcpu_poll(struct vcpu *vcpu, uint64_t now);
uint64_t __wrap_vcpu_poll(struct vcpu *vcpu, uint64_t now);
uint64_t __wrap_vcpu_poll(struct vcpu *vcpu, uint64_t now)
{
    polls++;
    return __real_vcpu_poll(vcpu, now);
}

static void run(uint32_t index, uint64_t tsc)
{
    if (rig_tsc - last_run[index] > longest_wait[index])
        longest_wait[index] = rig_tsc - last_run[index];
    ran[index] += tsc;
    rig_time(tsc);
    last_run[index] = rig_tsc;
}

static void write_msr(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    vcpu->run.gprs.rcx = msr;
    vcpu->run.gprs.rdx = value >> 32;
    vcpu->vmcb->rax = (uint32_t)value;
    vcpu->vmcb->exitcode = VMEXIT_MSR;
    vcpu->vmcb->exitinfo1 = 1;
}

/* A guest that sleeps by TSC deadline: set-up, deadline, HLT, interrupt, EOI, and again. */
static void sleeper(struct vcpu *vcpu, uint32_t index, uint64_t nap)
{
    static unsigned step[GUEST_MAX];
    uint64_t now;
    if (vcpu->lapic.lvt[VLAPIC_LVT_TIMER] != 0x400ec) {
        step[index] = 0;
        write_msr(vcpu, 0x832, 0x400ec);
        return;
    }
    switch (step[index]++) {
    case 0:
        now = vcpu_guest_tsc(vcpu, rig_tsc);
        slept_until[index] = rig_tsc + nap;
        write_msr(vcpu, 0x6e0, now + nap);
        break;
    case 1:
        vcpu->vmcb->exitcode = VMEXIT_HLT;
        break;
    case 2:
        assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x800000ec));
        assert_true(rig_tsc >= slept_until[index]);
        if (rig_tsc - slept_until[index] > latest[index])
            latest[index] = rig_tsc - slept_until[index];
        wakes[index]++;
        run(index, work[index]);
        write_msr(vcpu, 0x80b, 0);
        step[index] = 0;
        break;
    }
}

static void vmrun(struct vcpu *vcpu)
{
    uint32_t index = vcpu->guest->index;
    vcpu->vmcb->exitintinfo = 0;
    vcpu->vmcb->rflags = RFLAGS_IF | 2;
    if (rig_tsc > end_of_test) {
        vcpu->vmcb->exitcode = VMEXIT_SHUTDOWN;
        return;
    }
    switch (scripts[index]) {
    case LATE:          /* sleeps for a second, then never again */
        if (wakes[index] == 0) {
            sleeper(vcpu, index, 1000 * MS);
            break;
        }
        /* fall through */
    case SPIN:          /* until the host's timer */
        assert_true(rig_cpu.timer_tsc != UINT64_MAX);
        if (stall_at != 0 && rig_tsc >= stall_at) {
            stall_at = 0;
            rig_time(RIG_STALL);
            for (uint32_t i = 0; i < GUEST_MAX; i++)
                last_run[i] = rig_tsc;
            vcpu->vmcb->exitcode = VMEXIT_INTR;
            break;
        }
        run(index, rig_cpu.timer_tsc > rig_tsc ? rig_cpu.timer_tsc - rig_tsc : 1);
        vcpu->vmcb->exitcode = VMEXIT_INTR;
        break;
    case STORM:         /* nothing but exits */
        run(index, 200);
        vcpu->vmcb->exitcode = VMEXIT_CPUID;
        break;
    case SLEEP:
        sleeper(vcpu, index, 3 * MS);
        break;
    case NAP:
        sleeper(vcpu, index, 10000);
        break;
    }
}

static void go(uint64_t ms, uint32_t count, ...)
{
    va_list list;
    va_start(list, count);
    for (uint32_t i = 0; i < count; i++) {
        scripts[i] = (enum script)va_arg(list, int);
        ran[i] = wakes[i] = latest[i] = longest_wait[i] = 0;
        last_run[i] = rig_tsc;
        if (work[i] == 0)
            work[i] = 1000;
        rig_schedule(rig_guest(i, false));
    }
    va_end(list);
    end_of_test = rig_tsc + ms * MS;
    rig_vmrun = vmrun;
    loop_run(&rig_cpu);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(guests[i].state, GUEST_ENDED);
    assert_null(rig_cpu.run_queue);
    assert_null(rig_cpu.current);
    assert_int_equal(rig_pages_taken(), 9);       /* all vCPUs gone */
}

static void assert_share(uint32_t index, uint64_t ms, unsigned percent, unsigned tolerance)
{
    uint64_t share = ran[index] * 100 / (ms * MS);
    assert_in_range(share, percent - tolerance, percent + tolerance);
}

/* The loop without jobs and operator, for about a slice. */
static void some_slices(void)
{
    uint64_t start = rig_tsc, next;
    fair_charge_nobody(&rig_cpu);
    while (rig_tsc - start < fair_slice_tsc() && run_round(&rig_cpu, fair_slice_tsc(), &next))
        ;
}

static void spinning_guests_share_alike(void **state)
{
    (void)state;
    go(3000, 3, SPIN, SPIN, SPIN);
    for (uint32_t i = 0; i < 3; i++)
        assert_share(i, 3000, 33, 1);
    assert_in_range(rig_arms, 280, 350);        /* 10 ms slices */
}

/* A receiver of 16 bytes is full in 1.4 ms; who runs meanwhile keeps his slice. */
/* Its guest ended when it was on no queue yet, and the CPU has looked who ends before it took it from there. */
static uint32_t still_queued;
static void beside_who_ended(struct vcpu *vcpu)
{
    assert_ptr_equal(vcpu->guest, &guests[0]);
    still_queued = guests[1].vcpus_queued;
    vmrun(vcpu);
}

static void who_ended_on_the_way_to_its_queue_leaves_it_without_a_turn(void **state)
{
    (void)state;
    rig_schedule(rig_guest(1, false));
    guests[1].end = GUEST_END_DESTROYED;
    rig_cpu.guest_stops = false;
    scripts[0] = SPIN;
    last_run[0] = rig_tsc;
    rig_schedule(rig_guest(0, false));
    end_of_test = rig_tsc + 50 * MS;
    still_queued = 1;
    rig_vmrun = beside_who_ended;
    loop_run(&rig_cpu);
    assert_int_equal(still_queued, 0);
    assert_int_equal(guests[1].state, GUEST_ENDED);
}

static void the_operators_line_is_looked_at_while_guests_run(void **state)
{
    (void)state;
    rig_line_us = 1000;
    rig_count_drains();
    go(3000, 2, SPIN, SPIN);
    rig_line_us = 10000;
    assert_in_range(rig_count_drains(), 2600, 3000);
    for (uint32_t i = 0; i < 2; i++)
        assert_share(i, 3000, 50, 1);
    assert_in_range(rig_arms, 2900, 3400);
    rig_cpu.line_tsc = 0;
    go(3000, 2, SPIN, SPIN);
    assert_int_equal(rig_count_drains(), 0);
}

static void a_storm_of_exits_gets_no_more_than_its_share(void **state)
{
    (void)state;
    go(1000, 2, SPIN, STORM);
    assert_share(0, 1000, 50, 2);
}

static void a_sleeper_wakes_in_time_beside_spinning_guests(void **state)
{
    (void)state;
    go(3000, 3, SPIN, SLEEP, SPIN);
    assert_in_range(wakes[1], 980, 1000);
    assert_true(latest[1] < MS / 10);
    assert_share(0, 3000, 50, 2);
    assert_share(2, 3000, 50, 2);
}

static void who_sleeps_a_little_gets_no_more_than_who_never_does(void **state)
{
    (void)state;
    work[1] = 9 * MS;           /* nearly a whole slice, then a nap of 10 microseconds */
    go(4000, 2, SPIN, NAP);
    assert_share(0, 4000, 50, 3);
    work[1] = 0;
}

static void nobody_saves_up_time_by_sleeping(void **state)
{
    (void)state;
    go(2000, 2, SPIN, LATE);
    assert_in_range(longest_wait[0], 9 * MS, 25 * MS);      /* two slices at the most */
    assert_share(0, 2000, 75, 2);
}

static void started_after_a_second(struct vcpu *vcpu)
{
    struct vcpu *second = guests[1].vcpus[1];
    if (vcpu == guests[1].vcpus[0] && rig_tsc <= end_of_test) {
        vcpu->vmcb->exitcode = VMEXIT_HLT;
        vcpu->vmcb->rflags = RFLAGS_IF | 2;
        vcpu->vmcb->exitintinfo = 0;
        return;
    }
    if (rig_tsc > 1000 * MS && second != NULL && second->state == VCPU_WAIT_SIPI)
        ipi_send(guests[1].vcpus[0], UINT64_C(1) << 32 | 0x4610);
    vmrun(vcpu);
}

static void nor_by_waiting_for_its_startup(void **state)
{
    (void)state;
    scripts[0] = scripts[1] = SPIN;
    ran[0] = ran[1] = longest_wait[0] = 0;
    last_run[0] = last_run[1] = rig_tsc;
    rig_schedule(rig_guest(0, false));
    rig_schedule(rig_guest(1, false));
    rig_config[1].vcpus = 2;
    assert_true(vcpu_create(&guests[1], 1, &rig_registers, &guests[1].vcpus[1]));
    rig_schedule(guests[1].vcpus[1]);
    end_of_test = rig_tsc + 2000 * MS;
    rig_vmrun = started_after_a_second;
    loop_run(&rig_cpu);
    assert_in_range(longest_wait[0], 9 * MS, 25 * MS);
    assert_share(0, 2000, 75, 2);
}

static void with_all_asleep_the_cpu_halts_and_nobody_is_late(void **state)
{
    (void)state;
    go(1000, 2, SLEEP, SLEEP);
    assert_in_range(wakes[0], 325, 334);
    assert_in_range(wakes[1], 325, 334);
    assert_true(latest[0] < MS / 10 && latest[1] < MS / 10);
    assert_true(rig_halts > 300);
    assert_true(rig_halted_tsc > 900 * MS);
}

static void forever_asleep(struct vcpu *vcpu)
{
    vcpu->vmcb->exitcode = VMEXIT_HLT;
    vcpu->vmcb->rflags = RFLAGS_IF | 2;
    vcpu->vmcb->exitintinfo = 0;
    if (rig_tsc > end_of_test)
        vcpu->vmcb->exitcode = VMEXIT_SHUTDOWN;
}

static void the_operator_is_heard_while_all_sleep(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    rig_schedule(vcpu);
    rig_vmrun = forever_asleep;
    end_of_test = UINT64_MAX;
    uint64_t start = rig_tsc;
    /* Somebody has to end it: the "monitor", by the 50th HLT. */
    while (rig_halts < 50 && guests[0].end == GUEST_END_NONE) {
        bool preempt;
        if (vcpu->state == VCPU_RUNNABLE)
            run_vcpu(vcpu);
        assert_int_equal(sched_poll(&rig_cpu, NULL, rig_tsc, &preempt), UINT64_MAX);
        lapic_timer_arm(rig_tsc + 10 * MS);
        cli();
        sti_hlt();
    }
    assert_true(rig_tsc - start < 600 * MS);
    guest_end(&guests[0], GUEST_END_DESTROYED, "by the operator");
    fair_wake(vcpu);
    loop_run(&rig_cpu);
    assert_int_equal(guests[0].state, GUEST_ENDED);
}

static unsigned entries;
static void check_first_entry(struct vcpu *vcpu)
{
    if (entries++ == 0) {
        assert_int_equal(vcpu->vmcb->tlb_control, rig_cpu.features.flush_by_asid ? 3 : 1);
        assert_int_equal(vcpu->vmcb->vmcb_clean, 0);
    } else {
        assert_int_equal(vcpu->vmcb->tlb_control, 0);
    }
    vcpu->vmcb->exitcode = entries < 5 ? VMEXIT_CPUID : VMEXIT_SHUTDOWN;
    vcpu->vmcb->exitintinfo = 0;
}

static void the_first_entry_on_a_cpu_flushes_its_tlb_and_trusts_no_clean_bit(void **state)
{
    (void)state;
    for (int by_asid = 0; by_asid < 2; by_asid++) {
        (void)rig_reset(NULL);
        entries = 0;
        rig_cpu.features.flush_by_asid = by_asid;
        struct vcpu *vcpu = rig_guest(0, false);
        struct cpu elsewhere = {0};
        vcpu->last_cpu = by_asid ? &elsewhere : NULL;       /* it comes from another CPU, or from nowhere */
        vmcb_mark_clean(vcpu->vmcb);
        rig_schedule(vcpu);
        rig_vmrun = check_first_entry;
        loop_run(&rig_cpu);
        assert_int_equal(entries, 5);
    }
}

static void who_sleeps_and_wakes_all_the_time_pays_for_it(void **state)
{
    (void)state;
    rig_poll_cost = 20000;              /* twice in each 10 us of sleep */
    go(1000, 3, SPIN, SPIN, NAP);
    rig_poll_cost = 0;
    /* Two thirds are left to the others, whatever the third makes the host do. */
    assert_share(0, 1000, 32, 3);
    assert_share(1, 1000, 32, 3);
    assert_true(wakes[2] > 1000);
}

/* ---- jobs ---- */

static unsigned pieces, looks;
static uint64_t waits_until;

static void all_end(void)
{
    rig_job = NULL;
    for (unsigned i = 0; i < GUEST_MAX; i++)
        if (guests[i].state == GUEST_RUNNING)
            guest_end(&guests[i], GUEST_END_DESTROYED, "over");
}

static enum job_verdict working(void)
{
    rig_time(2 * MS);
    if (--pieces == 0)
        all_end();
    return JOB_MOVED;
}

/* One command, sent in the first step. */
static enum job_verdict waiting(void)
{
    rig_time(1000);
    if (looks++ == 0)
        return JOB_MOVED;
    if (rig_tsc < waits_until)
        return JOB_WAITS;
    all_end();
    return JOB_MOVED;
}

static void spinner_and_sleeper(void)
{
    scripts[0] = SPIN;
    scripts[1] = SLEEP;
    work[1] = 1000;
    rig_schedule(rig_guest(0, false));
    rig_schedule(rig_guest(1, false));
    rig_vmrun = vmrun;
    end_of_test = UINT64_MAX;
    last_run[0] = rig_tsc;
    ran[0] = wakes[1] = longest_wait[0] = 0;
    looks = 0;
}

static uint64_t paid[2];
static enum job_verdict working_beside_payers(void)
{
    for (unsigned i = 0; i < 2; i++)
        paid[i] = guests[i].vcpus[0]->run_tsc;
    return working();
}

/* Launches and ends of others are work of this CPU's own, in pieces, and no vCPU pays for it. */
static void guests_go_on_while_jobs_have_work(void **state)
{
    (void)state;
    spinner_and_sleeper();
    pieces = 500;               /* of 2 ms: one second */
    rig_job = working_beside_payers;
    loop_run(&rig_cpu);
    assert_share(0, 1000, 100, 15);                     /* as much is the guests' */
    assert_in_range(paid[0], ran[0] - 20 * MS, ran[0] + 20 * MS);
    assert_true(paid[1] < 20 * MS);                     /* who wakes up first after a piece */
    assert_true(longest_wait[0] < 25 * MS);
    assert_true(wakes[1] >= 90);
    assert_int_equal(rig_pages_taken(), 9);
}

static void a_job_that_waits_leaves_all_the_time_to_guests(void **state)
{
    (void)state;
    spinner_and_sleeper();
    uint64_t start = rig_tsc;
    waits_until = start + 30000 * MS;                   /* a command that hangs until its deadline */
    rig_job = waiting;
    loop_run(&rig_cpu);
    assert_in_range(ran[0], 98 * (rig_tsc - start) / 100, rig_tsc - start);
    assert_true(longest_wait[0] < 15 * MS);
    assert_in_range(wakes[1], 9000, 10000);             /* one each 3 ms */
    assert_true(rig_tsc - waits_until < 12 * MS);       /* and its answer is seen a slice later */

    (void)rig_reset(NULL);
    spinner_and_sleeper();
    start = rig_tsc;
    waits_until = start + 5 * MS;
    rig_job = waiting;
    loop_run(&rig_cpu);
    assert_true(rig_tsc - waits_until < MS / 2);        /* that of a short one soon */
}

/* Without a vCPU that could run: no sleep with work to do; and between looks it does sleep. */
static void a_cpu_without_vcpus_works_at_once_and_sleeps_between_looks(void **state)
{
    (void)state;
    pieces = 500;
    rig_job = working;
    uint64_t start = rig_tsc;
    loop_run(&rig_cpu);
    assert_int_equal(rig_halts, 0);
    assert_in_range(rig_tsc - start, 1000 * MS, 1010 * MS);

    (void)rig_reset(NULL);
    looks = 0;
    start = rig_tsc;
    waits_until = start + 20 * MS;
    rig_job = waiting;
    loop_run(&rig_cpu);
    assert_true(rig_tsc - waits_until < 3 * MS);
    assert_in_range(rig_halts, 10, 80);
    assert_in_range(rig_halted_tsc, 15 * MS, 23 * MS);
}

/* The operator's keys: between any two slices of work. */
static void the_operator_is_heard_while_jobs_have_work(void **state)
{
    (void)state;
    pieces = 500;
    rig_job = working;
    rig_polls = 0;
    rig_count_drains();
    loop_run(&rig_cpu);
    assert_in_range(rig_polls, 95, 120);
    assert_true(rig_count_drains() >= 500);                 /* nothing that comes in is lost */
}

static void a_stall_of_the_machine_is_nobodys_time(void **state)
{
    (void)state;
    uint64_t start = rig_tsc;
    stall_at = start + 1000 * MS;
    go(18000, 3, SPIN, SPIN, SLEEP);
    assert_int_equal(stall_at, 0);
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(longest_wait[i] < 25 * MS);         /* two slices at the most */
        assert_share(i, 3000, 50, 2);
    }
    assert_in_range(wakes[2], 980, 1000);
}

static void nor_that_of_the_one_that_fell_asleep_before(void **state)
{
    (void)state;
    uint64_t start = rig_tsc;
    rig_stall_at = start + 1000 * MS;
    go(25000, 2, SPIN, SLEEP);
    assert_int_equal(rig_stall_at, 0);
    assert_in_range(wakes[1], 3200, 3334);      /* of 10 s that were not stall, one each 3 ms */
}

/* ---- who sleeps and does not hear its timer ---- */

enum deafness { TPR, ISR, IF_CLEAR, ILLEGAL, ILLEGAL_TPR, DISABLED, NMI_BLOCKED, DEAFNESSES };

static void set_lapic(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    assert_true(vlapic_write(&vcpu->lapic, msr, vcpu_guest_tsc(vcpu, rig_tsc), value, &vcpu->ipi));
}

/* A periodic timer as fast as there can be one. */
static void make_deaf(struct vcpu *vcpu, enum deafness why)
{
    set_lapic(vcpu, 0x832, 0x20000 | (why == ILLEGAL || why == ILLEGAL_TPR ? 7 : 0x60));
    set_lapic(vcpu, 0x83e, 0xb);
    set_lapic(vcpu, 0x838, 1);
    vcpu->vmcb->rflags = RFLAGS_IF | 2;
    switch (why) {
    case TPR:
        vmcb_set_v_intr(vcpu->vmcb, vcpu->vmcb->v_intr | 6);    /* the vector's own class is enough */
        break;
    case ISR:
        vlapic_accept(&vcpu->lapic, 0x6f);
        break;
    case IF_CLEAR:
    case NMI_BLOCKED:
        vcpu->vmcb->rflags = 2;
        vcpu->awaits_ipi = true;          /* another vCPU could wake it */
        vcpu->nmi_pending = vcpu->nmi_blocked = why == NMI_BLOCKED;
        break;
    case ILLEGAL_TPR:
        set_lapic(vcpu, 0x837, 0x50);
        vmcb_set_v_intr(vcpu->vmcb, vcpu->vmcb->v_intr | 6);
        break;
    case DISABLED:
        set_lapic(vcpu, 0x80f, 0xff);
        break;
    default:
        break;
    }
    vcpu->state = VCPU_HALTED;
}

static void an_expiry_that_nobody_hears_wakes_nobody_but_has_been(void **state)
{
    (void)state;
    for (uint32_t why = 0; why < DEAFNESSES; why++) {
        struct vcpu *vcpu = rig_guest(why, false);
        make_deaf(vcpu, why);
        for (unsigned i = 0; i < 2; i++) {
            assert_int_equal(vcpu_poll(vcpu, rig_tsc), UINT64_MAX);
            assert_int_equal(vcpu->state, VCPU_HALTED);
            rig_time(1000 * MS);
        }
        /* It looks. */
        uint64_t irr, esr, guest_now = vcpu_guest_tsc(vcpu, rig_tsc);
        assert_true(vlapic_read(&vcpu->lapic, 0x823, guest_now, &irr));
        assert_int_equal(irr, why == ILLEGAL || why == ILLEGAL_TPR || why == DISABLED ? 0 : 1);
        set_lapic(vcpu, 0x828, 0);
        assert_true(vlapic_read(&vcpu->lapic, 0x828, guest_now, &esr));
        assert_int_equal(esr, why == ILLEGAL || why == ILLEGAL_TPR ? 1 << 6 : 0);
        /* And then it hears, once. */
        if (why != TPR && why != ISR && why != IF_CLEAR)
            continue;
        vcpu->vmcb->rflags = RFLAGS_IF | 2;
        vmcb_set_v_intr(vcpu->vmcb, vcpu->vmcb->v_intr & ~V_TPR_MASK);
        vcpu->lapic.isr[3] = 0;
        vcpu_poll(vcpu, rig_tsc);
        assert_int_equal(vcpu->state, VCPU_RUNNABLE);
        event_prepare(vcpu);
        assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000060));
        assert_int_equal(vcpu->lapic.irr[3], 0);
    }
}

static void what_it_does_hear_wakes_it_in_time(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 2; i++) {
        struct vcpu *vcpu = rig_guest(i, false);
        make_deaf(vcpu, i == 0 ? TPR : ILLEGAL_TPR);
        vmcb_set_v_intr(vcpu->vmcb, (vcpu->vmcb->v_intr & ~V_TPR_MASK) | (i == 0 ? 5 : 4));
        uint64_t due = vcpu_poll(vcpu, rig_tsc);
        assert_in_range(due, rig_tsc, rig_tsc + 2 * VLAPIC_MIN_PERIOD);
        rig_time(due - rig_tsc);
        vcpu_poll(vcpu, rig_tsc);
        assert_int_equal(vcpu->state, VCPU_RUNNABLE);
    }
}

/* Also of a guest that is on its way to the end: they are gone with it. */
static void sleepers_that_hear_nothing_take_nothing_from_who_works(void **state)
{
    (void)state;
    const uint32_t sleepers = 63;
    for (uint32_t i = 1; i <= sleepers; i++) {
        struct vcpu *vcpu = rig_guest(i, false);
        make_deaf(vcpu, i % 2 != 0 ? TPR : ILLEGAL);
        rig_schedule(vcpu);
    }
    scripts[0] = SPIN;
    ran[0] = 0;
    rig_schedule(rig_guest(0, false));
    end_of_test = UINT64_MAX;
    rig_vmrun = vmrun;
    rig_cpu.charged_tsc = rig_tsc;
    uint64_t start = rig_tsc;
    rig_arms = polls = 0;
    while (rig_tsc - start < 1000 * MS)
        some_slices();            /* a slice, or a little more */
    assert_in_range(ran[0], 999 * (rig_tsc - start) / 1000, rig_tsc - start);
    assert_in_range(rig_arms, 80, 130);
    assert_true(polls < sleepers + 3 * rig_arms);
    for (uint32_t i = 0; i <= sleepers; i++)
        guest_end(&guests[i], GUEST_END_DESTROYED, "over");
    loop_run(&rig_cpu);
    assert_null(rig_cpu.timers);
    assert_null(rig_cpu.ready);
    assert_int_equal(rig_pages_taken(), 9);
}

/* How often the scheduler looks at a vCPU in a second in which one wakes up a hundred times, beside so many that sleep. */
static unsigned polls_beside(uint32_t sleepers)
{
    (void)rig_reset(NULL);
    for (uint32_t i = 2; i < 2 + sleepers; i++) {
        struct vcpu *vcpu = rig_guest(i, false);
        vcpu->state = VCPU_HALTED;
        vcpu->vmcb->rflags = RFLAGS_IF | 2;
        if (i % 2 == 0) { /* half of them until tomorrow */
            set_lapic(vcpu, 0x832, 0x400ec);
            set_lapic(vcpu, 0x6e0, vcpu_guest_tsc(vcpu, rig_tsc) + 86400000 * MS - i * MS);
        }
        rig_schedule(vcpu);
    }
    scripts[0] = SPIN;
    scripts[1] = SLEEP;
    rig_schedule(rig_guest(0, false));
    rig_schedule(rig_guest(1, false));
    wakes[1] = latest[1] = 0;
    work[1] = 1000;
    end_of_test = UINT64_MAX;
    rig_vmrun = vmrun;
    rig_cpu.charged_tsc = rig_tsc;
    some_slices();
    polls = 0;
    for (uint64_t start = rig_tsc; rig_tsc - start < 1000 * MS;)
        some_slices();
    assert_in_range(wakes[1], 320, 340);
    assert_true(latest[1] < MS / 10);
    return polls;
}

static void a_wake_up_costs_the_same_beside_few_and_beside_many(void **state)
{
    (void)state;
    unsigned few = polls_beside(5), many = polls_beside(500);
    assert_true(many <= few + few / 20);
}

static void what_is_sent_to_one_costs_nothing_for_the_others(void **state)
{
    (void)state;
    const uint32_t sleepers = 500;
    for (uint32_t i = 0; i < sleepers; i++) {
        struct vcpu *vcpu = rig_guest(i, false);
        vcpu->state = VCPU_HALTED;
        vcpu->vmcb->rflags = RFLAGS_IF | 2;
        rig_schedule(vcpu);
    }
    rig_vmrun = forever_asleep;
    end_of_test = UINT64_MAX;
    some_slices();
    polls = 0;
    for (uint32_t i = 0; i < sleepers; i++)
        ipi_send(guests[i].vcpus[0], 0x4441); /* an NMI to itself */
    assert_int_equal(polls, 0);
    some_slices();
    for (uint32_t i = 0; i < sleepers; i++)
        assert_true(guests[i].vcpus[0]->run_tsc > 0); /* each has run */
    assert_true(polls <= 3 * sleepers);
}

/* ---- pauses, by the control guest ---- */

static uint64_t pause_at, resume_at, ran_at_pause, run_tsc_at_pause;
static bool interrupt_meanwhile, seen_paused;

static void pausing(void)
{
    struct guest *guest = &guests[1];
    if (rig_tsc >= pause_at && !guest->paused) {
        pause_at = UINT64_MAX;
        guest_pause(guest);
    } else if (guest->paused && guest->vcpus_queued == 0 && !seen_paused) {
        seen_paused = true;
        ran_at_pause = ran[1];
        run_tsc_at_pause = guest->vcpus[0]->run_tsc;
        if (interrupt_meanwhile)
            ipi_raise(guest->vcpus[0], 0x51);
    }
    if (rig_tsc < resume_at || !guest->paused)
        return;
    resume_at = UINT64_MAX;
    assert_true(seen_paused && guest->vcpus_queued == 0 && guest->end == GUEST_END_NONE);
    assert_int_equal(ran[1], ran_at_pause);
    assert_int_equal(guest->vcpus[0]->run_tsc, run_tsc_at_pause);
    last_run[1] = rig_tsc;
    sched_resume(guest, NULL);
    assert_false(guest->paused);
}

static void pause_between(uint64_t from_ms, uint64_t to_ms)
{
    pause_at = rig_tsc + from_ms * MS;
    resume_at = rig_tsc + to_ms * MS;
    seen_paused = interrupt_meanwhile = false;
    rig_control = pausing;
}

static void a_paused_guest_pays_for_nothing_and_saves_up_nothing(void **state)
{
    (void)state;
    pause_between(500, 1500);
    go(2000, 2, SPIN, SPIN);
    assert_share(0, 2000, 75, 2);
    assert_share(1, 2000, 25, 2);
    assert_in_range(longest_wait[0], 9 * MS, 25 * MS);
}

/* Nor does it end since nothing could wake it: what comes meanwhile waits. */
static void a_paused_sleeper_is_woken_by_nothing(void **state)
{
    (void)state;
    pause_between(500, 1500);
    interrupt_meanwhile = true;
    go(2000, 2, SPIN, SLEEP);
    assert_in_range(wakes[1], 320, 336);
    assert_in_range(latest[1], 990 * MS, 1010 * MS);
}

static void rings(struct vcpu *vcpu)
{
    rig_tsc += MS;
    entries++;
    guest_note_end();
    vcpu->vmcb->exitcode = VMEXIT_INTR;
}

/* What the boot CPU has to do is not left until the slice's end; other CPUs have nothing to do with it. */
static void what_is_for_the_boot_cpu_ends_the_slice_there(void **state)
{
    (void)state;
    for (uint32_t index = 0; index < 2; index++) {
        uint64_t next;
        (void)rig_reset(NULL);
        rig_schedule(rig_guest(0, false));
        sched_change(&rig_cpu);
        (void)guest_ends_noted();
        rig_vmrun = rings;
        entries = 0;
        rig_cpu.index = index;
        assert_true(run_round(&rig_cpu, 10 * MS, &next));
        assert_int_equal(entries, index == 0 ? 1 : 10);
        assert_true(guest_ends_noted());
    }
    rig_cpu.index = 0;
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(spinning_guests_share_alike),
        TEST(who_ended_on_the_way_to_its_queue_leaves_it_without_a_turn),
        TEST(the_operators_line_is_looked_at_while_guests_run),
        TEST(a_storm_of_exits_gets_no_more_than_its_share),
        TEST(a_sleeper_wakes_in_time_beside_spinning_guests),
        TEST(who_sleeps_a_little_gets_no_more_than_who_never_does),
        TEST(nobody_saves_up_time_by_sleeping),
        TEST(nor_by_waiting_for_its_startup),
        TEST(who_sleeps_and_wakes_all_the_time_pays_for_it),
        TEST(with_all_asleep_the_cpu_halts_and_nobody_is_late),
        TEST(the_operator_is_heard_while_all_sleep),
        TEST(guests_go_on_while_jobs_have_work),
        TEST(a_job_that_waits_leaves_all_the_time_to_guests),
        TEST(a_cpu_without_vcpus_works_at_once_and_sleeps_between_looks),
        TEST(the_operator_is_heard_while_jobs_have_work),
        TEST(a_stall_of_the_machine_is_nobodys_time),
        TEST(nor_that_of_the_one_that_fell_asleep_before),
        TEST(an_expiry_that_nobody_hears_wakes_nobody_but_has_been),
        TEST(what_it_does_hear_wakes_it_in_time),
        TEST(sleepers_that_hear_nothing_take_nothing_from_who_works),
        TEST(a_wake_up_costs_the_same_beside_few_and_beside_many),
        TEST(what_is_sent_to_one_costs_nothing_for_the_others),
        TEST(a_paused_guest_pays_for_nothing_and_saves_up_nothing),
        TEST(a_paused_sleeper_is_woken_by_nothing),
        TEST(the_first_entry_on_a_cpu_flushes_its_tlb_and_trusts_no_clean_bit),
        TEST(what_is_for_the_boot_cpu_ends_the_slice_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
