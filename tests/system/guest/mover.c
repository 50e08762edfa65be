/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * mover: a test guest that is moved. It says which page it shares, as Linux does (KVM_HC_MAP_GPA_RANGE, MIGRATION_CONTROL), fills
 * private and shared pages with a pattern of its command line, counts by the timer's interrupts, and looks each time whether
 * all of it is still as it was: memory, registers that the counting does not touch, the FPU's included. With `private` on its
 * command line it shares nothing, and says nothing of it: x2APIC, UART and CPUID are all that it needs then.
 *   mover: count N       each count; or mover: count N: WHAT is wrong
 *   mover: late by N     the most cycles of the TSC by which a count came late so far; each hundredth count, if `clock` is a word of
 *                        its command line
 */
#include "guest/hello/bare.h"

#define VECTOR_TIMER 0x40
#define TICK_TSC 40000000ull

#define PAGE 4096
#define PATTERN_GPA 0x200000    /* private pages */
#define PATTERN_PAGES 12
#define SHARED_GPA 0x300000
#define MSR_MIGRATION_CONTROL 0x4b564d08
#define HC_MAP_GPA_RANGE 12     /* arch/x86's kvm_para.h: address, pages, attributes: bit 4 private */

struct interrupt_frame;

static struct gate idt[VECTOR_TIMER + 1];
static volatile uint32_t ticks;
static uint64_t page_table[512] __attribute__((aligned(4096)));

static uint64_t seed_of(const char *cmdline)
{
    const char *word = find_word(cmdline, "marker=");
    uint64_t hash = 0xcbf29ce484222325;

    for (; word != 0 && *word != '\0' && *word != ' '; word++)
        hash = (hash ^ (uint8_t)*word) * 0x100000001b3;
    return hash;
}

static uint64_t next(uint64_t number)
{
    return number * 6364136223846793005ull + 1442695040888963407ull;
}

static void fill(uint64_t gpa, uint64_t number)
{
    for (unsigned i = 0; i < PAGE / 8; i++) {
        number = next(number);
        ((volatile uint64_t *)gpa)[i] = number;
    }
}

static bool is_as_filled(uint64_t gpa, uint64_t number)
{
    for (unsigned i = 0; i < PAGE / 8; i++) {
        number = next(number);
        if (((volatile uint64_t *)gpa)[i] != number)
            return false;
    }
    return true;
}

/* ------------------------------------------------------------- what is shared */

static void map_gpa_range(uint64_t gpa, uint64_t pages, uint64_t attributes)
{
    uint64_t result = HC_MAP_GPA_RANGE;

    __asm__ volatile("vmmcall" : "+a"(result) : "b"(gpa), "c"(pages), "d"(attributes) : "memory");
    if (result != 0)
        put("mover: KVM_HC_MAP_GPA_RANGE is refused\n");
}

/* One page, so that the 2 MiB that it is in get a page table. No cache line of it is private: it was not accessed before. */
static void share(uint64_t c_bit, uint64_t memory)
{
    const uint64_t address = UINT64_C(0x000ffffffffff000) & ~c_bit;
    uint64_t cr3, *table, base = SHARED_GPA & ~UINT64_C(0x1fffff);

    for (unsigned i = 0; i < 512; i++)
        page_table[i] = (base + i * PAGE) | (base + i * PAGE == SHARED_GPA ? 0 : c_bit) | 3;
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    table = (uint64_t *)(cr3 & address);
    table = (uint64_t *)(table[0] & address);
    table = (uint64_t *)(table[0] & address);
    table[SHARED_GPA >> 21] = (uint64_t)page_table | c_bit | 3;
    __asm__ volatile("mov %0, %%cr3" : : "r"(cr3) : "memory");
    if (c_bit == 0)
        return;
    map_gpa_range(0, memory / PAGE, 1 << 4);
    map_gpa_range(SHARED_GPA, 1, 0);
    write_msr(MSR_MIGRATION_CONTROL, 1);
}

static uint64_t c_bit(void)
{
    uint32_t a, b, c, d;

    cpuid(0x80000000, &a, &b, &c, &d);
    if (a < 0x8000001f)
        return 0;
    cpuid(0x8000001f, &a, &b, &c, &d);
    return (a & 2) != 0 && (read_msr(MSR_SEV_STATUS) & 1) != 0 ? UINT64_C(1) << (b & 0x3f) : 0;
}

/* ------------------------------------------------------------- the count */

__attribute__((interrupt)) static void timer_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    ticks = ticks + 1;
    __asm__ volatile("wrmsr" : : "a"(0), "d"(0), "c"(MSR_X2APIC_EOI));
}

static void start_timer(void)
{
    struct table_register idtr = {sizeof(idt) - 1, (uint64_t)idt};
    uint64_t handler = (uint64_t)timer_interrupt;

    idt[VECTOR_TIMER] = (struct gate){
        .offset_low = (uint16_t)handler,
        .selector = 0x10,
        .attributes = 0x8e00,
        .offset_middle = (uint16_t)(handler >> 16),
        .offset_high = (uint32_t)(handler >> 32),
    };
    __asm__ volatile("lidt %0" : : "m"(idtr));
    write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    write_msr(MSR_X2APIC_SVR, 0x1ff);
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
}

static void set_registers(uint64_t number)
{
    __asm__ volatile("mov %%cr0, %%rax; and $~0xe, %%eax; mov %%rax, %%cr0\n"
                     "mov %%cr4, %%rax; or $0x600, %%eax; mov %%rax, %%cr4\n"
                     "movq %0, %%xmm5\n"
                     "mov %0, %%dr1\n"
                     :
                     : "r"(number >> 20)
                     : "rax", "memory");
    write_msr(0xc0000102, number >> 20); /* KERNEL_GS_BASE */
    write_msr(0xc0000103, (uint32_t)number); /* TSC_AUX */
}

static const char *wrong_register(uint64_t number)
{
    uint64_t xmm5, dr1;

    __asm__ volatile("movq %%xmm5, %0" : "=r"(xmm5));
    __asm__ volatile("mov %%dr1, %0" : "=r"(dr1));
    if (xmm5 != number >> 20)
        return "XMM5";
    if (dr1 != number >> 20)
        return "DR1";
    if (read_msr(0xc0000102) != number >> 20)
        return "KERNEL_GS_BASE";
    return read_msr(0xc0000103) != (uint32_t)number ? "TSC_AUX" : 0;
}

static const char *wrong(uint64_t number, uint64_t last_tsc)
{
    for (unsigned i = 0; i < PATTERN_PAGES; i++)
        if (!is_as_filled(PATTERN_GPA + i * PAGE, number + i))
            return "private memory";
    if (!is_as_filled(SHARED_GPA, ~number))
        return "shared memory";
    if (read_tsc() < last_tsc)
        return "TSC";
    return wrong_register(number);
}

__attribute__((section(".text.entry"), noreturn)) void mover(const char *cmdline, uint64_t memory);

void mover(const char *cmdline, uint64_t memory)
{
    uint64_t number = seed_of(cmdline), last = 0, due, latest = 0;
    bool clock = find_word(cmdline, "clock") != 0;
    uint32_t count = 0;

    uart_start();
    if (find_word(cmdline, "private") == 0)
        share(c_bit(), memory);
    for (unsigned i = 0; i < PATTERN_PAGES; i++)
        fill(PATTERN_GPA + i * PAGE, number + i);
    fill(SHARED_GPA, ~number);
    set_registers(number);
    start_timer();
    for (;;) {
        const char *what;

        due = read_tsc() + TICK_TSC;
        write_msr(MSR_TSC_DEADLINE, due);
        while (ticks == count)
            __asm__ volatile("sti; hlt; cli" ::: "memory");
        count = ticks;
        latest = read_tsc() - due > latest ? read_tsc() - due : latest;
        what = wrong(number, last);
        last = read_tsc();
        put("mover: count ");
        put_number(count, 10);
        if (what != 0) {
            put(": ");
            put(what);
            put(" is wrong");
        }
        put("\n");
        if (clock && count % 100 == 0) {
            put("mover: late by ");
            put_number(latest, 10);
            put("\n");
        }
    }
}
