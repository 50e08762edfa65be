/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Exit codes, from the plain to the impossible. */
#include "with_cmocka.h"

#include <string.h>

#include "hv/vm/exit_npf.h"
#include "hv/vm/event.h"
#include "hv/vm/fair.h"
#include "rig.h"

static void nobody_but_the_guest_is_hurt_by_any_exit_code(void **state)
{
    (void)state;
    static const uint64_t infos[] = {0, 1, 4, 0x10, UINT64_MAX, UINT64_C(0x03f80010), UINT64_C(0xffff0040)};
    for (uint64_t code = 0; code < 0x500; code++) {
        for (size_t i = 0; i < sizeof(infos) / sizeof(infos[0]); i++) {
            struct vcpu *vcpu = rig_guest(0, false);
            bool again = rig_exit(vcpu, code, infos[i], ~infos[i]);
            bool ended = guests[0].end != GUEST_END_NONE;
            assert_true(again || ended || vcpu->request);
            assert_false(again && ended);
            assert_int_equal(again, !vcpu->request);
            if (ended)
                assert_true(strlen(guests[0].end_reason) > 10);
            vcpu_destroy(vcpu);
        }
    }
}

static void vmexit_invalid_is_known_in_both_widths(void **state)
{
    (void)state;
    static const uint64_t codes[] = {UINT64_MAX, UINT32_MAX};
    for (size_t i = 0; i < 2; i++) {
        struct vcpu *vcpu = rig_guest((uint32_t)i, false);
        assert_false(rig_exit(vcpu, codes[i], 0, 0));
        assert_int_equal(guests[i].end, GUEST_END_CRASH);
        assert_non_null(strstr(guests[i].end_reason, "VMEXIT_INVALID"));
    }
}

static void what_ends_a_guest_is_told_with_its_registers(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    vcpu->run.gprs.r13 = 0x1234abcd5678;
    assert_false(rig_exit(vcpu, VMEXIT_NPF, 0x100000006, 0xfee00300));
    assert_int_equal(guests[0].end, GUEST_END_CRASH);
    assert_non_null(strstr(guests[0].end_reason, "0xfee00300"));
    assert_non_null(strstr(guests[0].end_reason, "0x100000006"));
    assert_non_null(strstr(guests[0].end_reason, "0x1000"));
    assert_non_null(strstr(rig_log, "r13 00001234abcd5678"));

    vcpu = rig_guest(1, false);
    vcpu->vmcb->idtr.limit = 0xfff;
    assert_false(rig_exit(vcpu, VMEXIT_SHUTDOWN, 0, 0));
    assert_non_null(strstr(guests[1].end_reason, "triple fault"));
    vcpu = rig_guest(2, false);
    assert_false(rig_exit(vcpu, 0x403, 0, 0));      /* VMGEXIT: of an SEV-ES guest, which we do not have */
    assert_non_null(strstr(guests[2].end_reason, "0x403"));
    vcpu = rig_guest(3, false);
    assert_false(rig_exit(vcpu, VMEXIT_EXCEPTION_MC, 0, 0));
    assert_non_null(strstr(guests[3].end_reason, "machine check"));
}

/* ---- where there is no memory ---- */

#define C_BIT (UINT64_C(1) << 51)
enum { READ = 4, WRITE = 6, PRESENT = 1, FETCH = 0x10 };
#define FINAL (UINT64_C(1) << 32)
#define TABLE_WALK (UINT64_C(1) << 33)

static struct vcpu *guest_of_16_mib(uint32_t index, bool sev)
{
    struct vcpu *vcpu = rig_guest(index, sev);
    guests[index].memory.size = 16 << 20;
    return vcpu;
}

static void reads_below_4_gib_find_one_page_of_ones(void **state)
{
    (void)state;
    static const uint64_t places[] = {0x1000000, 0xfed803c0, 0xfec00000, 0xfffffffc, 0xa0000000};
    exit_npf_init();
    paddr_t first = paddr(0), found;
    for (uint32_t sev = 0; sev < 2; sev++) {
        struct vcpu *vcpu = guest_of_16_mib(sev, sev != 0);
        uint64_t taken = rig_pages_taken(), pages = guests[sev].npt.pages;
        for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
            unsigned lines = rig_log_lines;
            assert_true(rig_exit(vcpu, VMEXIT_NPF, FINAL | READ, places[i] | (sev != 0 && i == 1 ? C_BIT : 0)));
            assert_int_equal(vcpu->vmcb->rip, 0x1000);      /* it tries again */
            assert_int_equal(rig_log_lines, lines + 1);
            assert_true(npt_lookup(&guests[sev].npt, gpaddr(places[i] & ~UINT64_C(0xfff)), &found));
            first = first.raw == 0 ? found : first;
            /* P, U, A, NX: no guest writes what others read */
            assert_int_equal(rig_leaf_entry(&guests[sev].npt, places[i]), first.raw | 0x25 | UINT64_C(1) << 63);
            assert_true(rig_exit(vcpu, VMEXIT_NPF, FINAL | READ, places[i])); /* of another vCPU, at the same time */
            assert_int_equal(rig_log_lines, lines + 1);
        }
        assert_int_equal(guests[sev].npt.pages - pages, rig_pages_taken() - taken); /* what the leak check counts */
        assert_int_equal(guests[sev].bus_pages, sizeof(places) / sizeof(places[0]));
    }
    for (size_t i = 0; i < PAGE_SIZE; i++)
        assert_int_equal(((const uint8_t *)page_va(first))[i], 0xff);
    assert_non_null(strstr(
        rig_log,
        "guest1: reads unmapped guest-physical address 0xfed803c0, where a PC has the chipset's (FCH) registers: all ones"));
}

static void what_is_no_read_of_the_bus_ends_the_guest(void **state)
{
    (void)state;
    static const struct {
        uint64_t error, gpa;
        const char *words;
    } ends[] = {
        {FINAL | WRITE, 0xfed00010,
         "accessed unmapped guest-physical address 0xfed00010, where a PC has the HPET (RIP 0x1000, a write"},
        {FINAL | WRITE, 0xfee00300, "a PC has the local APIC: guests have x2APIC, by MSRs (RIP 0x1000, a write"},
        {FINAL | WRITE | PRESENT, 0xfed40000, "a PC has a TPM (RIP 0x1000, a write"},
        {FINAL | READ | FETCH, 0xffff0000, "a PC has the UEFI firmware's ROM (RIP 0x1000, an instruction fetch"},
        {FINAL | READ | FETCH | PRESENT, 0xc0000000,
         "guest-physical address 0xc0000000 (RIP 0x1000, an instruction fetch"},
        {TABLE_WALK | READ, 0xc0000000, "a walk of its page tables"},
        {TABLE_WALK | WRITE, 0xc0000000, "a walk of its page tables"},
        {FINAL | READ, 0x100000000, "accessed unmapped guest-physical address 0x100000000 (RIP 0x1000, a read"},
        {FINAL | READ | PRESENT, 0xc0000000, "a read, error code 0x100000005"},
        {FINAL | READ, 0xffffff,
         "accessed unmapped guest-physical address 0xffffff"}, /* its memory is mapped from the start */
    };
    exit_npf_init();
    for (uint32_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
        struct vcpu *vcpu = guest_of_16_mib(i, false);
        uint64_t pages = guests[i].npt.pages;
        assert_false(rig_exit(vcpu, VMEXIT_NPF, ends[i].error, ends[i].gpa));
        assert_int_equal(guests[i].end, GUEST_END_CRASH);
        if (strstr(guests[i].end_reason, ends[i].words) == NULL)
            fail_msg("%s: not as expected: %s", guests[i].end_reason, ends[i].words);
        assert_int_equal(guests[i].npt.pages, pages);
    }
}

static void pages_of_ones_are_bounded(void **state)
{
    (void)state;
    exit_npf_init();
    struct vcpu *vcpu = guest_of_16_mib(0, false);
    uint64_t taken = rig_pages_taken(), count = 0;
    unsigned lines = rig_log_lines;
    while (rig_exit(vcpu, VMEXIT_NPF, FINAL | READ, 0x1000000 + count * 0x4000000 + count % 16 * 0x201000) &&
           count < 63)
        count++;
    assert_int_equal(count, 48);
    assert_in_range(rig_log_lines - lines, 48, 56); /* each of them, in no time, and the end */
    assert_int_equal(guests[0].end, GUEST_END_CRASH);
    assert_non_null(strstr(guests[0].end_reason, "after reading 48 other such pages"));
    assert_true(rig_pages_taken() - taken <= 48 + 5);

    vcpu = guest_of_16_mib(1, false);
    rig_leave_pages(1);
    assert_false(rig_exit(vcpu, VMEXIT_NPF, FINAL | READ, 0xfed803c0));
    assert_int_equal(guests[1].end, GUEST_END_CRASH);
    assert_non_null(strstr(guests[1].end_reason, "no pool page is free"));
    assert_int_equal(page_free_count(), 1);
}

/* ---- resets ---- */

static void a_triple_fault_without_an_idt_is_a_reset_any_other_a_crash(void **state)
{
    (void)state;
    static const struct {
        uint64_t base;
        uint32_t limit;
        uint64_t cr0;
        enum guest_end_kind end;
    } faults[] = {
        {0, 0, 0x80000011, GUEST_END_RESET},          {0, 0, 0x10, GUEST_END_CRASH},
        {0x1000, 0, 0x80000011, GUEST_END_CRASH},     {0, 0xfff, 0x80000011, GUEST_END_CRASH},
        {0xffff, 0xfff, 0x80000011, GUEST_END_CRASH},
    };
    for (uint32_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        struct vcpu *vcpu = rig_guest(i, false);
        vcpu->vmcb->idtr.base = faults[i].base;
        vcpu->vmcb->idtr.limit = faults[i].limit;
        vcpu->vmcb->cr0 = faults[i].cr0;
        assert_false(rig_exit(vcpu, VMEXIT_SHUTDOWN, 0, 0));
        assert_int_equal(guests[i].end, faults[i].end);
    }
}

/* On another CPU, before that has heard of the first one's. */
static void a_second_vcpus_end_adds_nothing_to_the_report(void **state)
{
    (void)state;
    static const uint64_t ends[] = {VMEXIT_SHUTDOWN, VMEXIT_NPF, UINT32_MAX, 0x403};
    struct vcpu *vcpus[2] = {rig_guest(0, false), NULL};
    assert_true(vcpu_create(&guests[0], 1, &rig_registers, &vcpus[1]));
    assert_false(rig_exit(vcpus[0], VMEXIT_SHUTDOWN, 0, 0));
    unsigned lines = rig_log_lines;
    assert_true(lines > 0);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        assert_false(rig_exit(vcpus[1], ends[i], FINAL | WRITE, 0));
    assert_false(rig_exit(vcpus[1], VMEXIT_IOIO, UINT64_C(0x03f80014), 0));
    assert_int_equal(rig_log_lines, lines);
}

static void instructions_that_guests_do_not_have_are_undefined(void **state)
{
    (void)state;
    static const uint64_t codes[] = {
        VMEXIT_VMRUN,  VMEXIT_VMLOAD,  VMEXIT_VMSAVE,  VMEXIT_STGI,  VMEXIT_CLGI,
        VMEXIT_SKINIT, VMEXIT_INVLPGA, VMEXIT_MONITOR, VMEXIT_MWAIT, VMEXIT_MWAIT_CONDITIONAL,
        VMEXIT_RDPRU,  VMEXIT_RSM,
    };
    struct vcpu *vcpu = rig_guest(0, false);
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        assert_false(rig_exit(vcpu, codes[i], 0, 0));
        assert_true(vcpu->exception != 0);
        assert_int_equal(EVENT_VECTOR(vcpu->exception), 6);
        assert_int_equal(vcpu->exception & EVENT_ERROR_VALID, 0);
        assert_int_equal(vcpu->vmcb->rip, 0x1000); /* a fault points at its instruction */
    }
    assert_false(rig_exit(vcpu, VMEXIT_RDPMC, 0, 0));
    assert_int_equal(EVENT_VECTOR(vcpu->exception), 13);
    assert_true((vcpu->exception & EVENT_ERROR_VALID) != 0);
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    assert_int_equal(vcpu->exits[VCPU_EXIT_FORBIDDEN], 13);
}

static void rip_moves_by_the_processors_word_or_the_fixed_length(void **state)
{
    (void)state;
    static const struct {
        uint64_t code, length;
    } fixed[] = {
        {VMEXIT_CPUID, 2}, {VMEXIT_MSR, 2}, {VMEXIT_VMMCALL, 3}, {VMEXIT_HLT, 1}, {VMEXIT_INVD, 2}, {VMEXIT_WBINVD, 2},
    };
    struct vcpu *vcpu = rig_guest(0, false);
    vcpu->run.gprs.rcx = MSR_PAT;
    for (size_t i = 0; i < sizeof(fixed) / sizeof(fixed[0]); i++) {
        vcpu->vmcb->nrip = 0;
        vcpu->vmcb->interrupt_shadow = 1;
        vcpu->state = VCPU_RUNNABLE;
        rig_exit(vcpu, fixed[i].code, 0, 0);
        assert_int_equal(vcpu->vmcb->rip, 0x1000 + fixed[i].length);
        assert_int_equal(vcpu->vmcb->interrupt_shadow, 0);
        vcpu->run.gprs.rcx = MSR_PAT;
        vcpu->vmcb->nrip = 0x1009;
        rig_exit(vcpu, fixed[i].code, 0, 0);
        assert_int_equal(vcpu->vmcb->rip, 0x1009);
        vcpu->run.gprs.rcx = MSR_PAT;
    }
}

static void a_single_step_over_an_intercepted_instruction_traps(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    vcpu->vmcb->exitcode = VMEXIT_CPUID;
    vcpu->vmcb->rip = 0x1000;
    vcpu->vmcb->rflags = 0x102;
    assert_false(exit_dispatch(&vcpu->run));
    assert_true(vcpu->exception != 0);
    assert_int_equal(EVENT_VECTOR(vcpu->exception), 1);
    assert_int_equal(vcpu->vmcb->dr6 & 1 << 14, 1 << 14);
    assert_int_equal(vcpu->vmcb->rip, 0x1002);
    assert_int_equal(vcpu->vmcb->vmcb_clean & VMCB_CLEAN_DRX, 0);
}

/* A processor's takes milliseconds, and the cache lines of all who share it. */
static void an_encrypted_guest_has_some_wbinvds_at_once_and_then_a_few(void **state)
{
    (void)state;
    const uint64_t ms = RIG_HZ / 1000;
    struct vcpu *vcpu = rig_guest(0, true);
    unsigned done = 0, tries = 0;
    vcpu->cpu = &rig_cpu;
    for (uint64_t end = rig_tsc + 1000 * ms; rig_tsc < end; tries++) {
        vcpu->vmcb->nrip = 0;
        rig_exit(vcpu, VMEXIT_WBINVD, 0, 0);
        if (vcpu->state == VCPU_RUNNABLE) {
            assert_int_equal(vcpu->vmcb->rip, 0x1002);
            assert_int_equal(rig_wbinvds, ++done);
            continue;
        }
        assert_true(done >= 32);
        assert_int_equal(vcpu->vmcb->rip, 0x1000); /* the same instruction again, later */
        uint64_t due = vcpu_poll(vcpu, rig_tsc);
        assert_in_range(due, rig_tsc, rig_tsc + 10 * ms);
        assert_int_equal(vcpu->state, VCPU_HALTED);
        rig_time(due - rig_tsc + 1);
        assert_int_equal(vcpu_poll(vcpu, rig_tsc), UINT64_MAX);
        assert_int_equal(vcpu->state, VCPU_RUNNABLE);
    }
    assert_in_range(done, 130, 134); /* 32, and 100 in a second */
    assert_true(tries < 2 * done);
    /* Woken early by an interrupt, it halts by itself: the hour that was set is forgotten. */
    do
        rig_exit(vcpu, VMEXIT_WBINVD, 0, 0);
    while (vcpu->state == VCPU_RUNNABLE);
    fair_wake(vcpu);
    rig_exit(vcpu, VMEXIT_HLT, 0, 0);
    rig_time(100 * ms);
    assert_int_equal(vcpu_poll(vcpu, rig_tsc), UINT64_MAX);
    assert_int_equal(vcpu->state, VCPU_HALTED);
}

/* One exit with a clock that is charged as in vcpu_run(). */
static void execute_wbinvd(struct vcpu *vcpu)
{
    vcpu->vmcb->nrip = 0;
    vcpu->state = VCPU_RUNNABLE;
    rig_cpu.charged_tsc = rig_tsc;
    rig_cpu.slice_end_tsc = rig_tsc + RIG_HZ / 100;
    rig_exit(vcpu, VMEXIT_WBINVD, 0, 0);
}

/* Another vCPU of guest 0. */
static struct vcpu *vcpu_on(struct cpu *cpu)
{
    uint32_t id = rig_config[0].vcpus++;
    assert_true(vcpu_create(&guests[0], id, &rig_registers, &guests[0].vcpus[id]));
    guests[0].vcpus[id]->cpu = cpu;
    return guests[0].vcpus[id];
}

static void a_wbinvd_is_paid_for_also_what_it_took_elsewhere(void **state)
{
    (void)state;
    const uint64_t ms = RIG_HZ / 1000;
    struct vcpu *vcpu = rig_guest(0, true);
    rig_wbinvd_tsc = 30 * ms; /* more than a slice: all the same */
    rig_wbinvd_others_tsc = 25 * ms;
    vcpu_on(&rig_others[0]);
    vcpu_on(&rig_others[1]);
    execute_wbinvd(vcpu);
    assert_int_equal(vcpu->vmcb->rip, 0x1002);
    assert_in_range(vcpu->fair_tsc, 80 * ms, 81 * ms);
    assert_int_equal(vcpu->run_tsc, vcpu->fair_tsc);
    /* And a guest has them for a twentieth of the time. */
    unsigned done = 1;
    for (uint64_t end = rig_tsc + 20000 * ms; rig_tsc < end;) {
        execute_wbinvd(vcpu);
        done += vcpu->vmcb->rip == 0x1002;
        if (vcpu->state != VCPU_RUNNABLE)
            rig_time(vcpu->asleep_tsc - rig_tsc + 1);
    }
    assert_in_range(done, 20000 / 600, 20000 / 600 + 3);
}

static void a_cpu_that_is_late_with_a_wbinvd_holds_up_that_vcpu_alone(void **state)
{
    (void)state;
    const uint64_t ms = RIG_HZ / 1000;
    struct vcpu *vcpu = rig_guest(0, true);
    vcpu_on(&rig_others[0]);
    rig_be_late(true);
    uint64_t start = rig_tsc;
    execute_wbinvd(vcpu);
    assert_in_range(rig_tsc - start, 10 * ms, 30 * ms);
    assert_int_equal(vcpu->state, VCPU_HALTED);
    assert_int_equal(vcpu->vmcb->rip, 0x1000);
    vcpu->vmcb->rflags = 2;
    vcpu->nmi_pending = true;
    for (unsigned i = 0; i < 10000; i++) { /* ten seconds: no panic, no end of the guest, nothing else */
        uint64_t due = vcpu_poll(vcpu, rig_tsc);
        assert_in_range(due, rig_tsc, rig_tsc + 2 * ms);
        assert_int_equal(vcpu->state, VCPU_HALTED);
        rig_time(due - rig_tsc);
    }
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    assert_int_equal(rig_wbinvds, 1);
    rig_be_late(false);
    vcpu_poll(vcpu, rig_tsc);
    assert_int_equal(vcpu->state, VCPU_RUNNABLE);
    assert_int_equal(vcpu->vmcb->rip, 0x1002);
    event_prepare(vcpu);
    assert_int_equal(vcpu->vmcb->eventinj, UINT64_C(0x80000202));
    /* INIT ends the wait. */
    struct vcpu *second = vcpu_on(&rig_cpu);
    rig_be_late(true);
    execute_wbinvd(second);
    assert_int_equal(second->state, VCPU_HALTED);
    ipi_send(vcpu, UINT64_C(2) << 32 | 0x4500);
    assert_int_equal(vcpu_poll(second, rig_tsc), UINT64_MAX);
    assert_int_equal(second->state, VCPU_WAIT_SIPI);
    ipi_send(vcpu, UINT64_C(2) << 32 | 0x4610);
    vcpu_poll(second, rig_tsc);
    assert_int_equal(second->state, VCPU_RUNNABLE);
}

static void hlt_waits_but_with_interrupts_off_it_is_the_end(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    assert_false(rig_exit(vcpu, VMEXIT_HLT, 0, 0));
    assert_int_equal(vcpu->state, VCPU_HALTED);
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    for (uint32_t i = 1; i < 3; i++) {
        vcpu = rig_guest(i, false);
        vlapic_reset(&vcpu->lapic, 0, i == 1); /* enabled, or disabled by software */
        vcpu->vmcb->exitcode = VMEXIT_HLT;
        vcpu->vmcb->rflags = 2;
        assert_false(exit_dispatch(&vcpu->run));
        vcpu_poll(vcpu, rig_tsc);
    }
    assert_int_equal(guests[1].end, GUEST_END_CRASH);
    assert_string_equal(guests[1].end_reason, "HLT with interrupts off: nothing can wake its only vCPU; RIP 0x1001");
    assert_int_equal(guests[2].end, GUEST_END_POWEROFF);
    assert_string_equal(guests[2].end_reason, "halted");
}

static void vmmcall_answers_as_kvm_does_to_what_it_does_not_know(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    vcpu->vmcb->cpl = 0;
    assert_true(rig_exit(vcpu, VMEXIT_VMMCALL, 0, 0));
    assert_int_equal((int64_t)vcpu->vmcb->rax, -1000);
    vcpu->vmcb->cpl = 3;
    assert_true(rig_exit(vcpu, VMEXIT_VMMCALL, 0, 0));
    assert_int_equal((int64_t)vcpu->vmcb->rax, -1);
}

static void after_an_exit_all_is_clean_and_nothing_is_injected_or_flushed_again(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    vmcb_mark_dirty(vcpu->vmcb);
    vmcb_set_eventinj(vcpu->vmcb, vmcb_event(EVENT_TYPE_INTERRUPT, 0x30));
    vmcb_set_tlb_control(vcpu->vmcb, TLB_CONTROL_FLUSH_ASID);
    assert_true(rig_exit(vcpu, VMEXIT_INTR, 0, 0));
    assert_int_equal(vcpu->vmcb->vmcb_clean, VMCB_CLEAN_ALL);
    assert_int_equal(vcpu->vmcb->eventinj, 0);
    assert_int_equal(vcpu->vmcb->tlb_control, 0);
}

static void a_new_vmcb_holds_what_the_guest_must_not_do_without(void **state)
{
    (void)state;
    struct vmcb *plain = rig_guest(0, false)->vmcb, *sev = rig_guest(1, true)->vmcb;
    assert_int_equal(plain->nested_ctl, 1);
    assert_int_equal(sev->nested_ctl, 3);
    assert_true((plain->efer & EFER_SVME) != 0);
    assert_true((plain->intercept_misc2 & INTERCEPT(VMEXIT_VMRUN)) != 0);
    assert_true((plain->v_intr & V_INTR_MASKING) != 0);
    assert_int_equal(plain->guest_asid, 1);
    assert_int_equal(plain->vmcb_clean, 0);
    assert_int_equal(plain->cpl, 0);
    /* What an INIT leaves (APM2 14.1.3), and PAT (7.8.2). */
    assert_int_equal(plain->g_pat, UINT64_C(0x0007040600070406));
    assert_int_equal(plain->dr6, 0xffff0ff0);
    assert_int_equal(plain->dr7, 0x400);
    assert_true((plain->rflags & 2) != 0);
    /* hv's own pages are named with the C-bit. */
    assert_true((plain->n_cr3 & RIG_C_BIT) != 0);
    assert_true((plain->iopm_base_pa & RIG_C_BIT) != 0);
    assert_true((plain->msrpm_base_pa & RIG_C_BIT) != 0);
    assert_true((guests[0].vcpus[0]->run.vmcb_address & RIG_C_BIT) != 0);
    assert_int_equal(plain->iopm_base_pa, sev->iopm_base_pa); /* one for all */
}

/* APM2 table B-1: the bits of the two words, by the manual's numbers. */
static void nothing_that_concerns_the_host_happens_without_an_exit(void **state)
{
    static const uint8_t exceptions[] = {1, 17, 18}; /* #DB, #AC, #MC */
    /* INTR, NMI, SMI, INIT, RDPMC, CPUID, RSM, INVD, HLT, INVLPGA, IOIO, MSR, task switch, FERR_FREEZE, shutdown */
    static const uint8_t misc1[] = {0, 1, 2, 3, 15, 18, 19, 22, 24, 26, 27, 28, 29, 30, 31};
    /* VMRUN, VMMCALL, VMLOAD, VMSAVE, STGI, CLGI, SKINIT, WBINVD, MONITOR, MWAIT (twice), XSETBV, RDPRU */
    static const uint8_t misc2[] = {0, 1, 2, 3, 4, 5, 6, 9, 10, 11, 12, 13, 14};
    const struct vmcb *vmcb = rig_guest(0, false)->vmcb;
    (void)state;
    for (size_t i = 0; i < sizeof(exceptions); i++)
        assert_true((vmcb->intercept_exceptions >> exceptions[i] & 1) != 0);
    for (size_t i = 0; i < sizeof(misc1); i++)
        assert_true((vmcb->intercept_misc1 >> misc1[i] & 1) != 0);
    for (size_t i = 0; i < sizeof(misc2); i++)
        assert_true((vmcb->intercept_misc2 >> misc2[i] & 1) != 0);
}

static bool msr_intercepted(const uint8_t *msrpm, uint32_t offset, uint32_t index, bool write)
{
    return (msrpm[offset + index / 4] >> (index % 4 * 2 + write) & 1) != 0;
}

static void the_second_serial_port_passes_for_the_guest_that_has_it_unless_it_is_hvs_console(void **state)
{
    (void)state;
    for (uint32_t com2_free = 0; com2_free < 2; com2_free++) {
        vmcb_maps_init(com2_free != 0);
        rig_config[1].flags = MANIFEST_GUEST_SERIAL_COM2;
        const struct vmcb *none = rig_guest(0, false)->vmcb, *has = rig_guest(1, false)->vmcb;
        const uint8_t *intercepts = page_va(paddr(none->iopm_base_pa & ~RIG_C_BIT));
        const uint8_t *passes = page_va(paddr(has->iopm_base_pa & ~RIG_C_BIT));
        for (size_t i = 0; i < 3 * PAGE_SIZE; i++) {
            assert_int_equal(intercepts[i], 0xff);
            assert_int_equal(passes[i], com2_free != 0 && i == 0x2f8 / 8 ? 0 : 0xff);
        }
    }
}

static void the_permission_maps_let_pass_only_what_vmload_switches(void **state)
{
    (void)state;
    const struct vmcb *vmcb = rig_guest(0, false)->vmcb;
    const uint8_t *iopm = page_va(paddr(vmcb->iopm_base_pa & ~RIG_C_BIT));
    const uint8_t *msrpm = page_va(paddr(vmcb->msrpm_base_pa & ~RIG_C_BIT));
    static const uint32_t passed[] = {
        0x174, 0x175, 0x176, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102,
    };
    for (size_t i = 0; i < 3 * PAGE_SIZE; i++)
        assert_int_equal(iopm[i], 0xff);
    static const uint32_t bases[] = {0, 0xc0000000, 0xc0010000};
    for (uint32_t range = 0; range < 3; range++) {
        for (uint32_t index = 0; index < 0x2000; index++) {
            bool expected = true;
            for (size_t i = 0; i < sizeof(passed) / sizeof(passed[0]); i++)
                expected &= passed[i] != bases[range] + index;
            assert_int_equal(msr_intercepted(msrpm, range * 0x800, index, false), expected);
            assert_int_equal(msr_intercepted(msrpm, range * 0x800, index, true), expected);
        }
    }
}

static void a_vcpu_without_pages_leaves_no_trace(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    uint64_t taken = rig_pages_taken();
    for (uint64_t budget = 0; budget < 3; budget++) {
        struct vcpu *other = NULL;
        rig_leave_pages(budget);
        assert_false(vcpu_create(&guests[0], 0, &rig_registers, &other));
        assert_int_equal(rig_pages_taken(), taken);
    }
    rig_leave_pages(UINT64_MAX);
    vcpu_destroy(vcpu);
    assert_int_equal(rig_pages_taken(), taken - 3);
}

static void the_log_of_a_noisy_guest_is_bounded(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    vcpu->run.gprs.rcx = 0xdead;
    for (int i = 0; i < 1000; i++)
        rig_exit(vcpu, VMEXIT_MSR, 0, 0);
    assert_int_equal(rig_log_lines, 10);
    rig_tsc += 2 * RIG_HZ;
    rig_exit(vcpu, VMEXIT_MSR, 0, 0);
    assert_int_equal(rig_log_lines, 12);
    assert_non_null(strstr(rig_log, "990 more messages"));
}

static void the_log_of_a_noisy_guest_with_several_vcpus_is_no_longer(void **state)
{
    (void)state;
    struct vcpu *vcpus[2] = {rig_guest(0, false), NULL};
    assert_true(vcpu_create(&guests[0], 1, &rig_registers, &vcpus[1]));
    for (int i = 0; i < 1000; i++) {
        vcpus[i % 2]->run.gprs.rcx = 0xdead;
        rig_exit(vcpus[i % 2], VMEXIT_MSR, 0, 0);
    }
    assert_int_equal(rig_log_lines, 10);
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nobody_but_the_guest_is_hurt_by_any_exit_code),
        TEST(vmexit_invalid_is_known_in_both_widths),
        TEST(what_ends_a_guest_is_told_with_its_registers),
        TEST(reads_below_4_gib_find_one_page_of_ones),
        TEST(what_is_no_read_of_the_bus_ends_the_guest),
        TEST(pages_of_ones_are_bounded),
        TEST(a_triple_fault_without_an_idt_is_a_reset_any_other_a_crash),
        TEST(a_second_vcpus_end_adds_nothing_to_the_report),
        TEST(instructions_that_guests_do_not_have_are_undefined),
        TEST(rip_moves_by_the_processors_word_or_the_fixed_length),
        TEST(a_single_step_over_an_intercepted_instruction_traps),
        TEST(an_encrypted_guest_has_some_wbinvds_at_once_and_then_a_few),
        TEST(a_wbinvd_is_paid_for_also_what_it_took_elsewhere),
        TEST(a_cpu_that_is_late_with_a_wbinvd_holds_up_that_vcpu_alone),
        TEST(hlt_waits_but_with_interrupts_off_it_is_the_end),
        TEST(vmmcall_answers_as_kvm_does_to_what_it_does_not_know),
        TEST(after_an_exit_all_is_clean_and_nothing_is_injected_or_flushed_again),
        TEST(a_new_vmcb_holds_what_the_guest_must_not_do_without),
        TEST(nothing_that_concerns_the_host_happens_without_an_exit),
        TEST(the_permission_maps_let_pass_only_what_vmload_switches),
        TEST(the_second_serial_port_passes_for_the_guest_that_has_it_unless_it_is_hvs_console),
        TEST(a_vcpu_without_pages_leaves_no_trace),
        TEST(the_log_of_a_noisy_guest_is_bounded),
        TEST(the_log_of_a_noisy_guest_with_several_vcpus_is_no_longer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
