/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A CPU's own GDT, TSS, IDT and GS base, and the object that they belong to. */
#include "hv/cpu/cpu.h"

#include "hv/cpu/cpu_msr.h"
#include "hv/cpu/trap.h"
#include "hv/lib/x86.h"

#define SELECTOR_TSS 0x18u
#define GDT_CODE64 UINT64_C(0x00af9b000000ffff)
#define GDT_DATA UINT64_C(0x00cf93000000ffff)
#define GDT_TSS_AVAILABLE UINT64_C(0x0000890000000000)
#define IDT_INTERRUPT_GATE 0x8e00u
#define IST_DF 1u
#define IST_NMI 2u
#define IST_MC 3u

/* APM2 12.2.5 */
struct tss {
    uint32_t reserved_0;
    uint64_t rsp[3];
    uint64_t reserved_1c;
    uint64_t ist[7];
    uint64_t reserved_5c;
    uint16_t reserved_64;
    uint16_t io_map;
} __attribute__((packed));
_Static_assert(sizeof(struct tss) == 104, "64-bit TSS");

/* APM2 4.8.4 */
struct gate {
    uint16_t offset_0;
    uint16_t selector;
    uint16_t flags;     /* IST in bits 2:0 */
    uint16_t offset_16;
    uint32_t offset_32;
    uint32_t reserved;
};
_Static_assert(sizeof(struct gate) == 16, "64-bit gate");

/* A CPU's own, in one piece. */
struct cpu_block {
    struct cpu cpu;         /* first: so this is also where the block is */
    uint64_t gdt[5];
    struct tss tss;
};
_Static_assert(sizeof(struct cpu_block) <= PAGE_SIZE, "a CPU is one pool page");

static struct cpu_block boot_block;
static struct gate idt[TRAP_VECTORS];       /* the same for all CPUs */

/* For #DF, NMI and #MC until there is memory for cpu_stacks(): enough for a panic. */
static uint8_t early_stack[PAGE_SIZE] __attribute__((aligned(16)));

static void idt_build(void)
{
    for (uint32_t vector = 0; vector < TRAP_VECTORS; vector++) {
        uint64_t stub = (uintptr_t)&isr_stubs[vector * TRAP_STUB_SIZE];
        uint32_t ist = vector == TRAP_DF ? IST_DF : vector == TRAP_NMI ? IST_NMI : vector == TRAP_MC ? IST_MC : 0;
        idt[vector] = (struct gate){
            .offset_0 = (uint16_t)stub,
            .selector = SELECTOR_CODE,
            .flags = (uint16_t)(IDT_INTERRUPT_GATE | ist),
            .offset_16 = (uint16_t)(stub >> 16),
            .offset_32 = (uint32_t)(stub >> 32),
        };
    }
}

struct cpu *cpu_boot(void)
{
    return &boot_block.cpu;
}

struct cpu *cpu_create(void *page, uint32_t index, uint32_t apic_id)
{
    struct cpu *cpu = page;
    cpu->index = index;
    cpu->apic_id = apic_id;
    return cpu;
}

static struct cpu_block *cpu_block(struct cpu *cpu)
{
    return (struct cpu_block *)cpu;
}

static void cpu_load_tables(struct cpu_block *tables)
{
    uint64_t tss = (uintptr_t)&tables->tss;
    tables->gdt[SELECTOR_CODE / 8] = GDT_CODE64;
    tables->gdt[SELECTOR_DATA / 8] = GDT_DATA;
    tables->gdt[SELECTOR_TSS / 8] =
        GDT_TSS_AVAILABLE | (sizeof(struct tss) - 1) | (tss & 0xffffff) << 16 | (tss >> 24 & 0xff) << 56;
    tables->gdt[SELECTOR_TSS / 8 + 1] = tss >> 32;
    tables->tss.io_map = sizeof(struct tss);

    struct descriptor_table gdt = {sizeof(tables->gdt) - 1, (uintptr_t)tables->gdt};
    struct descriptor_table interrupts = {sizeof(idt) - 1, (uintptr_t)idt};
    load_descriptor_tables(&gdt, &interrupts, SELECTOR_CODE, SELECTOR_DATA, SELECTOR_TSS);
}

static void cpu_read_features(struct cpu_features *f)
{
    uint32_t highest = cpuid(0x80000000, 0).eax;
    uint32_t ecx_1 = cpuid(1, 0).ecx;
    f->x2apic = (ecx_1 >> 21 & 1) != 0;
    f->one_gib_pages = (cpuid(0x80000001, 0).edx >> 26 & 1) != 0;
    f->phys_bits = cpuid(0x80000008, 0).eax & 0xff;

    f->svm = cpuid(0x8000000a, 0);
    f->next_rip = (f->svm.edx >> 3 & 1) != 0;
    f->clean_bits = (f->svm.edx >> 5 & 1) != 0;
    f->flush_by_asid = (f->svm.edx >> 6 & 1) != 0;
    f->decode_assists = (f->svm.edx >> 7 & 1) != 0;

    f->encryption = highest >= 0x8000001f ? cpuid(0x8000001f, 0) : (struct cpuid){0};
    f->sme_coherent = (f->encryption.eax >> 10 & 1) != 0;
    /* The width shrinks as soon as encryption is enabled, used or not. */
    if ((f->encryption.eax & 1) != 0 && (rdmsr(MSR_SYSCFG) & SYSCFG_MEM_ENCRYPTION_MOD_EN) != 0)
        f->phys_bits -= f->encryption.ebx >> 6 & 0x3f;
}

void cpu_init(struct cpu *cpu)
{
    struct cpu_block *block = cpu_block(cpu);
    if (cpu == cpu_boot())
        idt_build();
    for (uint32_t i = 0; i < CPU_IST_STACKS; i++)
        if (block->tss.ist[i] == 0)
            block->tss.ist[i] = (uintptr_t)(early_stack + sizeof(early_stack));
    cpu_load_tables(block);

    cpu->self = cpu;
    cpu->timer_tsc = UINT64_MAX;
    wrmsr(MSR_GS_BASE, (uintptr_t)cpu);

    /* Everything that is not set here is off: PGE, PCIDE, LA57, CET and whatever else the firmware used. */
    uint64_t cr4 = CR4_PAE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
    if ((cpuid(1, 0).ecx >> 26 & 1) != 0)
        cr4 |= CR4_OSXSAVE;
    write_cr4(cr4);
    write_cr0(CR0_PE | CR0_MP | CR0_ET | CR0_NE | CR0_WP | CR0_PG);
    write_dr7(DR7_RESET);
    cpu_read_features(&cpu->features);
    cpu_msr_init(&cpu->features);
}

void cpu_set_ist_stack(struct cpu *cpu, uint32_t which, void *top)
{
    cpu_block(cpu)->tss.ist[which] = (uintptr_t)top;
}
