/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which pages a guest shares: the hypercall against a flat model, hostile arguments, MIGRATION_CONTROL. */
#include "with_cmocka.h"

#include <stdlib.h>
#include <string.h>

#include "hv/vm/fair.h"
#include "hv/vm/pages.h"
#include "rig.h"

#define HC_MAP_GPA_RANGE 12
#define PRIVATE 0x10u
#define NPAGES 1000u /* no multiple of a word's */

static uint64_t takes_tsc, slice_ends_tsc; /* the hypercall, meanwhile the interrupt comes; 0: no time, none */

bool __real_pages_map_gpa_range(struct guest *guest, uint64_t gpa, uint64_t npages, uint64_t attributes);
bool __wrap_pages_map_gpa_range(struct guest *guest, uint64_t gpa, uint64_t npages, uint64_t attributes)
{
    rig_tsc += takes_tsc;
    if (slice_ends_tsc != 0)
        rig_cpu.interrupted_tsc = slice_ends_tsc;
    return __real_pages_map_gpa_range(guest, gpa, npages, attributes);
}

static int64_t call(struct vcpu *vcpu, uint64_t gpa, uint64_t npages, uint64_t attributes)
{
    vcpu->vmcb->rax = HC_MAP_GPA_RANGE;
    vcpu->run.gprs.rbx = gpa;
    vcpu->run.gprs.rcx = npages;
    vcpu->run.gprs.rdx = attributes;
    assert_true(rig_exit(vcpu, VMEXIT_VMMCALL, 0, 0));
    assert_true(vcpu->vmcb->rip == 0x1003 && vcpu->run.gprs.rbx == gpa && vcpu->run.gprs.rcx == npages &&
                vcpu->run.gprs.rdx == attributes);
    return (int64_t)vcpu->vmcb->rax;
}

static struct vcpu *sev_guest(uint32_t index)
{
    struct vcpu *vcpu = rig_guest(index, true);
    guests[index].memory.size = NPAGES * PAGE_SIZE;
    assert_true(pages_create(&guests[index]));
    return vcpu;
}

static bool shared(uint64_t page)
{
    return pages_are_shared(&guests[0], gpaddr(page * PAGE_SIZE), PAGE_SIZE);
}

static uint64_t count_shared(void)
{
    uint64_t count = 0;
    for (uint64_t page = 0; page < NPAGES; page++)
        count += shared(page);
    return count;
}

static void pages_are_as_the_guest_said_last_and_private_before(void **state)
{
    (void)state;
    static bool model[NPAGES];
    struct vcpu *vcpu = sev_guest(0);
    memset(model, 0, sizeof(model));
    assert_int_equal(count_shared(), 0);
    srandom(1);
    for (unsigned i = 0; i < 5000; i++) {
        uint64_t first = (uint64_t)random() % NPAGES, most = NPAGES - first;
        uint64_t count = 1 + (uint64_t)random() % (random() % 2 == 0 ? most : most < 70 ? most : 70);
        bool private = random() % 2 == 0;
        assert_int_equal(call(vcpu, first * PAGE_SIZE, count, private ? PRIVATE : i % 3), 0);
        for (uint64_t page = first; page < first + count; page++)
            model[page] = !private;
        for (uint64_t page = 0; page < NPAGES; page++)
            assert_int_equal(shared(page), model[page]);
        bool all = true;
        for (uint64_t page = first; page < first + most / 2 + 1; page++)
            all = all && model[page];
        assert_int_equal(pages_are_shared(&guests[0], gpaddr(first * PAGE_SIZE + 5), most / 2 * PAGE_SIZE + 1), all);
    }
    pages_destroy(&guests[0]);
    assert_int_equal(count_shared(), 0);
}

static void hostile_arguments_are_refused_and_change_nothing(void **state)
{
    (void)state;
    static const struct {
        uint64_t gpa, npages, attributes;
    } hostile[] = {
        {1, 1, 0},
        {0xfff, 1, 0},
        {0, 0, 0},
        {0, NPAGES + 1, 0},
        {PAGE_SIZE, NPAGES, 0},
        {NPAGES * PAGE_SIZE, 1, 0},
        {(NPAGES - 1) * PAGE_SIZE, 2, 0},
        {0, UINT64_MAX, 0},
        {0, UINT64_C(1) << 52, 0},
        {0, (UINT64_C(1) << 52) + 1, 0},
        {PAGE_SIZE, (UINT64_C(1) << 52) - 1, 0},
        {UINT64_MAX - PAGE_SIZE + 1, 1, 0},
        {UINT64_MAX - PAGE_SIZE + 1, 2, 0},
        {UINT64_C(1) << 51, 1, 0}, /* with its C-bit */
        {0, 1, 3},
        {0, 1, 15},
        {0, 1, 0x20},
        {0, 1, UINT64_C(1) << 63},
    };
    struct vcpu *vcpu = sev_guest(0);
    assert_int_equal(call(vcpu, 7 * PAGE_SIZE, 1, 0), 0);
    for (size_t i = 0; i < sizeof(hostile) / sizeof(*hostile); i++) {
        assert_int_equal(call(vcpu, hostile[i].gpa, hostile[i].npages, hostile[i].attributes), -22);
        assert_int_equal(call(vcpu, hostile[i].gpa, hostile[i].npages, hostile[i].attributes | PRIVATE), -22);
        assert_true(count_shared() == 1 && shared(7));
    }
    assert_int_equal(call(vcpu, 0, NPAGES, 0), 0);
    assert_int_equal(count_shared(), NPAGES);
    static const struct {
        uint64_t gpa, size;
    } outside[] = {
        {NPAGES * PAGE_SIZE, 1}, {(NPAGES - 1) * PAGE_SIZE, PAGE_SIZE + 1}, {UINT64_MAX, 1}, {1, UINT64_MAX}};
    for (size_t i = 0; i < sizeof(outside) / sizeof(*outside); i++)
        assert_false(pages_are_shared(&guests[0], gpaddr(outside[i].gpa), outside[i].size));
    pages_destroy(&guests[0]);
}

static void all_of_its_time_is_paid_for_also_more_than_a_slice(void **state)
{
    (void)state;
    const uint64_t ms = RIG_HZ / 1000;
    struct vcpu *vcpu = sev_guest(0);
    for (unsigned interrupted = 0; interrupted < 2; interrupted++) {
        vcpu->fair_tsc = vcpu->run_tsc = 0;
        vcpu->vmcb->nrip = 0;
        rig_cpu.charged_tsc = rig_tsc;
        rig_cpu.slice_end_tsc = rig_tsc + 10 * ms;
        takes_tsc = 60 * ms;
        slice_ends_tsc = interrupted ? rig_cpu.slice_end_tsc : 0;
        assert_int_equal(call(vcpu, 0, NPAGES, PRIVATE), 0);
        fair_charge_stay(&rig_cpu, vcpu, rig_tsc);
        assert_in_range(vcpu->fair_tsc, 60 * ms, 61 * ms);
        assert_int_equal(vcpu->run_tsc, vcpu->fair_tsc);
    }
    takes_tsc = slice_ends_tsc = 0;
    pages_destroy(&guests[0]);
}

static void what_an_interrupt_does_for_others_is_not_paid_for_by_who_runs_and_is_left_out_once(void **state)
{
    (void)state;
    const uint64_t ms = RIG_HZ / 1000;
    struct vcpu *vcpu = rig_guest(0, false);
    uint64_t start = rig_cpu.charged_tsc = rig_tsc;
    vcpu->fair_tsc = vcpu->run_tsc = 0;
    rig_cpu.others_charged = rig_cpu.others_tsc;
    rig_cpu.others_tsc += 3 * ms;
    fair_charge_work(&rig_cpu, vcpu, start + 5 * ms);
    assert_int_equal(vcpu->fair_tsc, 2 * ms);
    fair_charge_work(&rig_cpu, vcpu, start + 9 * ms);
    assert_int_equal(vcpu->fair_tsc, 6 * ms);
    rig_cpu.others_tsc += 10 * ms;
    fair_charge_work(&rig_cpu, vcpu, start + 10 * ms);
    assert_int_equal(vcpu->fair_tsc, 6 * ms);
    fair_charge_work(&rig_cpu, vcpu, start + 11 * ms);
    assert_int_equal(vcpu->fair_tsc, 7 * ms);
    assert_int_equal(vcpu->run_tsc, vcpu->fair_tsc);
}

static void it_is_for_kernels_of_guests_with_sev(void **state)
{
    (void)state;
    struct vcpu *vcpu = sev_guest(0), *plain = rig_guest(1, false);
    assert_true(pages_create(&guests[1]) && guests[1].shared == NULL);
    assert_int_equal(call(plain, 0, 1, 0), -1000);
    assert_false(pages_are_shared(&guests[1], gpaddr(0), 1));
    vcpu->vmcb->cpl = 3;
    assert_int_equal(call(vcpu, 0, 1, 0), -1);
    assert_int_equal(count_shared(), 0);
    pages_destroy(&guests[0]);
    pages_destroy(&guests[1]);
}

static bool write(struct vcpu *vcpu, uint32_t msr, uint64_t value)
{
    vcpu->run.gprs.rcx = msr;
    vcpu->vmcb->rax = (uint32_t)value;
    vcpu->run.gprs.rdx = value >> 32;
    rig_exit(vcpu, VMEXIT_MSR, 1, 0);
    return vcpu->exception == 0;
}

static bool read(struct vcpu *vcpu, uint32_t msr, uint64_t *value)
{
    vcpu->run.gprs.rcx = msr;
    rig_exit(vcpu, VMEXIT_MSR, 0, 0);
    *value = vcpu->run.gprs.rdx << 32 | (uint32_t)vcpu->vmcb->rax;
    return vcpu->exception == 0;
}

static void migration_control_has_one_bit_and_only_under_sev(void **state)
{
    (void)state;
    struct vcpu *vcpu = sev_guest(0), *plain = rig_guest(1, false);
    uint64_t value = 7;
    assert_true(read(vcpu, 0x4b564d08, &value) && value == 0);
    assert_true(write(vcpu, 0x4b564d08, 1) && read(vcpu, 0x4b564d08, &value) && value == 1);
    for (unsigned bit = 1; bit < 64; bit++)
        assert_false(write(vcpu, 0x4b564d08, UINT64_C(1) << bit | 1));
    assert_true(read(vcpu, 0x4b564d08, &value) && value == 1 && guests[0].migration_control == 1);
    assert_true(write(vcpu, 0x4b564d08, 0) && guests[0].migration_control == 0);
    assert_false(read(plain, 0x4b564d08, &value));
    assert_false(write(plain, 0x4b564d08, 0));
    pages_destroy(&guests[0]);
}

static void a_guest_that_tells_what_it_shares_has_its_clock_there_only(void **state)
{
    (void)state;
    struct vcpu *vcpu = sev_guest(0);
    assert_true(write(vcpu, 0x4b564d01, 0x1001) && write(vcpu, 0x4b564d00, 0x1000));
    assert_true(write(vcpu, 0x4b564d08, 1));
    assert_false(write(vcpu, 0x4b564d01, 0x1001));
    assert_false(write(vcpu, 0x4b564d00, 0x1000));
    assert_false(rig_window_open);
    assert_int_equal(call(vcpu, 0x1000, 1, 0), 0);
    assert_true(write(vcpu, 0x4b564d01, 0x1001) && write(vcpu, 0x4b564d00, 0x1000));
    assert_false(write(vcpu, 0x4b564d01, 0x2001));
    pages_destroy(&guests[0]);
}

/* ---- touched, dirty ---- */

static uint8_t look(uint64_t page, bool clear)
{
    return pages_look(&guests[0], gpaddr(page * PAGE_SIZE), clear);
}

static void a_page_is_dirty_when_written_or_shared_since_it_was_looked_at(void **state)
{
    (void)state;
    struct vcpu *vcpu = sev_guest(0);
    struct guest *guest = &guests[0];
    assert_true(npt_map(&guest->npt, gpaddr(0), guest->memory.base, NPAGES * PAGE_SIZE, VIEW_GUEST));
    uint64_t tables = guest->npt.pages;
    assert_true(npt_split(&guest->npt, gpaddr(0), NPAGES * PAGE_SIZE));
    assert_true(guest->npt.pages > tables);
    for (uint64_t page = 0; page < NPAGES; page++)
        assert_int_equal(look(page, true), 0);

    assert_int_equal(call(vcpu, 3 * PAGE_SIZE, 100, 0), 0);
    assert_int_equal(call(vcpu, 50 * PAGE_SIZE, 1, PRIVATE), 0);
    npt_mark(&guest->npt, gpaddr(500 * PAGE_SIZE + 4095), 2);
    for (unsigned round = 0; round < 2; round++) /* looking changes nothing */
        for (uint64_t page = 0; page < NPAGES; page++) {
            bool shared_now = page >= 3 && page < 103 && page != 50, by_hv = page == 500 || page == 501;
            assert_int_equal(look(page, false), (shared_now ? CONTROL_PAGE_SHARED : 0) |
                                                    (page >= 3 && page < 103 ? CONTROL_PAGE_DIRTY : 0) |
                                                    (by_hv ? CONTROL_PAGE_TOUCHED | CONTROL_PAGE_DIRTY : 0));
        }
    assert_int_equal(look(4, true), CONTROL_PAGE_SHARED | CONTROL_PAGE_DIRTY);
    assert_int_equal(look(4, false), CONTROL_PAGE_SHARED);
    assert_int_equal(look(5, false), CONTROL_PAGE_SHARED | CONTROL_PAGE_DIRTY); /* its neighbour is another */
    assert_int_equal(look(501, true), CONTROL_PAGE_TOUCHED | CONTROL_PAGE_DIRTY);
    assert_int_equal(look(501, false), CONTROL_PAGE_TOUCHED);
    assert_int_equal(call(vcpu, 4 * PAGE_SIZE, 1, 0), 0); /* as it is already */
    assert_int_equal(look(4, false), CONTROL_PAGE_SHARED);
    assert_int_equal(call(vcpu, 4 * PAGE_SIZE, 1, PRIVATE), 0);
    assert_int_equal(look(4, false), CONTROL_PAGE_DIRTY);
    pages_destroy(guest);

    /* The clock's structures are hv's to write. */
    guest->memory.size = RIG_RAM_SIZE;
    assert_int_equal(look(6, true) | look(7, true), 0);
    assert_true(write(vcpu, 0x4b564d01, 0x6001) && write(vcpu, 0x4b564d00, 0x7000));
    assert_true(look(6, true) == (CONTROL_PAGE_TOUCHED | CONTROL_PAGE_DIRTY) && look(7, true) == look(6, true) + 4);
}

/* Each vCPU flushes before it enters the guest, and not after every exit. */
static unsigned entries, flushes;

static void count_flushes(struct vcpu *vcpu)
{
    entries++;
    flushes += vcpu->vmcb->tlb_control != TLB_CONTROL_NONE;
    vcpu->vmcb->exitcode = VMEXIT_INTR;
    if (entries == 5)
        pages_flush_tlb(vcpu->guest); /* from another CPU, while this one is in the guest */
    if (entries == 10) {
        rig_time(RIG_HZ);
        rig_cpu.timer_fired = true;
    }
}

static void stale_translations_are_flushed_before_the_next_entry(void **state)
{
    (void)state;
    uint64_t next;
    struct vcpu *vcpu = rig_guest(0, true);
    rig_schedule(vcpu);
    rig_vmrun = count_flushes;
    vcpu->last_cpu = &rig_cpu; /* it has run here before: nothing else asks for a flush */
    entries = flushes = 0;
    assert_true(run_round(&rig_cpu, RIG_HZ / 2, &next));
    assert_true(entries == 10 && flushes == 1);
    pages_flush_tlb(&guests[0]); /* while it does not run */
    flushes = 0;
    for (unsigned round = 0; round < 2; round++) {
        for (entries = 5; entries < 10;)
            assert_true(run_round(&rig_cpu, RIG_HZ / 2, &next));
        assert_int_equal(flushes, 1); /* once */
    }
}

static void the_list_is_of_pool_pages_that_come_back(void **state)
{
    (void)state;
    rig_guest(0, true);
    guests[0].memory.size = SIZE_1G; /* twice 32 KiB of bits */
    uint64_t before = rig_pages_taken();
    rig_leave_pages(15);
    assert_false(pages_create(&guests[0]));
    assert_int_equal(rig_pages_taken(), before);
    rig_leave_pages(16);
    assert_true(pages_create(&guests[0]));
    assert_int_equal(rig_pages_taken(), before + 16);
    pages_set_shared(&guests[0], gpaddr(0), SIZE_1G, true);
    assert_true(pages_are_shared(&guests[0], gpaddr(0), SIZE_1G));
    pages_destroy(&guests[0]);
    rig_leave_pages(UINT64_MAX);
    assert_int_equal(rig_pages_taken(), before);
}

#define TEST(name) cmocka_unit_test_setup(name, rig_reset)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_are_as_the_guest_said_last_and_private_before),
        TEST(hostile_arguments_are_refused_and_change_nothing),
        TEST(all_of_its_time_is_paid_for_also_more_than_a_slice),
        TEST(what_an_interrupt_does_for_others_is_not_paid_for_by_who_runs_and_is_left_out_once),
        TEST(it_is_for_kernels_of_guests_with_sev),
        TEST(migration_control_has_one_bit_and_only_under_sev),
        TEST(a_guest_that_tells_what_it_shares_has_its_clock_there_only),
        TEST(a_page_is_dirty_when_written_or_shared_since_it_was_looked_at),
        TEST(stale_translations_are_flushed_before_the_next_entry),
        TEST(the_list_is_of_pool_pages_that_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
