/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* CR0 and CR4: what the guest reads is what it wrote, what the hardware has is the host's, and MOV does as a processor does. */
#include "with_cmocka.h"

#include <string.h>

#include "hv/vm/exit_cpuid.h"
#include "hv/vm/event.h"
#include "rig.h"

#define MOV (UINT64_C(1) << 63)
#define START_CR0 (CR0_PG | CR0_ET | CR0_PE)
#define DEFAULT_EXCEPTIONS (1u << 1 | 1u << 17 | 1u << 18)
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R15 = 15 };

static struct vcpu *vcpu;

static struct cpuid no_la57(uint32_t leaf, uint32_t subleaf)
{
    if (leaf == 0xd && subleaf == 0)
        return (struct cpuid){7, 832, 832, 0};
    return leaf == 0x80000000 ? (struct cpuid){0x80000021, 0, 0, 0} : (struct cpuid){~0u, ~0u, ~0u, ~0u};
}

static int set_up(void **state)
{
    rig_reset(state);
    rig_use_cpuid(no_la57);
    rig_cpu.features.decode_assists = rig_cpu.features.next_rip = rig_cpu.features.flush_by_asid = true;
    vcpu = rig_guest(0, false);
    vcpu->vmcb->cs.attributes = 0x29b; /* L */
    return 0;
}

static bool exits(uint64_t code, unsigned gpr)
{
    vcpu->vmcb->nrip = 0x1003;
    vcpu->vmcb->vmcb_clean = 0;
    return rig_exit(vcpu, code, MOV | gpr, 0);
}

/* After an exit: #GP(0) at the instruction, or past it. */
static bool done(void)
{
    if (vcpu->exception == 0) {
        assert_int_equal(vcpu->vmcb->rip, 0x1003);
        return true;
    }
    assert_int_equal(EVENT_VECTOR(vcpu->exception), 13);
    assert_true((vcpu->exception & EVENT_ERROR_VALID) != 0 && vcpu->exception >> EVENT_ERROR_SHIFT == 0);
    assert_int_equal(vcpu->vmcb->rip, 0x1000);
    return false;
}

/* By RBX. What is refused changes nothing. */
static bool write(uint64_t code, uint64_t value)
{
    struct vmcb before = *vcpu->vmcb;
    uint64_t hidden = vcpu->cr0_hidden;
    vcpu->run.gprs.rbx = value;
    exits(code, RBX);
    if (done())
        return true;
    assert_true(vcpu->vmcb->cr0 == before.cr0 && vcpu->vmcb->cr4 == before.cr4 && vcpu->vmcb->efer == before.efer &&
                vcpu->cr0_hidden == hidden && vcpu->vmcb->intercept_cr == before.intercept_cr &&
                vcpu->vmcb->tlb_control == TLB_CONTROL_NONE);
    return false;
}

static bool write_0(uint64_t value)
{
    return write(VMEXIT_CR0_SEL_WRITE, value);
}
static bool write_4(uint64_t value)
{
    return write(VMEXIT_WRITE_CR4, value);
}

static uint64_t read(uint64_t code)
{
    vcpu->run.gprs.rdx = 0x5555;
    exits(code, RDX);
    assert_true(done());
    return vcpu->run.gprs.rdx;
}

static bool flushed(void)
{
    return vcpu->vmcb->tlb_control == TLB_CONTROL_FLUSH_ASID;
}

static void legacy(uint64_t cr0)
{
    vcpu->vmcb->efer = EFER_SVME;
    vcpu->vmcb->cs.attributes = 0xc9b;
    vcpu->vmcb->cr0 = cr0;
}

static void machine_checks_stay_on_and_are_not_seen(void **state)
{
    (void)state;
    const uint32_t both = INTERCEPT(VMEXIT_READ_CR4) | INTERCEPT(VMEXIT_WRITE_CR4);
    assert_int_equal(vcpu->vmcb->intercept_cr, both);
    assert_int_equal(vcpu->vmcb->cr4, CR4_PAE | CR4_MCE); /* the manifest says PAE */
    assert_int_equal(read(VMEXIT_READ_CR4), CR4_PAE);
    assert_true(write_4(CR4_PAE | CR4_OSFXSR));
    assert_int_equal(vcpu->vmcb->cr4, CR4_PAE | CR4_OSFXSR | CR4_MCE);
    assert_int_equal(read(VMEXIT_READ_CR4), CR4_PAE | CR4_OSFXSR);
    assert_false(write_4(CR4_PAE | CR4_MCE)); /* CPUID offers no machine checks */
    assert_int_equal(vcpu_cr4(vcpu), CR4_PAE | CR4_OSFXSR);
    assert_int_equal(vcpu->exits[VCPU_EXIT_CR], 4);
    vcpu_start_init(vcpu);
    assert_int_equal(vcpu->vmcb->cr4, CR4_MCE);
    assert_int_equal(read(VMEXIT_READ_CR4), 0);
}

static void an_mce_bit_in_the_manifest_is_not_seen(void **state)
{
    (void)state;
    struct manifest_registers r = rig_registers;
    r.cr4 |= CR4_MCE;
    r.cr0 |= CR0_CD | CR0_NW;
    vcpu_destroy(vcpu);
    assert_true(vcpu_create(&guests[0], 0, &r, &vcpu));
    guests[0].vcpus[0] = vcpu;
    assert_int_equal(read(VMEXIT_READ_CR4), CR4_PAE);
    assert_int_equal(vcpu->vmcb->cr0, START_CR0);
    assert_int_equal(read(VMEXIT_READ_CR0), START_CR0 | CR0_CD | CR0_NW);
}

static void reserved_bits_of_cr4_are_those_that_cpuid_does_not_offer(void **state)
{
    (void)state;
    const uint64_t offered = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCE | CR4_OSFXSR |
                             CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE | CR4_SMEP | CR4_SMAP;
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t value = CR4_PAE | UINT64_C(1) << bit;
        assert_int_equal(write_4(value), (offered & UINT64_C(1) << bit) != 0);
        assert_true(write_4(CR4_PAE));
    }
    assert_true(write_4(offered));
    assert_int_equal(read(VMEXIT_READ_CR4), offered);
}

static struct cpuid little(uint32_t leaf, uint32_t subleaf)
{
    (void)leaf, (void)subleaf;
    return (struct cpuid){0x80000021, 0, 0, 1u << 6}; /* PAE */
}

static void a_cpu_without_features_has_their_bits_reserved(void **state)
{
    (void)state;
    rig_use_cpuid(little);
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t value = UINT64_C(1) << bit;
        assert_int_equal(write_4(value | CR4_PAE), value == CR4_PAE || value == CR4_PCE);
    }
}

static void long_mode_keeps_pae(void **state)
{
    (void)state;
    assert_false(write_4(0));
    assert_false(write_4(CR4_PGE));
    legacy(CR0_PE | CR0_ET);
    assert_true(write_4(0));
    legacy(CR0_PE | CR0_ET | CR0_PG);
    assert_true(write_4(CR4_PAE));
}

static void pcide_wants_long_mode_and_pcid_0(void **state)
{
    (void)state;
    vcpu->vmcb->cr3 = 0x5018;
    assert_false(write_4(CR4_PAE | CR4_PCIDE));
    vcpu->vmcb->cr3 = 0x5000;
    assert_true(write_4(CR4_PAE | CR4_PCIDE));
    vcpu->vmcb->cr3 = 0x5018;
    assert_true(write_4(CR4_PAE | CR4_PCIDE | CR4_OSFXSR)); /* it is on already */
    assert_false(write_0(CR0_PE | CR0_ET)); /* PG stays on with it */
    vcpu->vmcb->cs.attributes = 0xc9b; /* compatibility mode: nothing else is in the way */
    assert_false(write_0(CR0_PE | CR0_ET));
    assert_true(write_4(CR4_PAE));
    legacy(CR0_PE | CR0_ET);
    assert_false(write_4(CR4_PAE | CR4_PCIDE));
}

static void changes_of_translation_flush_the_tlb(void **state)
{
    (void)state;
    static const struct {
        uint64_t bit;
        bool flushes;
    } bits[] = {
        {CR4_PSE, true},  {CR4_PGE, true},     {CR4_PCIDE, true},    {CR4_SMEP, true},      {CR4_SMAP, true},
        {CR4_TSD, false}, {CR4_OSFXSR, false}, {CR4_OSXSAVE, false}, {CR4_FSGSBASE, false}, {CR4_UMIP, false},
    };
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        for (int round = 0; round < 2; round++) { /* on, off */
            assert_true(write_4(CR4_PAE | (round == 0 ? bits[i].bit : 0)));
            assert_int_equal(flushed(), bits[i].flushes);
            assert_int_equal(vcpu->vmcb->vmcb_clean & VMCB_CLEAN_CRX, 0);
        }
    }
    legacy(CR0_PE | CR0_ET | CR0_PG);
    assert_true(write_4(0));
    assert_true(flushed());
    assert_true(write_0(CR0_PE | CR0_ET | CR0_PG | CR0_WP));
    assert_true(flushed());
    assert_true(write_0(CR0_PE | CR0_ET | CR0_PG | CR0_WP | CR0_AM | CR0_NE | CR0_EM));
    assert_false(flushed());
    assert_true(write_0(CR0_PE | CR0_ET));
    assert_true(flushed());
    assert_true(write_0(CR0_ET));
    assert_true(flushed());
    rig_cpu.features.flush_by_asid = false;
    assert_true(write_0(CR0_ET | CR0_PE));
    assert_int_equal(vcpu->vmcb->tlb_control, TLB_CONTROL_FLUSH_ALL);
}

static void the_hardware_runs_cached_whatever_the_guest_wants(void **state)
{
    (void)state;
    const uint32_t four = INTERCEPT(VMEXIT_READ_CR4) | INTERCEPT(VMEXIT_WRITE_CR4),
                   zero = INTERCEPT(VMEXIT_READ_CR0) | INTERCEPT(VMEXIT_WRITE_CR0);
    assert_int_equal(vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_CR0_SEL_WRITE), INTERCEPT(VMEXIT_CR0_SEL_WRITE));
    assert_true(write_0(START_CR0 | CR0_CD));
    assert_int_equal(vcpu->vmcb->cr0, START_CR0);
    assert_int_equal(vcpu->vmcb->intercept_cr, four | zero);
    assert_int_equal(vcpu->vmcb->vmcb_clean & VMCB_CLEAN_I, 0);
    assert_int_equal(read(VMEXIT_READ_CR0), START_CR0 | CR0_CD);
    assert_true(write(VMEXIT_WRITE_CR0, START_CR0 | CR0_CD | CR0_NW));
    assert_int_equal(read(VMEXIT_READ_CR0), START_CR0 | CR0_CD | CR0_NW);
    assert_int_equal(vcpu->vmcb->cr0, START_CR0);
    assert_false(write(VMEXIT_WRITE_CR0, START_CR0 | CR0_NW)); /* NW without CD */
    assert_int_equal(read(VMEXIT_READ_CR0), START_CR0 | CR0_CD | CR0_NW);
    assert_true(write(VMEXIT_WRITE_CR0, START_CR0 | CR0_TS));
    assert_int_equal(vcpu->vmcb->intercept_cr, four); /* costs nothing again */
    assert_int_equal(vcpu->vmcb->cr0, START_CR0 | CR0_TS);
    assert_int_equal(vcpu_cr0(vcpu), START_CR0 | CR0_TS);
}

static void init_leaves_cd_and_nw_for_the_guest_alone(void **state)
{
    (void)state;
    assert_true(write_0(START_CR0 | CR0_WP));
    vcpu_start_init(vcpu);
    assert_int_equal(vcpu->vmcb->cr0, CR0_ET);
    assert_int_equal(read(VMEXIT_READ_CR0), 0x60000010); /* APM2 14.1.3 */
    assert_true(write(VMEXIT_WRITE_CR0, CR0_PE));
    assert_int_equal(vcpu->vmcb->cr0, CR0_PE | CR0_ET); /* ET cannot be cleared */
    assert_int_equal(vcpu->vmcb->intercept_cr, INTERCEPT(VMEXIT_READ_CR4) | INTERCEPT(VMEXIT_WRITE_CR4));
}

static void cr0_is_written_by_the_processors_rules(void **state)
{
    (void)state;
    assert_false(write_0(START_CR0 | UINT64_C(1) << 32));
    assert_false(write_0(START_CR0 | UINT64_C(1) << 63));
    assert_false(write_0(CR0_PG | CR0_ET)); /* PG without PE */
    assert_false(write_0(CR0_PE | CR0_ET)); /* out of long mode, in 64-bit code */
    assert_true(write_0(START_CR0 | UINT64_C(0x1ffaffc0))); /* reserved: ignored */
    assert_int_equal(vcpu->vmcb->cr0, START_CR0);
    vcpu->vmcb->cs.attributes = 0xc9b; /* compatibility mode */
    assert_true(write_0(CR0_PE));
    assert_int_equal(vcpu->vmcb->efer, EFER_SVME | EFER_LME | EFER_NXE);
    vcpu->vmcb->cs.attributes = 0x29b; /* L counts for nothing out of long mode, but on the way there */
    assert_false(write_0(CR0_PE | CR0_PG));
    vcpu->vmcb->cs.attributes = 0xc9b;
    assert_true(write_4(0));
    assert_false(write_0(CR0_PE | CR0_PG)); /* long mode without PAE */
    assert_true(write_4(CR4_PAE));
    assert_true(write_0(CR0_PE | CR0_PG));
    assert_int_equal(vcpu->vmcb->efer, EFER_SVME | EFER_LME | EFER_LMA | EFER_NXE);
    legacy(CR0_ET | CR0_PE);
    vcpu->vmcb->cr4 = CR4_MCE;
    assert_true(write_0(CR0_PE | CR0_PG)); /* 32-bit paging */
    assert_int_equal(vcpu->vmcb->efer, EFER_SVME);
    assert_true(write_0(0)); /* real mode */
    assert_int_equal(vcpu->vmcb->cr0, CR0_ET);
}

static void all_general_registers_are_found(void **state)
{
    (void)state;
    for (unsigned gpr = 0; gpr <= R15; gpr++) {
        struct vmrun_gprs *g = &vcpu->run.gprs;
        uint64_t *places[] = {&vcpu->vmcb->rax, &g->rcx, &g->rdx, &g->rbx, &vcpu->vmcb->rsp, &g->rbp, &g->rsi, &g->rdi,
                              &g->r8,           &g->r9,  &g->r10, &g->r11, &g->r12,          &g->r13, &g->r14, &g->r15};
        for (unsigned i = 0; i <= R15; i++)
            *places[i] = UINT64_MAX - i;
        *places[gpr] = CR4_PAE | (gpr % 2 != 0 ? CR4_DE : CR4_TSD);
        exits(VMEXIT_WRITE_CR4, gpr);
        assert_true(done());
        assert_int_equal(vcpu_cr4(vcpu), *places[gpr]);
        *places[gpr] = 0;
        exits(VMEXIT_READ_CR4, gpr);
        assert_true(done());
        for (unsigned i = 0; i <= R15; i++)
            assert_int_equal(*places[i], i == gpr ? vcpu_cr4(vcpu) : UINT64_MAX - i);
    }
}

static void registers_have_32_bits_out_of_64_bit_mode(void **state)
{
    (void)state;
    vcpu->vmcb->cs.attributes = 0xc9b;
    assert_true(write_4(UINT64_C(0xdead00000000) | CR4_PAE | CR4_DE));
    assert_true(write_0(UINT64_C(0xdead00000000) | START_CR0 | CR0_WP));
    vcpu->vmcb->cs.attributes = 0x29b;
    assert_false(write_4(UINT64_C(0xdead00000000) | CR4_PAE | CR4_DE));
    legacy(CR0_PE | CR0_ET);
    vcpu->vmcb->cs.attributes = 0x29b; /* L in legacy mode */
    assert_true(write_4(UINT64_C(0xdead00000000) | CR4_PAE | CR4_DE));
}

static void user_code_gets_gp(void **state)
{
    (void)state;
    vcpu->vmcb->cpl = 3;
    assert_false(write_4(CR4_PAE));
    assert_false(write_0(START_CR0));
    exits(VMEXIT_READ_CR4, RDX);
    assert_false(done());
}

static void a_guest_that_steps_gets_its_trap(void **state)
{
    (void)state;
    vcpu->run.gprs.rbx = CR4_PAE;
    vcpu->vmcb->nrip = 0x1003;
    rig_cpu.current = vcpu;
    vcpu->vmcb->rip = 0x1000;
    vcpu->vmcb->rflags = RFLAGS_TF | 2;
    vcpu->vmcb->exitcode = VMEXIT_WRITE_CR4;
    vcpu->vmcb->exitinfo1 = MOV | RBX;
    exit_dispatch(&vcpu->run);
    assert_int_equal(vcpu->vmcb->rip, 0x1003);
    assert_true(vcpu->exception != 0 && EVENT_VECTOR(vcpu->exception) == 1);
}

/* ---- CLTS, LMSW, SMSW ---- */

static void stepped_over(uint64_t code)
{
    vcpu->vmcb->dr6 = 0xffff0ff0;
    assert_true(rig_exit(vcpu, code, 0, 0)); /* at once back into the guest */
    assert_true(vcpu->stepping);
    assert_int_equal(vcpu->vmcb->rip, 0x1000);
    assert_true((vcpu->vmcb->rflags & RFLAGS_TF) != 0);
    assert_int_equal(vcpu->vmcb->intercept_exceptions, ~(1u << 2));
    assert_int_equal(vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_CR0_SEL_WRITE), 0);
    assert_int_equal(vcpu->vmcb->intercept_cr & (INTERCEPT(VMEXIT_READ_CR0) | INTERCEPT(VMEXIT_WRITE_CR0)), 0);
}

/* An exit in the middle of it: RFLAGS as they are. */
static bool next_exit(uint64_t code, uint64_t info1, uint64_t info2)
{
    vcpu->vmcb->exitcode = code;
    vcpu->vmcb->exitinfo1 = info1;
    vcpu->vmcb->exitinfo2 = info2;
    return exit_dispatch(&vcpu->run);
}

static void over(uint64_t tf)
{
    assert_false(vcpu->stepping);
    assert_int_equal(vcpu->vmcb->rflags & RFLAGS_TF, tf);
    assert_int_equal(vcpu->vmcb->intercept_exceptions, DEFAULT_EXCEPTIONS);
    assert_int_equal(vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_CR0_SEL_WRITE), INTERCEPT(VMEXIT_CR0_SEL_WRITE));
    if (vcpu->cr0_hidden != 0)
        assert_int_equal(vcpu->vmcb->intercept_cr >> 16, 0x11);
}

static void what_touches_neither_cd_nor_nw_is_the_guests_to_execute(void **state)
{
    (void)state;
    static const uint64_t codes[] = {VMEXIT_CR0_SEL_WRITE, VMEXIT_WRITE_CR0, VMEXIT_READ_CR0};
    for (size_t i = 0; i < 3; i++) {
        if (i == 1)
            assert_true(write_0(START_CR0 | CR0_CD));
        stepped_over(codes[i]);
        assert_true(next_exit(VMEXIT_INTR, 0, 0)); /* the host's interrupt came first */
        assert_true(vcpu->stepping);
        vcpu->vmcb->rip = 0x1004;
        vcpu->vmcb->dr6 |= 1u << 14;
        assert_true(next_exit(VMEXIT_EXCEPTION_DB, 0, 0));
        over(0);
        assert_int_equal(vcpu->exception, 0);
        assert_int_equal(vcpu->vmcb->dr6, 0xffff0ff0);
        assert_int_equal(vcpu->vmcb->rip, 0x1004);
    }
}

static void a_guests_own_step_and_breakpoints_are_told_to_it(void **state)
{
    (void)state;
    stepped_over(VMEXIT_CR0_SEL_WRITE);
    vcpu->vmcb->dr6 |= 1u << 14 | 1u << 2; /* a data breakpoint of its own */
    assert_false(next_exit(VMEXIT_EXCEPTION_DB, 0, 0));
    over(0);
    assert_true(vcpu->exception != 0 && EVENT_VECTOR(vcpu->exception) == 1);
    assert_int_equal(vcpu->vmcb->dr6, 0xffff0ff4);

    rig_exit(vcpu, VMEXIT_INTR, 0, 0);
    vcpu->vmcb->dr6 = 0xffff0ff0;
    vcpu->vmcb->rflags |= RFLAGS_TF;
    assert_true(next_exit(VMEXIT_WRITE_CR0, 0, 0));
    vcpu->vmcb->dr6 |= 1u << 14;
    assert_false(next_exit(VMEXIT_EXCEPTION_DB, 0, 0));
    over(RFLAGS_TF);
    assert_true(vcpu->exception != 0 && EVENT_VECTOR(vcpu->exception) == 1);
    assert_int_equal(vcpu->vmcb->dr6, 0xffff4ff0);
}

static void a_fault_of_it_is_the_guests(void **state)
{
    (void)state;
    stepped_over(VMEXIT_CR0_SEL_WRITE);
    assert_false(next_exit(0x40 + 14, 6, 0x7000123));
    over(0);
    assert_true(vcpu->exception != 0 && (vcpu->exception & EVENT_ERROR_VALID) != 0);
    assert_int_equal(EVENT_VECTOR(vcpu->exception), 14);
    assert_int_equal(vcpu->exception >> EVENT_ERROR_SHIFT, 6);
    assert_int_equal(vcpu->vmcb->cr2, 0x7000123);
    assert_int_equal(vcpu->vmcb->vmcb_clean & VMCB_CLEAN_CR2, 0);
    static const struct {
        uint8_t vector;
        bool error;
    } faults[] = {{6, false}, {12, true}, {13, true}, {17, true}};
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        stepped_over(VMEXIT_WRITE_CR0);
        assert_false(next_exit(0x40u + faults[i].vector, 0, 0));
        over(0);
        assert_int_equal(EVENT_VECTOR(vcpu->exception), faults[i].vector);
        assert_int_equal((vcpu->exception & EVENT_ERROR_VALID) != 0, faults[i].error);
    }
    assert_int_equal(guests[0].end, GUEST_END_NONE);
    assert_false(rig_exit(vcpu, 0x40 + 13, 0, 0)); /* without it: nobody asked for that intercept */
    assert_int_equal(guests[0].end, GUEST_END_CRASH);
}

static void an_event_comes_before_it(void **state)
{
    (void)state;
    stepped_over(VMEXIT_CR0_SEL_WRITE);
    vcpu->nmi_pending = true;
    event_prepare(vcpu);
    over(0); /* the NMI's handler does not see hv's TF on its stack */
    assert_int_equal(vcpu->vmcb->eventinj, vmcb_event(EVENT_TYPE_NMI, 2));
    stepped_over(VMEXIT_CR0_SEL_WRITE);
    vcpu->vmcb->eventinj = 0;
    event_prepare(vcpu);
    assert_true(vcpu->stepping); /* nothing came */
    vcpu_start_init(vcpu);
    assert_false(vcpu->stepping);
    assert_int_equal(vcpu->vmcb->rflags, 2);
    assert_int_equal(vcpu->vmcb->intercept_exceptions, DEFAULT_EXCEPTIONS);
}

/* ---- without decode assists ---- */

static bool mce_at_entry;

static void sees_mce(struct vcpu *running)
{
    mce_at_entry = (running->vmcb->cr4 & CR4_MCE) != 0;
    running->vmcb->cr4 = 0; /* its MOV does not exit */
    guest_end(running->guest, rig_arms > 3 ? GUEST_END_POWEROFF : GUEST_END_NONE, "enough");
    running->vmcb->exitcode = VMEXIT_INTR;
    rig_cpu.timer_fired = true;
}

static void without_decode_assists_nothing_exits_and_mce_is_set_at_each_entry(void **state)
{
    (void)state;
    rig_cpu.features.decode_assists = false;
    vcpu_destroy(vcpu);
    vcpu = rig_guest(0, false);
    assert_int_equal(vcpu->vmcb->intercept_cr, 0);
    assert_int_equal(vcpu->vmcb->intercept_misc1 & INTERCEPT(VMEXIT_CR0_SEL_WRITE), 0);
    vcpu_start_init(vcpu);
    assert_int_equal(vcpu->vmcb->cr0, CR0_ET); /* cached all the same */
    vcpu->state = VCPU_RUNNABLE;
    rig_vmrun = sees_mce;
    rig_cpu.slice_end_tsc = UINT64_MAX;
    for (int i = 0; i < 3; i++) {
        mce_at_entry = false;
        (void)guest_ends_noted();
        vcpu->guest->end = GUEST_END_NONE;
        rig_arms = 4;
        run_vcpu(vcpu);
        assert_true(mce_at_entry);
    }
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup(f, set_up)
    const struct CMUnitTest tests[] = {
        TEST(machine_checks_stay_on_and_are_not_seen),
        TEST(an_mce_bit_in_the_manifest_is_not_seen),
        TEST(reserved_bits_of_cr4_are_those_that_cpuid_does_not_offer),
        TEST(a_cpu_without_features_has_their_bits_reserved),
        TEST(long_mode_keeps_pae),
        TEST(pcide_wants_long_mode_and_pcid_0),
        TEST(changes_of_translation_flush_the_tlb),
        TEST(the_hardware_runs_cached_whatever_the_guest_wants),
        TEST(init_leaves_cd_and_nw_for_the_guest_alone),
        TEST(cr0_is_written_by_the_processors_rules),
        TEST(all_general_registers_are_found),
        TEST(registers_have_32_bits_out_of_64_bit_mode),
        TEST(user_code_gets_gp),
        TEST(a_guest_that_steps_gets_its_trap),
        TEST(what_touches_neither_cd_nor_nw_is_the_guests_to_execute),
        TEST(a_guests_own_step_and_breakpoints_are_told_to_it),
        TEST(a_fault_of_it_is_the_guests),
        TEST(an_event_comes_before_it),
        TEST(without_decode_assists_nothing_exits_and_mce_is_set_at_each_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
