/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * hello: the smallest guest that shows what an encrypted guest is. It says
 * whether SEV is active, writes one marker into a private page and one into a
 * shared page, takes a few timer interrupts, and powers off. README.md has the
 * words that its command line understands, and the markers' texts.
 *
 * The packer enters hello() in 64-bit mode with all memory mapped to itself
 * (guest/pack/flat.py).
 */
#include <stdbool.h>
#include <stdint.h>

#define COM1 0x3f8
#define UART_DATA (COM1 + 0)
#define UART_IER (COM1 + 1)
#define UART_FCR (COM1 + 2)
#define UART_LCR (COM1 + 3)
#define UART_MCR (COM1 + 4)
#define UART_LSR (COM1 + 5)
#define LSR_DATA_READY 0x01
#define LSR_THR_EMPTY 0x20

#define SLEEP_CONTROL 0x600
#define SLEEP_S5 (5 << 2 | 0x20)        /* SLP_TYP 5, SLP_EN (ACPI 6.3, 4.8.3.7) */
#define RESET 0x602

#define MSR_APIC_BASE 0x1b
#define APIC_BASE_X2APIC 0xc00          /* EN, EXTD */
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC_EOI 0x80b
#define MSR_X2APIC_SVR 0x80f
#define MSR_X2APIC_LVT_TIMER 0x832
#define LVT_TSC_DEADLINE (2 << 17)
#define MSR_SEV_STATUS 0xc0010131

#define VECTOR_TIMER 0x40
#define TICK_TSC 100000000ull           /* some tens of milliseconds */

#define PRIVATE_GPA 0x200000
#define SHARED_GPA 0x400000             /* a large page of its own, which nothing else uses */
#define PAGE 4096

struct gate {
    uint16_t offset_low, selector;
    uint16_t attributes;
    uint16_t offset_middle;
    uint32_t offset_high, reserved;
};

struct table_register {
    uint16_t limit;
    uint64_t base;
} __attribute__((packed));

struct interrupt_frame;

static struct gate idt[VECTOR_TIMER + 1];
static volatile uint32_t ticks;

/* ------------------------------------------------------------- the CPU */

static void out8(uint16_t port, uint8_t value)
{
    __asm__ volatile("outb %0, %1" :: "a"(value), "Nd"(port));
}

static uint8_t in8(uint16_t port)
{
    uint8_t value;

    __asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
    return value;
}

static uint64_t read_msr(uint32_t msr)
{
    uint32_t low, high;

    __asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
    return (uint64_t)high << 32 | low;
}

static void write_msr(uint32_t msr, uint64_t value)
{
    __asm__ volatile("wrmsr" :: "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr) : "memory");
}

static uint64_t read_tsc(void)
{
    uint32_t low, high;

    __asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
    return (uint64_t)high << 32 | low;
}

static void cpuid(uint32_t leaf, uint32_t *a, uint32_t *b, uint32_t *c, uint32_t *d)
{
    *a = leaf;
    *c = 0;
    __asm__ volatile("cpuid" : "+a"(*a), "=b"(*b), "+c"(*c), "=d"(*d));
}

/* ------------------------------------------------------------- the console */

static void uart_start(void)
{
    out8(UART_IER, 0);
    out8(UART_LCR, 0x03);   /* 8N1 */
    out8(UART_FCR, 0x01);
    out8(UART_MCR, 0x03);
}

static void put_char(char c)
{
    while ((in8(UART_LSR) & LSR_THR_EMPTY) == 0)
        __asm__ volatile("pause");
    out8(UART_DATA, (uint8_t)c);
}

static void put(const char *text)
{
    for (; *text != '\0'; text++) {
        if (*text == '\n')
            put_char('\r');
        put_char(*text);
    }
}

static void put_number(uint64_t value, unsigned base)
{
    char digits[20];
    unsigned count = 0;

    do {
        digits[count++] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value != 0);
    while (count > 0)
        put_char(digits[--count]);
}

static void put_hex(uint64_t value)
{
    put("0x");
    put_number(value, 16);
}

static void wait_for_byte(void)
{
    while ((in8(UART_LSR) & LSR_DATA_READY) == 0)
        __asm__ volatile("pause");
    in8(UART_DATA);
}

/* ------------------------------------------------------------- the command line */

/* The text after `word` where the command line has it at a word's start; else NULL.
 * A word that ends in '=' is followed by its value, others by a space or the end. */
static const char *find_word(const char *cmdline, const char *word)
{
    for (const char *at = cmdline; *at != '\0'; at++) {
        unsigned i = 0;

        if (at != cmdline && at[-1] != ' ')
            continue;
        while (word[i] != '\0' && at[i] == word[i])
            i++;
        if (word[i] == '\0' && (word[i - 1] == '=' || at[i] == ' ' || at[i] == '\0'))
            return at + i;
    }
    return 0;
}

static uint32_t number_after(const char *cmdline, const char *word, uint32_t otherwise)
{
    const char *text = find_word(cmdline, word);
    uint32_t value = 0;

    if (text == 0)
        return otherwise;
    for (; *text >= '0' && *text <= '9'; text++)
        value = value * 10 + (uint32_t)(*text - '0');
    return value;
}

/* ------------------------------------------------------------- the markers */

/* "SEVISOR-PRIVATE-" and "SEVISOR-SHARED-", XOR 0x5a: the image must not hold them,
 * and volatile keeps the compiler from putting them together. */
static const volatile uint8_t private_prefix[] = {
    0x09, 0x1f, 0x0c, 0x13, 0x09, 0x15, 0x08, 0x77, 0x0a, 0x08, 0x13, 0x0c, 0x1b, 0x0e, 0x1f, 0x77
};
static const volatile uint8_t shared_prefix[] = {
    0x09, 0x1f, 0x0c, 0x13, 0x09, 0x15, 0x08, 0x77, 0x09, 0x12, 0x1b, 0x08, 0x1f, 0x1e, 0x77
};

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

/* Written straight into its page, byte by byte, so that no other memory ever has it. */
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

/* Clears the C-bit of the 2 MiB that hold SHARED_GPA. Nobody has touched them, so
 * no private cache line has to be flushed first (APM2 15.34.9). */
static void share(uint64_t c_bit)
{
    const uint64_t address = UINT64_C(0x000ffffffffff000) & ~c_bit;
    uint64_t cr3, *table;

    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    table = (uint64_t *)(cr3 & address);
    table = (uint64_t *)(table[0] & address);
    table = (uint64_t *)(table[0] & address);
    table[SHARED_GPA >> 21] &= ~c_bit;
    __asm__ volatile("invlpg (%0)" :: "r"((uint64_t)SHARED_GPA) : "memory");
}

/* ------------------------------------------------------------- the timer */

__attribute__((interrupt)) static void timer_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    ticks = ticks + 1;
    __asm__ volatile("wrmsr" :: "a"(0), "d"(0), "c"(MSR_X2APIC_EOI));
}

static void load_idt(uint16_t limit)
{
    struct table_register idtr = { limit, (uint64_t)idt };

    __asm__ volatile("lidt %0" :: "m"(idtr));
}

static void start_timer(void)
{
    uint64_t handler = (uint64_t)timer_interrupt;

    idt[VECTOR_TIMER] = (struct gate){
        .offset_low = (uint16_t)handler, .selector = 0x10, .attributes = 0x8e00,
        .offset_middle = (uint16_t)(handler >> 16), .offset_high = (uint32_t)(handler >> 32),
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
        /* STI's shadow covers HLT: an interrupt cannot slip in between. */
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
