/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include "hv/vm/event.h"
#include "rig.h"

static bool injected_gp(const struct vcpu *vcpu)
{
    bool gp = vcpu->exception != 0;
    if (gp) {
        assert_int_equal(EVENT_VECTOR(vcpu->exception), 13);
        assert_true((vcpu->exception & EVENT_ERROR_VALID) != 0);
        assert_int_equal(vcpu->exception >> EVENT_ERROR_SHIFT, 0);
        assert_int_equal(vcpu->vmcb->rip, 0x1000);
    } else {
        assert_int_equal(vcpu->vmcb->rip, 0x1002);
    }
    return gp;
}

static bool write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    vcpu->run.gprs.rcx = UINT64_C(0xdeadbeef00000000) | msr;
    vcpu->vmcb->rax = UINT64_C(0xdeadbeef00000000) | (uint32_t)value;
    vcpu->run.gprs.rdx = UINT64_C(0xdeadbeef00000000) | value >> 32;
    rig_exit(vcpu, VMEXIT_MSR, 1, 0);
    return !injected_gp(vcpu);
}

static bool read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    vcpu->run.gprs.rcx = msr;
    vcpu->vmcb->rax = vcpu->run.gprs.rdx = UINT64_MAX;
    rig_exit(vcpu, VMEXIT_MSR, 0, 0);
    if (injected_gp(vcpu)) {
        assert_true(vcpu->vmcb->rax == UINT64_MAX && vcpu->run.gprs.rdx == UINT64_MAX);
        return false;
    }
    assert_true(vcpu->vmcb->rax <= UINT32_MAX && vcpu->run.gprs.rdx <= UINT32_MAX);
    *value = vcpu->run.gprs.rdx << 32 | vcpu->vmcb->rax;
    return true;
}

static void hostile_values_in_all_msrs_break_nothing_that_vmrun_insists_on(void **state)
{
    (void)state;
    static const uint32_t bases[] = {0, 0xc0000000, 0xc0010000, 0x40000000, 0x4b564d00, 0xffffe000};
    static const uint64_t values[] = {0,     1, UINT64_MAX, UINT64_C(1) << 63, 0xfee00d00, UINT64_C(0x8000000000000fff),
                                      0x1000};
    struct vcpu *vcpu = rig_guest(0, false);
    uint64_t value;
    unsigned refused = 0;
    for (size_t b = 0; b < sizeof(bases) / sizeof(bases[0]); b++) {
        for (uint32_t i = 0; i < 0x2000; i++) {
            for (size_t v = 0; v < sizeof(values) / sizeof(values[0]); v++)
                refused += !write(vcpu, bases[b] + i, values[v]);
            refused += !read(vcpu, bases[b] + i, &value);
        }
    }
    assert_true(refused > 300000);
    assert_true((vcpu->vmcb->efer & EFER_SVME) != 0);
    assert_int_equal(vcpu->vmcb->efer & ~(EFER_SVME | EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE), 0);
    for (int i = 0; i < 64; i += 8) {
        uint8_t type = (uint8_t)(vcpu->vmcb->g_pat >> i);
        assert_true(type < 8 && type != 2 && type != 3);
    }
    assert_int_equal(guests[0].end, GUEST_END_NONE);
}

static void efer_hides_svme_and_keeps_it(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    uint64_t value;
    assert_true(read(vcpu, MSR_EFER, &value));
    assert_int_equal(value, EFER_LME | EFER_LMA | EFER_NXE);
    assert_true(write(vcpu, MSR_EFER, value | EFER_SCE));
    assert_int_equal(vcpu->vmcb->efer, EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE | EFER_SVME);
    assert_int_equal(vcpu->vmcb->vmcb_clean & VMCB_CLEAN_CRX, 0);
    assert_false(write(vcpu, MSR_EFER, value | EFER_SVME));
    assert_false(write(vcpu, MSR_EFER, value & ~EFER_LME));         /* paging is on */
    assert_true(write(vcpu, MSR_EFER, value & ~EFER_LMA));          /* LMA is not the guest's to write */
    assert_true((vcpu->vmcb->efer & EFER_LMA) != 0);
    vcpu->vmcb->cr0 &= ~(UINT64_C(1) << 31);
    assert_true(write(vcpu, MSR_EFER, 0));
}

static void a_pat_that_vmrun_would_refuse_is_refused(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    uint64_t value;
    assert_true(write(vcpu, MSR_PAT, UINT64_C(0x0007010600070106)));
    assert_int_equal(vcpu->vmcb->vmcb_clean & VMCB_CLEAN_NP, 0);
    assert_true(read(vcpu, MSR_PAT, &value));
    assert_int_equal(value, UINT64_C(0x0007010600070106));
    assert_int_equal(vcpu->vmcb->g_pat, value);
    assert_false(write(vcpu, MSR_PAT, 2));
    assert_false(write(vcpu, MSR_PAT, UINT64_C(0x0300000000000000)));
    assert_false(write(vcpu, MSR_PAT, UINT64_C(0x80)));
    assert_int_equal(vcpu->vmcb->g_pat, value);
}

static void the_tsc_is_the_guests_own(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    uint64_t value;
    assert_true(read(vcpu, 0x10, &value));
    assert_true(value < 1000);              /* it began at 0 */
    assert_true(write(vcpu, 0x10, UINT64_C(0x123456789000)));
    assert_true(vcpu->timer_changed);       /* deadlines are in the guest's TSC */
    assert_true(read(vcpu, 0x10, &value));
    assert_in_range(value, UINT64_C(0x123456789000), UINT64_C(0x123456789000) + 1000);
    assert_true(write(vcpu, 0x10, UINT64_MAX));
    assert_true(write(vcpu, 0x10, 0));
}

static void sev_status_is_for_encrypted_guests(void **state)
{
    (void)state;
    uint64_t value;
    assert_false(read(rig_guest(0, false), MSR_SEV_STATUS, &value));
    assert_true(read(rig_guest(1, true), MSR_SEV_STATUS, &value));
    assert_int_equal(value, 1);
    assert_false(write(guests[1].vcpus[0], MSR_SEV_STATUS, 0));
}

static void what_linux_touches_is_answered(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    static const uint32_t reads[] = {
        0x1b,       0x8b,       0xfe,       0x1d9,      0x277,      0x2ff, 0xc0010010,
        0xc0010015, 0xc001001f, 0xc0010058, 0xc0000103, 0xc0010114, 0x802, 0x6e0,
    };
    uint64_t value;
    for (size_t i = 0; i < sizeof(reads) / sizeof(reads[0]); i++)
        assert_true(read(vcpu, reads[i], &value));
    assert_true(read(vcpu, 0xc0010010, &value));
    assert_int_equal(value, 0);             /* SYSCFG: no SME in the guest */
    assert_true(read(vcpu, 0x2ff, &value));
    assert_int_equal(value, 0x806);         /* MTRRs on, write-back */
    assert_true(write(vcpu, 0x2ff, 6));
    assert_false(write(vcpu, 0x2ff, 1 << 12));
    assert_true(write(vcpu, 0x4b564d01, 0x1001));
    assert_false(write(vcpu, 0x4b564d01, RIG_RAM_SIZE | 1));
    assert_true(write(vcpu, 0x4b564d00, 0x1000));
    assert_false(write(vcpu, 0x4b564d00, RIG_RAM_SIZE));
    assert_false(write(vcpu, 0x12, 0x1001));        /* KVM's old clock MSRs are not offered */
}

/* ---- true or not there ---- */

enum access { READ_ONLY, SAME, DROPPED, WRITE_ONLY, WRITABLE };

/* All MSRs that are answered by an exit, and why. What is not here is #GP. SAME: written is only what is read. */
static const struct known {
    uint32_t first, last;
    enum access access;
    const char *reason;
} known[] = {
    {0x10, 0x10, WRITABLE, "TSC: the guest's own, by the VMCB's offset"},
    {0x1b, 0x1b, WRITABLE, "APIC_BASE: the vlapic"},
    {0x8b, 0x8b, READ_ONLY, "PATCH_LEVEL: the host's"},
    {0xfe, 0xfe, READ_ONLY, "MTRRcap: no ranges"},
    {0x1d9, 0x1d9, SAME, "DEBUG_CTL: all off; hv does not switch it"},
    {0x277, 0x277, WRITABLE, "PAT: VMRUN loads it"},
    {0x2ff, 0x2ff, WRITABLE, "MTRRdefType: kept; without effect, as APM2 15.25.8 says of guests' MTRRs"},
    {0x6e0, 0x6e0, WRITABLE, "TSC_DEADLINE: the vlapic"},
    {0x800, 0x8ff, WRITABLE, "x2APIC: the vlapic (test_vlapic.c)"},
    {0x4b564d00, 0x4b564d00, WRITE_ONLY, "KVM_WALL_CLOCK_NEW"},
    {0x4b564d01, 0x4b564d01, WRITABLE, "KVM_SYSTEM_TIME_NEW"},
    {0x4b564d08, 0x4b564d08, WRITABLE, "KVM_MIGRATION_CONTROL, with SEV: its bit 0 (test_pages.c)"},
    {0xc0000080, 0xc0000080, WRITABLE, "EFER: VMRUN loads it"},
    {0xc0000103, 0xc0000103, WRITABLE, "TSC_AUX: switch.c"},
    {0xc0010010, 0xc0010010, SAME, "SYSCFG: the host's MemEncryptionModEn, where the guest has a C-bit"},
    {0xc0010015, 0xc0010015, SAME, "HWCR: the host's TscFreqSel"},
    {0xc001001f, 0xc001001f, DROPPED, "NB_CFG: reads 0 and drops writes from family 17h on"},
    {0xc0010058, 0xc0010058, READ_ONLY, "MMIO_CFG_BASE: off"},
    {0xc0010114, 0xc0010114, READ_ONLY, "VM_CR: SVM is disabled, and locked"},
    {0xc0010131, 0xc0010131, READ_ONLY, "SEV_STATUS, with SEV"},
    {0xc0011029, 0xc0011029, SAME, "DE_CFG: what cpu_msr.c has read back on all CPUs"},
};

static const struct known *find_known(uint32_t msr)
{
    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
        if (msr >= known[i].first && msr <= known[i].last)
            return &known[i];
    return NULL;
}

static void check_known(struct vcpu *vcpu, uint32_t msr)
{
    const struct known *row = find_known(msr);
    bool vlapic = row != NULL && row->access == WRITABLE && (msr >> 8 == 8 || msr == 0x1b || msr == 0x6e0);
    uint64_t value = 0, again;
    bool readable = read(vcpu, msr, &value);
    if (vlapic)
        return;
    if (row == NULL) {
        assert_false(readable);
        assert_false(write(vcpu, msr, UINT64_C(1) << msr % 64));
        assert_false(write(vcpu, msr, 0));
        return;
    }
    if (row->access == WRITE_ONLY)
        assert_false(readable);
    if (row->access > DROPPED)
        return;
    for (unsigned bit = 0; readable && bit < 64; bit++) {
        assert_int_equal(write(vcpu, msr, value ^ UINT64_C(1) << bit), row->access == DROPPED);
        assert_true(read(vcpu, msr, &again));
        assert_int_equal(again, value);
    }
    if (readable)
        assert_int_equal(write(vcpu, msr, value), row->access != READ_ONLY);
    else
        assert_false(write(vcpu, msr, 0));
}

static uint64_t all_ones(uint32_t msr)
{
    (void)msr;
    return UINT64_MAX;
}

static void an_msr_has_a_reason_or_is_not_there(void **state)
{
    (void)state;
    static const uint32_t bases[] = {0, 0x2000, 0xc0000000, 0xc0010000, 0xc0012000, 0x40000000, 0x4b564000, 0xffffe000};
    for (unsigned round = 0; round < 4; round++) {
        rig_rdmsr = (round & 1) != 0 ? all_ones : NULL;
        rig_cpu.features.lfence_by_msr = (round & 2) != 0;
        struct vcpu *vcpu = rig_guest(round, (round & 1) != 0);
        for (size_t b = 0; b < sizeof(bases) / sizeof(bases[0]); b++)
            for (uint32_t i = 0; i < 0x2000; i++)
                check_known(vcpu, bases[b] + i);
    }
}

static void what_linux_takes_for_a_mitigation_is_the_hosts_or_is_not_there(void **state)
{
    (void)state;
    struct vcpu *plain = rig_guest(0, false), *sev = rig_guest(1, true);
    uint64_t value;
    rig_rdmsr = all_ones;
    assert_false(read(plain, 0xc0011020, &value));          /* LS_CFG: SSBD of families 15h to 17h */
    assert_false(write(plain, 0xc0011020, UINT64_C(1) << 10));
    assert_false(read(plain, 0xc0011028, &value));          /* FP_CFG */
    assert_false(read(plain, 0xc001102e, &value));          /* BP_CFG */
    assert_false(read(plain, 0xc001011f, &value));          /* VIRT_SPEC_CTRL */
    assert_false(read(plain, 0xc0011029, &value));          /* DE_CFG: this host's cannot do it */
    assert_false(write(plain, 0xc0011029, 2));
    rig_cpu.features.lfence_by_msr = true;
    assert_true(read(plain, 0xc0011029, &value));
    assert_int_equal(value, 2);
    assert_true(write(plain, 0xc0011029, 2));
    assert_false(write(plain, 0xc0011029, 0));
    assert_true(read(plain, 0xc0010015, &value));
    assert_int_equal(value, 1 << 24);                       /* HWCR: TscFreqSel, and nothing else */
    assert_true(read(plain, 0x8b, &value));
    assert_int_equal(value, UINT64_MAX);
    assert_true(read(plain, 0xc0010010, &value));
    assert_int_equal(value, 0);
    assert_true(read(sev, 0xc0010010, &value));
    assert_int_equal(value, 1 << 23);
    rig_rdmsr = NULL;                                       /* a host that has none of these bits */
    assert_true(read(sev, 0xc0010010, &value));
    assert_int_equal(value, 0);
    assert_true(read(plain, 0xc0010015, &value));
    assert_int_equal(value, 0);
    assert_true(read(plain, 0x8b, &value));
    assert_int_equal(value, 0x8b);
}

/* A bit pair per MSR (APM2 15.11): those that never exit are VMLOAD's, and of speculation control what is the processor's. */
static void msrs_that_never_exit_are_switched_by_the_processor(void **state)
{
    (void)state;
    static const uint32_t bases[] = {0, 0xc0000000, 0xc0010000};
    static const uint32_t switched[] = {
        0x174, 0x175, 0x176, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102,
    };
    for (unsigned round = 0; round < 4; round++) {
        rig_cpu.features.ibpb = (round & 1) != 0;
        rig_cpu.features.virtual_spec_ctrl = (round & 2) != 0;
        vmcb_maps_init(true);
        const uint8_t *map = page_va(paddr(rig_guest(round, false)->vmcb->msrpm_base_pa & ~RIG_C_BIT));
        for (uint32_t i = 0; i < 3 * 0x2000; i++) {
            uint32_t msr = bases[i / 0x2000] + i % 0x2000;
            bool passes = (msr == 0x49 && rig_cpu.features.ibpb) || (msr == 0x48 && rig_cpu.features.virtual_spec_ctrl);
            for (size_t s = 0; s < sizeof(switched) / sizeof(switched[0]); s++)
                passes |= msr == switched[s];
            assert_int_equal(map[i / 4] >> i % 4 * 2 & 3, passes ? 0 : 3);
        }
    }
}

static void efer_and_page_tables_that_read_otherwise_flush_the_tlb(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    for (unsigned by_asid = 0; by_asid < 2; by_asid++) {
        uint8_t flush = by_asid != 0 ? TLB_CONTROL_FLUSH_ASID : TLB_CONTROL_FLUSH_ALL;
        rig_cpu.features.flush_by_asid = by_asid != 0;
        vcpu->vmcb->cr0 |= UINT64_C(1) << 31;
        assert_true(write(vcpu, MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE | EFER_SCE));
        assert_int_equal(vcpu->vmcb->tlb_control, TLB_CONTROL_NONE);
        assert_true(write(vcpu, MSR_EFER, EFER_LME | EFER_LMA | EFER_SCE));
        assert_int_equal(vcpu->vmcb->tlb_control, flush);
        assert_false(write(vcpu, MSR_EFER, EFER_LMA | EFER_NXE));
        assert_int_equal(vcpu->vmcb->tlb_control, TLB_CONTROL_NONE);
        assert_true(write(vcpu, MSR_EFER, EFER_LME | EFER_LMA | EFER_NXE));
        assert_int_equal(vcpu->vmcb->tlb_control, flush);
        vcpu->vmcb->cr0 &= ~(UINT64_C(1) << 31);
        assert_true(write(vcpu, MSR_EFER, EFER_NXE));
        assert_int_equal(vcpu->vmcb->tlb_control, flush);
        assert_true(write(vcpu, MSR_EFER, EFER_NXE));
        assert_int_equal(vcpu->vmcb->tlb_control, TLB_CONTROL_NONE);
        assert_true(write(vcpu, MSR_EFER, EFER_LME | EFER_NXE));
        assert_int_equal(vcpu->vmcb->tlb_control, flush);
    }
}

static void a_deadline_rearms_the_host_only_when_it_is_earlier(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    assert_true(write(vcpu, 0x832, 0x400ec)); /* LVT timer: TSC-deadline, vector 0xec */
    rig_cpu.timer_tsc = rig_tsc + 10000000;
    vcpu->timer_changed = false;
    uint64_t now = vcpu_guest_tsc(vcpu, rig_tsc);
    assert_true(write(vcpu, 0x6e0, now + 20000000));
    assert_false(vcpu->timer_changed);
    assert_false(vcpu->request);
    assert_true(write(vcpu, 0x6e0, now + 5000000));
    assert_true(vcpu->timer_changed && vcpu->request);
    vcpu->timer_changed = false;
    assert_true(write(vcpu, 0x6e0, 1)); /* in the past */
    assert_true(vcpu->timer_changed);
    vcpu->timer_changed = false;
    assert_true(write(vcpu, 0x6e0, 0)); /* disarmed */
    assert_false(vcpu->timer_changed);
}

/* LVT entry, initial count, divider: from each a count may start, now. Their neighbour sends, and knows no time. */
static void the_timers_registers_begin_with_the_time_and_end_with_the_divider(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    uint64_t value;
    rig_tsc += 1000000000000;
    assert_true(write(vcpu, 0x83e, 0xb)); /* by 1 */
    assert_true(write(vcpu, 0x832, 0x40)); /* one shot */
    assert_true(write(vcpu, 0x838, 0x40000000));
    rig_tsc += 0x20000000;
    assert_true(read(vcpu, 0x839, &value));
    assert_in_range(value, 0x1ffff000, 0x20000000);
    assert_true(write(vcpu, 0x83e, 0)); /* by 2: starts over */
    assert_true(read(vcpu, 0x839, &value));
    assert_in_range(value, 0x3ffff000, 0x40000000);
    rig_cpu.timer_tsc = rig_tsc + 0x100000000;
    vcpu->timer_changed = vcpu->request = false;
    assert_true(write(vcpu, 0x83e, 0xb)); /* it ends earlier than the host would look */
    assert_true(vcpu->timer_changed && vcpu->request);
    vcpu->timer_changed = vcpu->request = false;
    assert_true(write(vcpu, 0x83f, 0x51)); /* SELF_IPI */
    assert_int_equal(vlapic_pending(&vcpu->lapic), 0x51);
    assert_false(vcpu->timer_changed);
}

static void tpr_is_one_by_msr_and_by_cr8(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    uint64_t value;
    assert_true(write(vcpu, 0x808, 0x20));
    assert_int_equal(vcpu->vmcb->v_intr & V_TPR_MASK, 2);
    vcpu->vmcb->v_intr = (vcpu->vmcb->v_intr & ~V_TPR_MASK) | 5; /* the guest's MOV to CR8: no exit */
    assert_true(read(vcpu, 0x808, &value));
    assert_int_equal(value, 0x50);
    assert_true(write(vcpu, 0x808, 0x31));
    event_prepare(vcpu); /* looks at V_TPR first, which must not be the old one */
    assert_true(read(vcpu, 0x808, &value));
    assert_int_equal(value, 0x31); /* the low half, which CR8 does not show, is kept */
}

static void xsetbv_takes_what_cpuid_offers(void **state)
{
    (void)state;
    struct vcpu *vcpu = rig_guest(0, false);
    static const struct {
        uint64_t value;
        uint32_t index;
        uint8_t cpl;
        bool fine;
    } cases[] = {
        {1, 0, 0, true},
        {3, 0, 0, true},
        {7, 0, 0, true},
        {0, 0, 0, false},
        {6, 0, 0, false},
        {5, 0, 0, false},
        {7, 1, 0, false},
        {7, 0, 3, false},
        {0xe7, 0, 0, false},
        {0x207, 0, 0, false},
        {UINT64_C(1) << 63 | 7, 0, 0, false},
    };
    vcpu->vmcb->cr4 |= CR4_OSXSAVE;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        rig_xcr0 = 99;
        vcpu->vmcb->cpl = cases[i].cpl;
        vcpu->run.gprs.rcx = cases[i].index;
        vcpu->vmcb->rax = (uint32_t)cases[i].value;
        vcpu->run.gprs.rdx = cases[i].value >> 32;
        rig_exit(vcpu, VMEXIT_XSETBV, 0, 0);
        assert_int_equal(vcpu->exception == 0, cases[i].fine);
        assert_int_equal(rig_xcr0, cases[i].fine ? cases[i].value : 99);
        assert_int_equal(vcpu->vmcb->rip, cases[i].fine ? 0x1003 : 0x1000);
    }
    vcpu->vmcb->cr4 = 0x20;
    rig_exit(vcpu, VMEXIT_XSETBV, 0, 0);
    assert_int_equal(EVENT_VECTOR(vcpu->exception), 6);
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hostile_values_in_all_msrs_break_nothing_that_vmrun_insists_on),
        TEST(efer_hides_svme_and_keeps_it),
        TEST(a_pat_that_vmrun_would_refuse_is_refused),
        TEST(the_tsc_is_the_guests_own),
        TEST(an_msr_has_a_reason_or_is_not_there),
        TEST(what_linux_takes_for_a_mitigation_is_the_hosts_or_is_not_there),
        TEST(msrs_that_never_exit_are_switched_by_the_processor),
        TEST(efer_and_page_tables_that_read_otherwise_flush_the_tlb),
        TEST(sev_status_is_for_encrypted_guests),
        TEST(what_linux_touches_is_answered),
        TEST(a_deadline_rearms_the_host_only_when_it_is_earlier),
        TEST(the_timers_registers_begin_with_the_time_and_end_with_the_divider),
        TEST(tpr_is_one_by_msr_and_by_cr8),
        TEST(xsetbv_takes_what_cpuid_offers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
