/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Attacks that end the guest, and some that never end. */
#include "kit.h"

#define PTE_LARGE UINT64_C(0x83)
#define LVT_PERIODIC (1u << 17)
#define LVT_MASKED (1u << 16)

static volatile uint32_t *map_with(uint64_t address, uint64_t bits)
{
    volatile uint64_t *entry = page_entry(0x800000);

    *entry = (address & ~UINT64_C(0x1fffff)) | PTE_LARGE | bits;
    __asm__ volatile("invlpg (%0)" : : "r"(UINT64_C(0x800000)) : "memory");
    return (volatile uint32_t *)(0x800000 + (address & 0x1fffff));
}

volatile uint32_t *map(uint64_t address)
{
    return map_with(address, c_bit);
}

volatile uint32_t *map_shared(uint64_t address)
{
    return map_with(address, 0);
}

uint64_t bus_address(void)
{
    return (memory_size + random64() % ((UINT64_C(1) << 32) - memory_size)) & ~UINT64_C(3);
}

static void end_triple(void)
{
    load_idt(0);
    __asm__ volatile("ud2");
}

static void end_outs(void)
{
    __asm__ volatile("rep outsb" : : "S"(command_line), "c"(4), "d"(COM1));
}

static void end_ins(void)
{
    __asm__ volatile("rep insl" : : "D"(UINT64_C(0x800000)), "c"(UINT64_C(0x1000000000)), "d"(0x1f0) : "memory");
}

/* Page after page of the empty bus, without end. */
static void end_mmio_reads(void)
{
    for (uint64_t address = memory_size;; address += 0x201000)
        (void)*map(address);
}

/* Read, which gives it a page of ones; and then written to. */
static void end_mmio_write(void)
{
    volatile uint32_t *registers = map_shared(0xfed80300);

    if (registers[0] == UINT32_MAX)
        registers[0] = 0;
}

/* Read, and then jumped to. */
static void end_mmio_jump(void)
{
    volatile uint32_t *registers = map(0xfffffff0);
    void (*reset_vector)(void) = (void (*)(void))(uint64_t)registers;

    (void)registers[0];
    reset_vector();
}

/* Read, and then taken for page tables: their walk is a write. */
static void end_mmio_walk(void)
{
    uint64_t cr3 = 0xfed00000;

    (void)*map(cr3);
    __asm__ volatile("mov %0, %%cr3" : : "r"(cr3 | c_bit) : "memory");
}

static void end_mmio_far_read(void)
{
    (void)*map(UINT64_C(1) << 32);
}

static void end_mmio_apic(void)
{
    map(0xfee00300)[0] = 0x000c4500;
}

static void end_mmio_far(void)
{
    map(UINT64_C(1) << 40)[3] = 1;
}

/* The instruction itself comes from where there is nothing. */
static void end_mmio_fetch(void)
{
    void (*nowhere)(void) = (void (*)(void))(uint64_t)map(0xc0000000);

    nowhere();
}

/* A page table where there is no memory. */
static void end_walk(void)
{
    uint64_t cr3 = memory_size + 0x1000;

    __asm__ volatile("mov %0, %%cr3" : : "r"(cr3 | c_bit) : "memory");
}

static void end_hlt(void)
{
    __asm__ volatile("cli; hlt");
}

static void end_reset(void)
{
    out8(RESET, 1);
}

static void end_init(void)
{
    write_msr(MSR_X2APIC_ICR, 1u << 18 | ICR_INIT);
}

/* No stack: the first fault is the last. */
static void end_stack(void)
{
    __asm__ volatile("mov %0, %%rsp; push %%rax" : : "r"(UINT64_C(0x8000000000000000)) : "memory");
}

/* A code segment that is both of 64 and of 32 bits: the processor refuses it with #GP (APM2 4.8.2). An emulator may
 * let it pass, and refuse the next VMRUN (APM2 15.5.1). */
static void end_reserved(void)
{
    static const uint64_t gdt[] = {0, 0, UINT64_C(0x00ef9b000000ffff), UINT64_C(0x00cf93000000ffff)};
    struct __attribute__((packed)) {
        uint16_t limit;
        uint64_t base;
    } gdtr = {sizeof(gdt) - 1, (uint64_t)(uintptr_t)gdt};
    uint32_t a, b, c, d;

    __asm__ volatile("lgdt %0; pushq $0x10; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:" ::"m"(gdtr), "m"(gdt)
                     : "rax", "memory");
    cpuid(0, &a, &b, &c, &d);
}

static void end_never(void)
{
    __asm__ volatile("cli; 1: jmp 1b");
}

/* A breakpoint on the stack that #DB's own frame is pushed to: each delivery raises the next (CVE-2015-8104).
 * For a real processor: QEMU 10.0 gives up at such a breakpoint. */
static void end_debug(void)
{
    uint64_t rsp;

    __asm__ volatile("mov %%rsp, %0" : "=r"(rsp));
    __asm__ volatile("mov %0, %%dr0" : : "r"((rsp - 64) & ~UINT64_C(7)));
    __asm__ volatile("mov %0, %%dr7" : : "r"(UINT64_C(0x000d0403)));      /* writes, eight bytes */
    for (;;)
        __asm__ volatile("pushq $0; pushq $0; pushq $0; pushq $0; int1; add $32, %%rsp" ::: "memory");
}

/* Asleep for ever, with a masked timer that has a period of one cycle. */
static void end_asleep(void)
{
    write_msr(0x83e, 0xb);
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_PERIODIC | LVT_MASKED | 0x60);
    write_msr(0x838, 1);
    for (;;)
        __asm__ volatile("sti; hlt" ::: "memory");
}

const struct attack ends[] = {
    {"triple", end_triple},
    {"outs", end_outs},
    {"ins", end_ins},
    {"mmio-reads", end_mmio_reads},
    {"mmio-write", end_mmio_write},
    {"mmio-jump", end_mmio_jump},
    {"mmio-walk", end_mmio_walk},
    {"mmio-far-read", end_mmio_far_read},
    {"mmio-apic", end_mmio_apic},
    {"mmio-far", end_mmio_far},
    {"mmio-fetch", end_mmio_fetch},
    {"walk", end_walk},
    {"hlt", end_hlt},
    {"reset", end_reset},
    {"init", end_init},
    {"stack", end_stack},
    {"reserved", end_reserved},
    {"never", end_never},
    {"debug", end_debug},
    {"asleep", end_asleep},
    {0, 0},
};
