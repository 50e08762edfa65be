/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What a CPU is set to: descriptor tables, stacks for what may come at any time, control registers, SVM. */
#include "fake_cpu.h"

#include "hv/init/cpu_pages.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/page.h"
#include "hv/svm/svm.h"
#include "hv/cpu/trap.h"
#include "hv/cpu/cpu_msr.h"
#include "../boards/boards.h"

const uint8_t isr_stubs[TRAP_VECTORS * TRAP_STUB_SIZE];

static struct descriptor_table gdt, idt;
static unsigned stacks_left;
static uint64_t stack_tops;             /* the next one's */

void load_descriptor_tables(const struct descriptor_table *g, const struct descriptor_table *i, uint16_t code,
                            uint16_t data, uint16_t tss)
{
    gdt = *g;
    idt = *i;
    note("tables %x %x %x", code, data, tss);
}

/* tests/unit/hv_state has the real one. */
void cpu_msr_init(struct cpu_features *features)
{
    assert_int_equal(features->svm.ebx, 509);     /* what CPUID says has been read */
    note("msrs");
}

void *hostmap_stack(uint64_t npages)
{
    if (stacks_left == 0)
        return NULL;
    stacks_left--;
    note("stack %lu", npages);
    return (void *)(uintptr_t)(stack_tops += 0x10000);
}

static int set_up(void **state)
{
    fake_reset(state);
    stacks_left = 100;
    stack_tops = 0x100000;
    const struct fake_leaf leaves[] = {
        {0x80000000, {0x8000001f, 0, 0, 0}}, {1, {0, 0, 0, 0}},
        {0x80000001, {0, 0, 0, 0}},          {0x80000008, {0xff2b, 0, 0, 0}},
        {0x8000000a, {0, 509, 0, 0}},        {0x8000001f, {0, 5 << 6 | 51, 99, 7}},
    };
    const struct fake_msr msrs[] = {
        {MSR_GS_BASE, 0}, {MSR_EFER, 0x500}, {MSR_PAT, 0}, {MSR_SYSCFG, 0}, {MSR_VM_CR, 0}, {MSR_VM_HSAVE_PA, 0},
    };
    memcpy(fake_leaves, leaves, sizeof(leaves));
    memcpy(fake_msrs, msrs, sizeof(msrs));
    return 0;
}

/* APM2 4.8.2: a descriptor of 64-bit mode, taken apart by the manual's figure. */
static uint64_t base_of(const uint64_t *d)
{
    return (d[0] >> 16 & 0xffffff) | (d[0] >> 56) << 24 | d[1] << 32;
}

static uint64_t limit_of(uint64_t d)
{
    return (d & 0xffff) | (d >> 48 & 0xf) << 16;
}

static const uint8_t *tss_of(void)
{
    const uint64_t *entries = (const uint64_t *)(uintptr_t)gdt.base;
    return (const uint8_t *)(uintptr_t)base_of(&entries[3]);
}

static uint64_t ist(unsigned n)
{
    uint64_t top;
    memcpy(&top, tss_of() + 0x24 + 8 * (n - 1), 8);     /* APM2 12.2.5, figure 12-8 */
    return top;
}

static void the_descriptor_tables_are_the_manuals(void **state)
{
    (void)state;
    cpu_init(cpu_boot());
    assert_non_null(strstr(did, "tables 8 10 18\n"));
    const uint64_t *entries = (const uint64_t *)(uintptr_t)gdt.base;
    assert_int_equal(gdt.limit, 5 * 8 - 1);
    assert_int_equal(entries[0], 0);
    /* P, DPL 0, S, code, readable, accessed, L, not D. */
    assert_int_equal(entries[1] >> 40 & 0xf0ff, 0xa09b);
    /* P, DPL 0, S, data, writable, accessed. */
    assert_int_equal(entries[2] >> 40 & 0xff, 0x93);
    assert_int_equal(limit_of(entries[1]), 0xfffff);
    assert_int_equal(limit_of(entries[2]), 0xfffff);
    assert_int_equal(entries[2] >> 52 & 0xf, 0xc);
    /* An available 64-bit TSS, to its last byte, without a map of ports. */
    assert_int_equal(entries[3] >> 40 & 0xff, 0x89);
    assert_int_equal(limit_of(entries[3]), 103);
    assert_int_equal(entries[3] >> 52 & 0xf, 0);
    assert_int_equal(entries[4] >> 32, 0);
    uint16_t io_map;
    memcpy(&io_map, tss_of() + 0x66, 2);
    assert_int_equal(io_map, 104);
    assert_true(tss_of() > (const uint8_t *)cpu_boot() && tss_of() < (const uint8_t *)cpu_boot() + PAGE_SIZE);
}

static void what_may_come_at_any_time_has_a_stack_of_its_own(void **state)
{
    (void)state;
    cpu_init(cpu_boot());
    assert_int_equal(idt.limit, 256 * 16 - 1);
    for (unsigned vector = 0; vector < 256; vector++) {
        const uint16_t *gate = (const uint16_t *)(uintptr_t)(idt.base + vector * 16);
        uint64_t offset = gate[0] | (uint64_t)gate[3] << 16 | (uint64_t)gate[4] << 32 | (uint64_t)gate[5] << 48;
        unsigned number = vector == 8 ? 1 : vector == 2 ? 2 : vector == 18 ? 3 : 0;     /* #DF, NMI, #MC */
        assert_int_equal(offset, (uintptr_t)isr_stubs + vector * 16);
        assert_int_equal(gate[1], 8);
        assert_int_equal(gate[2], 0x8e00 | number);     /* an interrupt gate, DPL 0 */
        assert_int_equal(gate[6] | gate[7], 0);
    }
    uint64_t early = ist(1);
    assert_true(early != 0 && early == ist(2) && early == ist(3) && ist(4) == 0);
    assert_int_equal(early % 16, 0);

    did[0] = '\0';
    assert_ptr_equal(cpu_pages_stacks(cpu_boot()), (void *)0x140000);
    assert_string_equal(did, "stack 2\nstack 2\nstack 2\nstack 8\n");
    assert_int_equal(ist(1), 0x110000);
    assert_int_equal(ist(2), 0x120000);
    assert_int_equal(ist(3), 0x130000);
    cpu_init(cpu_boot());           /* does not take them back */
    assert_int_equal(ist(1), 0x110000);
}

static void without_pages_there_are_no_stacks(void **state)
{
    (void)state;
    for (unsigned left = 0; left < 4; left++) {
        struct cpu *cpu = cpu_pages_create(1, 1);
        cpu_init(cpu);
        uint64_t early = ist(1);
        stacks_left = left;
        did[0] = '\0';
        assert_null(cpu_pages_stacks(cpu));
        for (unsigned i = 1; i <= 3; i++)       /* what could not be had keeps the one it has */
            assert_int_equal(ist(i) != early, i <= left);
        assert_int_equal(strlen(did), left * strlen("stack 2\n"));
    }
}

static void only_what_is_wanted_is_on(void **state)
{
    (void)state;
    fake_cr0 = UINT64_C(1) << 31 | CR0_EM | CR0_TS | CR0_CD | CR0_NW | 1;
    struct cpu *cpu = cpu_boot();
    cpu_init(cpu);
    char expected[512];
    /* APM2 3.1.1: CR0 is PG WP NE ET MP PE; 13.1.1.4: bit 10 of DR7 is always 1. */
    snprintf(expected, sizeof(expected), "tables 8 10 18\nwrmsr c0000101 %lx\ncr4 %lx\ncr0 80010033\ndr7 400\nmsrs\n",
             (uintptr_t)cpu, CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT);
    assert_string_equal(did, expected);
    assert_ptr_equal(cpu->self, cpu);
    assert_int_equal(cpu->timer_tsc, UINT64_MAX);

    fake_leaf(1)->ecx = 1 << 26;        /* XSAVE */
    did[0] = '\0';
    cpu_init(cpu);
    snprintf(expected, sizeof(expected), "cr4 %lx\n", CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_OSXSAVE);
    assert_non_null(strstr(did, expected));
}

/* APM3 E: each bit alone sets its feature alone. */
static void each_feature_is_its_bit_of_cpuid(void **state)
{
    static const struct {
        uint32_t leaf;
        unsigned reg, bit;
        size_t member;
    } bits[] = {
        {1, 2, 21, offsetof(struct cpu_features, x2apic)},
        {0x80000001, 3, 26, offsetof(struct cpu_features, one_gib_pages)},
        {0x8000000a, 3, 3, offsetof(struct cpu_features, next_rip)},
        {0x8000000a, 3, 5, offsetof(struct cpu_features, clean_bits)},
        {0x8000000a, 3, 6, offsetof(struct cpu_features, flush_by_asid)},
        {0x8000000a, 3, 7, offsetof(struct cpu_features, decode_assists)},
        {0x8000001f, 0, 10, offsetof(struct cpu_features, sme_coherent)},
    };
    (void)state;
    for (unsigned i = 0; i < sizeof(bits) / sizeof(*bits); i++) {
        set_up(NULL);
        struct cpu *cpu = cpu_pages_create(1, 1);
        uint32_t *reg = &fake_leaf(bits[i].leaf)->eax + bits[i].reg;
        *reg |= UINT32_C(1) << bits[i].bit;
        cpu_init(cpu);
        for (unsigned j = 0; j < sizeof(bits) / sizeof(*bits); j++)
            assert_int_equal(((const bool *)&cpu->features)[bits[j].member], i == j);
        assert_int_equal(cpu->features.svm.ebx, 509);
        /* Whole, as CPUs that differ in any bit of them are left out. */
        assert_memory_equal(&cpu->features.svm, fake_leaf(0x8000000a), sizeof(cpu->features.svm));
        assert_memory_equal(&cpu->features.encryption, fake_leaf(0x8000001f), sizeof(cpu->features.encryption));
    }
}

static void the_address_width_shrinks_with_encryption_that_is_on(void **state)
{
    static const struct {
        uint32_t highest, eax;
        uint64_t syscfg;
        uint32_t width;
    } cases[] = {
        {0x8000001f, 0, SYSCFG_MEM_ENCRYPTION_MOD_EN, 43}, {0x8000001f, 1, 0, 43},
        {0x8000001f, 1, SYSCFG_MEM_ENCRYPTION_MOD_EN, 38}, {0x8000001f, 3, SYSCFG_MEM_ENCRYPTION_MOD_EN, 38},
        {0x8000001f, 2, SYSCFG_MEM_ENCRYPTION_MOD_EN, 43}, {0x80000020, 3, ~UINT64_C(0), 38},
        {0x8000001e, 3, SYSCFG_MEM_ENCRYPTION_MOD_EN, 43}, {0x8000001f, 3, ~SYSCFG_MEM_ENCRYPTION_MOD_EN, 43},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        set_up(state);
        struct cpu *cpu = cpu_pages_create(1, 1);
        fake_leaf(0x80000000)->eax = cases[i].highest;
        fake_leaf(0x8000001f)->eax = cases[i].eax;
        *fake_msr(MSR_SYSCFG) = cases[i].syscfg;
        cpu_init(cpu);
        assert_int_equal(cpu->features.phys_bits, cases[i].width);
    }
}

/* What SME takes of the address width, on real processors. */
static void a_boards_processor_is_known_for_what_it_is(void **state)
{
    static const uint32_t leaves[] = {0, 1, 0x80000000, 0x80000001, 0x80000008, 0x8000000a, 0x8000001f};
    for (uint32_t b = 0; b < board_count; b++) {
        if (boards[b].leaf_count == 0)
            continue;
        set_up(state);
        struct cpu *cpu = cpu_pages_create(1, 1);
        for (unsigned i = 0; i < sizeof(leaves) / sizeof(*leaves); i++) {
            const struct board_leaf *l = board_leaf(&boards[b], leaves[i], 0);
            *fake_leaf(leaves[i]) = (struct cpuid){l->eax, l->ebx, l->ecx, l->edx};
        }
        fake_leaf(0x8000000a)->ebx = 509;       /* cpu_msr_init() above wants to see them */
        *fake_msr(MSR_SYSCFG) = SYSCFG_MEM_ENCRYPTION_MOD_EN;
        cpu_init(cpu);
        const struct board_leaf *e = board_leaf(&boards[b], 0x8000001f, 0), *w = board_leaf(&boards[b], 0x80000008, 0);
        assert_int_equal(cpu->features.phys_bits, (w->eax & 0xff) - (e->ebx >> 6 & 0x3f));
        if (boards[b].width != BOARD_UNKNOWN)
            assert_int_equal(cpu->features.phys_bits, boards[b].width);
        assert_int_equal(cpu->features.sme_coherent,
                         e->eax >> 10 & 1);     /* since Milan: Linux X86_FEATURE_SME_COHERENT */
        assert_true(cpu->features.next_rip && cpu->features.decode_assists);
    }
}

static void another_cpu_has_its_page_and_its_tables_but_the_same_gates(void **state)
{
    (void)state;
    struct cpu *cpu = cpu_pages_create(5, 0x123);
    assert_string_equal(did, "page_alloc 1\n");
    assert_int_equal(cpu->index, 5);
    assert_int_equal(cpu->apic_id, 0x123);
    cpu_init(cpu_boot());
    uint64_t shared = idt.base;
    uint64_t own = gdt.base;
    cpu_init(cpu);
    assert_int_equal(idt.base, shared);
    assert_true(gdt.base != own && gdt.base > (uintptr_t)cpu && gdt.base < (uintptr_t)cpu + PAGE_SIZE);
    assert_true(tss_of() > (const uint8_t *)cpu && tss_of() + 104 <= (const uint8_t *)cpu + PAGE_SIZE);
    fake_pages_left = 0;
    assert_null(cpu_pages_create(6, 6));
}

/* ---- SVM ---- */

static void svm_is_switched_on_with_the_cpus_own_page(void **state)
{
    (void)state;
    struct cpu *cpu = cpu_pages_create(1, 1);
    assert_true(svm_allocate(cpu));
    assert_true(cpu->host_save.raw != 0 && cpu->host_vmcb.raw != 0 && cpu->host_save.raw != cpu->host_vmcb.raw);
    did[0] = '\0';
    svm_init(cpu);
    char expected[256];
    snprintf(expected, sizeof(expected), "wrmsr c0000080 %lx\nwrmsr c0010117 %lx\n", UINT64_C(0xd00) | EFER_SVME,
             cpu->host_save.raw | FAKE_C_BIT);
    assert_string_equal(did, expected);

    *fake_msr(MSR_VM_CR) = VM_CR_SVMDIS | 0x20;
    did[0] = '\0';
    svm_init(cpu);
    assert_ptr_equal(strstr(did, "wrmsr c0010114 20\n"), did);

    for (unsigned left = 0; left < 2; left++) {
        fake_pages_left = left;
        assert_false(svm_allocate(cpu));
    }
}

static void the_boot_cpu_says_what_svm_can(void **state)
{
    static const struct {
        unsigned bit;
        const char *words;
    } cases[] = {
        {3, ", next RIP"}, {5, ", clean bits"}, {6, ", flush by ASID"}, {7, ", decode assists"}, {1, ""},
    };
    for (unsigned i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        set_up(state);
        fake_leaf(0x8000000a)->edx = 1u << cases[i].bit;
        cpu_init(cpu_boot());
        assert_true(svm_allocate(cpu_boot()));
        svm_init(cpu_boot());
        char expected[128];
        snprintf(expected, sizeof(expected), "log %d SVM on: 509 ASIDs%s\n", LOG_NOTICE, cases[i].words);
        assert_non_null(strstr(did, expected));
    }
}

#define T(name) cmocka_unit_test_setup(name, set_up)
int main(void)
{
    const struct CMUnitTest tests[] = {
        T(what_may_come_at_any_time_has_a_stack_of_its_own),
        T(the_descriptor_tables_are_the_manuals),
        T(without_pages_there_are_no_stacks),
        T(only_what_is_wanted_is_on),
        T(each_feature_is_its_bit_of_cpuid),
        T(the_address_width_shrinks_with_encryption_that_is_on),
        T(a_boards_processor_is_known_for_what_it_is),
        T(another_cpu_has_its_page_and_its_tables_but_the_same_gates),
        T(svm_is_switched_on_with_the_cpus_own_page),
        T(the_boot_cpu_says_what_svm_can),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
