/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * hello: a minimal encrypted guest. It prints whether SEV is active, writes
 * one marker into a private page and one into a shared page, takes a few timer
 * interrupts, and powers off. README.md describes its command line and the
 * markers.
 *
 * The packer enters hello() in 64-bit mode with all memory mapped to itself
 * (guest/pack/flat.py).
 */
#include "guest/hello/bare.h"

#define VECTOR_TIMER 0x40
#define TICK_TSC 100000000ull           /* some tens of milliseconds */

#define PRIVATE_GPA 0x200000
#define SHARED_GPA 0x400000             /* a large page of its own, which nothing else uses */
#define PAGE 4096

struct interrupt_frame;

static struct gate idt[VECTOR_TIMER + 1];
static volatile uint32_t ticks;

/* ------------------------------------------------------------- the markers */

/* "SEVISOR-PRIVATE-" and "SEVISOR-SHARED-", XOR 0x5a: the image must not contain them,
 * and volatile keeps the compiler from decoding them. */
static const volatile uint8_t private_prefix[] = {0x09, 0x1f, 0x0c, 0x13, 0x09, 0x15, 0x08, 0x77,
                                                  0x0a, 0x08, 0x13, 0x0c, 0x1b, 0x0e, 0x1f, 0x77};
static const volatile uint8_t shared_prefix[] = {0x09, 0x1f, 0x0c, 0x13, 0x09, 0x15, 0x08, 0x77,
                                                 0x09, 0x12, 0x1b, 0x08, 0x1f, 0x1e, 0x77};

/* FNV-1a, 64 bits, of the word after `marker=`. */
static uint64_t marker_number(const char *cmdline)
{
    const char *word = find_word(cmdline, "marker=");
    uint64_t hash = 0xcbf29ce484222325;

    if (word == 0)
        word = "hello";
    for (; *word != '\0' && *word != ' '; word++)
        hash = (hash ^ (uint8_t)*word) * 0x100000001b3;
    return hash;
}

/* Written byte by byte into its page, so that no other memory contains it. */
static void write_marker(uint64_t gpa, const volatile uint8_t *prefix, unsigned prefix_length, uint64_t number)
{
    for (unsigned copy = 0; copy < PAGE; copy += 64) {
        volatile char *page = (volatile char *)gpa + copy;

        for (unsigned i = 0; i < prefix_length; i++)
            *page++ = (char)(prefix[i] ^ 0x5a);
        for (int shift = 60; shift >= 0; shift -= 4)
            *page++ = "0123456789ABCDEF"[number >> shift & 0xf];
        *page = '\0';
    }
}

/* ------------------------------------------------------------- SEV */

/* The C-bit's mask, 0 where the guest is not encrypted with a key of its own. */
static uint64_t report_sev(void)
{
    uint32_t a, b, c, d;
    uint64_t status;

    cpuid(0x80000000, &a, &b, &c, &d);
    if (a >= 0x8000001f) {
        cpuid(0x8000001f, &a, &b, &c, &d);
        if ((a & 0x2) != 0) {   /* else the MSR may not exist */
            status = read_msr(MSR_SEV_STATUS);
            put((status & 1) != 0 ? "hello: SEV active" : "hello: SEV not active");
            put(" (SEV_STATUS ");
            put_hex(status);
            put(", C-bit ");
            put_number(b & 0x3f, 10);
            put(")\n");
            return (status & 1) != 0 ? UINT64_C(1) << (b & 0x3f) : 0;
        }
    }
    put("hello: SEV not active (CPUID 8000_001F does not offer it)\n");
    return 0;
}

/* Clears the C-bit of the 2 MiB at SHARED_GPA. They were not accessed before, so
 * no private cache line has to be flushed (APM2 15.34.9). */
static void share(uint64_t c_bit)
{
    const uint64_t address = UINT64_C(0x000ffffffffff000) & ~c_bit;
    uint64_t cr3, *table;

    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    table = (uint64_t *)(cr3 & address);
    table = (uint64_t *)(table[0] & address);
    table = (uint64_t *)(table[0] & address);
    table[SHARED_GPA >> 21] &= ~c_bit;
    __asm__ volatile("invlpg (%0)" : : "r"((uint64_t)SHARED_GPA) : "memory");
}

/* ------------------------------------------------------------- the timer */

__attribute__((interrupt)) static void timer_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    ticks = ticks + 1;
    __asm__ volatile("wrmsr" : : "a"(0), "d"(0), "c"(MSR_X2APIC_EOI));
}

static void load_idt(uint16_t limit)
{
    struct table_register idtr = {limit, (uint64_t)idt};

    __asm__ volatile("lidt %0" : : "m"(idtr));
}

static void start_timer(void)
{
    uint64_t handler = (uint64_t)timer_interrupt;

    idt[VECTOR_TIMER] = (struct gate){
        .offset_low = (uint16_t)handler,
        .selector = 0x10,
        .attributes = 0x8e00,
        .offset_middle = (uint16_t)(handler >> 16),
        .offset_high = (uint32_t)(handler >> 32),
    };
    load_idt(sizeof(idt) - 1);
    write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    write_msr(MSR_X2APIC_SVR, 0x1ff);
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
}

static void wait_for_ticks(uint32_t count)
{
    uint32_t a, b, c, d;

    if (count == 0)
        return;
    cpuid(1, &a, &b, &c, &d);
    if ((c & 1u << 24) == 0 || (c & 1u << 21) == 0) {
        put("hello: no x2APIC with TSC-deadline timer here, no ticks\n");
        return;
    }
    start_timer();
    for (uint32_t tick = 1; tick <= count; tick++) {
        write_msr(MSR_TSC_DEADLINE, read_tsc() + TICK_TSC);
        /* The interrupt shadow of STI covers HLT. */
        while (ticks < tick)
            __asm__ volatile("sti; hlt; cli" ::: "memory");
        put("hello: tick ");
        put_number(tick, 10);
        put("\n");
    }
}

/* ------------------------------------------------------------- the end */

static void triple_fault(void)
{
    load_idt(0);
    __asm__ volatile("ud2");
}

static void end(const char *cmdline)
{
    if (find_word(cmdline, "spin")) {
        put("hello: spinning\n");
        for (;;)
            __asm__ volatile("pause");
    }
    if (find_word(cmdline, "triple-fault")) {
        put("hello: triple fault\n");
        triple_fault();
    }
    if (find_word(cmdline, "reset")) {
        put("hello: reset\n");
        out8(RESET, 1);
        for (;;)
            __asm__ volatile("hlt");
    }
    put("hello: power off\n");
    out8(SLEEP_CONTROL, SLEEP_S5);
}

__attribute__((section(".text.entry"), noreturn)) void hello(const char *cmdline, uint64_t memory);

void hello(const char *cmdline, uint64_t memory)
{
    uint64_t c_bit, number = marker_number(cmdline);

    uart_start();
    put("hello: bare metal guest on Sevisor, ");
    put_number(memory >> 20, 10);
    put(" MiB, command line \"");
    put(cmdline);
    put("\"\n");

    c_bit = report_sev();
    if (c_bit != 0)
        share(c_bit);
    write_marker(PRIVATE_GPA, private_prefix, sizeof(private_prefix), number);
    write_marker(SHARED_GPA, shared_prefix, sizeof(shared_prefix), number);
    put("hello: markers written, private at ");
    put_hex(PRIVATE_GPA);
    put(", shared at ");
    put_hex(SHARED_GPA);
    put("\n");

    wait_for_ticks(number_after(cmdline, "ticks=", 3));
    if (find_word(cmdline, "hold")) {
        put("hello: holding, send a byte to go on\n");
        wait_for_byte();
    }
    end(cmdline);
    for (;;)
        __asm__ volatile("cli; hlt");
}
