/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * bench: what a round trip from the guest to the hypervisor and back costs, by the TSC. Where the
 * machine's TSC counts instructions (tests/bench/README.md) the figures are instructions, and repeat.
 *
 * Each operation is done in two ways. Alone between two RDTSC: the least of ROUNDS samples is what it
 * costs when nothing else happens. And in one loop of ROUNDS between two RDTSC: the mean includes what
 * came in between, such as the host's timer. From both, the same code without the one instruction in
 * question is taken off, with its operands still being loaded.
 *
 *   bench: cpuid 134                 least and mean are the same
 *   bench: cpuid 134 mean 136
 *
 * The packer enters bench() in 64-bit mode with all memory mapped to itself (guest/pack/flat.py).
 */
#include "guest/hello/bare.h"

#define PIC_MASTER_MASK 0x21

#define MSR_X2APIC_ICR 0x830
#define MSR_X2APIC_SELF_IPI 0x83f

/* ICR (APM2 16.5): message types, level. */
#define ICR_INIT 0x4500u
#define ICR_STARTUP 0x4600u

#define VECTOR_TIMER 0x40
#define VECTOR_SELF 0x50
#define VECTOR_PING 0x51                /* to the second vCPU, which answers with the next */
#define VECTOR_PONG 0x52
#define VECTORS 0x53

#define ROUNDS 1000u
#define SLEEPS 20u
#define PINGS 100u
#define SLEEP_TSC 1000000ull            /* long enough for the CPU to fall idle */
#define FAR_TSC (1ull << 40)
#define DELAY_TSC 20000000ull           /* INIT to STARTUP, and STARTUP to the next */
#define HYPERCALL_UNKNOWN 0x7fffffffull /* KVM and Sevisor: -ENOSYS */

#define TRAMPOLINE 0x8000u              /* page 8: below 1 MiB, and nothing of the packer's is there */
#define SELECTOR_CODE 0x10              /* guest/pack/machine.py */

#define INLINE static inline __attribute__((always_inline))

struct interrupt_frame;

struct figure {
    uint64_t least, mean;
};

/* ap.asm */
extern const uint8_t ap_trampoline[], ap_trampoline_end[];

static struct gate idt[VECTORS];
static volatile uint64_t interrupts, woken_tsc;
static volatile bool second_is_up;

/* ------------------------------------------------------------- the CPU */

/* STI's shadow covers HLT: an interrupt cannot slip in between. */
INLINE void sleep(void)
{
    __asm__ volatile("sti; hlt; cli" ::: "memory");
}

/* ------------------------------------------------------------- the console */

static void put_figure(const char *name, struct figure figure)
{
    put("bench: ");
    put(name);
    put(" ");
    put_number(figure.least, 10);
    if (figure.mean != figure.least) {
        put(" mean ");
        put_number(figure.mean, 10);
    }
    put("\n");
}

/* ------------------------------------------------------------- interrupts */

INLINE void interrupt_over(void)
{
    interrupts = interrupts + 1;
    write_msr(MSR_X2APIC_EOI, 0);
}

__attribute__((interrupt)) static void timer_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    woken_tsc = read_tsc();
    interrupt_over();
}

/* VECTOR_SELF and VECTOR_PONG: that it came is all. */
__attribute__((interrupt)) static void counted_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    interrupt_over();
}

/* On the second vCPU. */
__attribute__((interrupt)) static void ping_interrupt(struct interrupt_frame *frame)
{
    (void)frame;
    write_msr(MSR_X2APIC_EOI, 0);
    write_msr(MSR_X2APIC_ICR, VECTOR_PONG);     /* to x2APIC id 0 */
}

static void set_gate(unsigned vector, void (*handler)(struct interrupt_frame *))
{
    uint64_t address = (uint64_t)handler;

    idt[vector] = (struct gate){
        .offset_low = (uint16_t)address,
        .selector = SELECTOR_CODE,
        .attributes = 0x8e00,
        .offset_middle = (uint16_t)(address >> 16),
        .offset_high = (uint32_t)(address >> 32),
    };
}

/* Of each vCPU. */
static void start_interrupts(void)
{
    struct table_register idtr = {sizeof(idt) - 1, (uint64_t)idt};

    __asm__ volatile("lidt %0" : : "m"(idtr));
    write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    write_msr(MSR_X2APIC_SVR, 0x1ff);
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_TIMER);
}

/* ------------------------------------------------------------- operations */

enum operation {
    CPUID_0,            /* the same for every vCPU */
    CPUID_1,            /* the vCPU's own */
    VMMCALL,
    PORT_READ,          /* the old interrupt controller: KVM has it in the kernel, Sevisor answers all ones */
    PORT_READ_UART,     /* Sevisor has it in hv/, a KVM user's VMM in a process */
    MSR_WRITE_EOI,      /* with no interrupt in service */
    MSR_WRITE_TIMER,    /* far ahead */
    SELF_IPI,           /* with its delivery, a small handler, and EOI */
    HLT_TIMER, /* arms the timer for a moment that is over, HLT, interrupt, handler, EOI: no idle time in it */
};

INLINE void do_cpuid(uint32_t leaf, bool really)
{
    uint32_t a = leaf, b = 0, c = 0, d = 0;

    if (really)
        __asm__ volatile("cpuid" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
    else
        __asm__ volatile("" : "+a"(a), "+b"(b), "+c"(c), "+d"(d));
}

INLINE void do_vmmcall(bool really)
{
    uint64_t a = HYPERCALL_UNKNOWN;

    if (really)
        __asm__ volatile("vmmcall" : "+a"(a) : : "memory");
    else
        __asm__ volatile("" : "+a"(a) : : "memory");
}

INLINE void do_port_read(uint16_t port, bool really)
{
    uint8_t value = 0;

    if (really)
        __asm__ volatile("inb %1, %0" : "+a"(value) : "d"(port));
    else
        __asm__ volatile("" : "+a"(value) : "d"(port));
}

INLINE void do_msr_write(uint32_t msr, uint64_t value, bool really)
{
    if (really)
        write_msr(msr, value);
    else
        __asm__ volatile("" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)), "c"(msr) : "memory");
}

INLINE void perform(enum operation operation, bool really)
{
    switch (operation) {
    case CPUID_0:
        do_cpuid(0, really);
        break;
    case CPUID_1:
        do_cpuid(1, really);
        break;
    case VMMCALL:
        do_vmmcall(really);
        break;
    case PORT_READ:
        do_port_read(PIC_MASTER_MASK, really);
        break;
    case PORT_READ_UART:
        do_port_read(UART_LSR, really);
        break;
    case MSR_WRITE_EOI:
        do_msr_write(MSR_X2APIC_EOI, 0, really);
        break;
    case MSR_WRITE_TIMER:
        do_msr_write(MSR_TSC_DEADLINE, FAR_TSC, really);
        break;
    case SELF_IPI:
        do_msr_write(MSR_X2APIC_SELF_IPI, VECTOR_SELF, really);
        break;
    case HLT_TIMER:
        do_msr_write(MSR_TSC_DEADLINE, 1, really);
        if (really)
            sleep();
        break;
    }
}

INLINE struct figure run(enum operation operation, bool really)
{
    struct figure figure = {UINT64_MAX, 0};

    for (unsigned i = 0; i < ROUNDS; i++) {
        uint64_t start = read_tsc();
        perform(operation, really);
        uint64_t cost = read_tsc() - start;
        if (cost < figure.least)
            figure.least = cost;
    }
    uint64_t start = read_tsc();
    for (unsigned i = 0; i < ROUNDS; i++)
        perform(operation, really);
    figure.mean = read_tsc() - start;
    return figure;
}

INLINE void measure(const char *name, enum operation operation)
{
    struct figure with = run(operation, true), without = run(operation, false);

    put_figure(name, (struct figure){
                         with.least - without.least,
                         (with.mean - without.mean + ROUNDS / 2) / ROUNDS,
                     });
}

/* Interrupts are counted: each has to come. */
INLINE void measure_interrupts(const char *name, enum operation operation)
{
    interrupts = 0;
    if (operation != HLT_TIMER) /* which has to be in HLT first */
        __asm__ volatile("sti");
    struct figure with = run(operation, true);
    __asm__ volatile("cli");
    uint64_t came = interrupts;
    struct figure without = run(operation, false);
    if (came != 2 * ROUNDS) {
        put("bench: lost ");
        put(name);
        put(": of ");
        put_number(2 * ROUNDS, 10);
        put(" interrupts came ");
        put_number(came, 10);
        put("\n");
    }
    put_figure(name, (struct figure){
                         with.least - without.least,
                         (with.mean - without.mean + ROUNDS / 2) / ROUNDS,
                     });
}

/* From the moment that the timer was set for, in which the CPU is idle, to the handler's first instruction. */
static void measure_wake_up(void)
{
    struct figure late = {UINT64_MAX, 0};

    for (unsigned i = 0; i < SLEEPS; i++) {
        uint64_t deadline = read_tsc() + SLEEP_TSC;
        woken_tsc = 0;
        write_msr(MSR_TSC_DEADLINE, deadline);
        while (woken_tsc == 0)
            sleep();
        uint64_t cost = woken_tsc - deadline;
        late.mean += cost;
        if (cost < late.least)
            late.least = cost;
    }
    late.mean = (late.mean + SLEEPS / 2) / SLEEPS;
    put_figure("wake-up", late);
}

/* ------------------------------------------------------------- the second vCPU */

__attribute__((noreturn)) void ap_main(void);

/* ap.asm calls it, in 64-bit mode. */
void ap_main(void)
{
    start_interrupts();
    second_is_up = true;
    for (;;)
        __asm__ volatile("sti; hlt" ::: "memory");
}

static bool wait_for_second(void)
{
    for (uint64_t start = read_tsc(); read_tsc() - start < DELAY_TSC;) {
        if (second_is_up)
            return true;
        __asm__ volatile("pause");
    }
    return second_is_up;
}

/* INIT, STARTUP, STARTUP (APM2 16.5, 15.27.8): false when it does not come. */
static bool start_second(void)
{
    const uint64_t to_second = UINT64_C(1) << 32;
    volatile uint8_t *page = (volatile uint8_t *)(uint64_t)TRAMPOLINE;

    for (const uint8_t *from = ap_trampoline; from < ap_trampoline_end; from++)
        *page++ = *from;
    write_msr(MSR_X2APIC_ICR, to_second | ICR_INIT);
    wait_for_second();
    for (unsigned i = 0; i < 2 && !second_is_up; i++) {
        write_msr(MSR_X2APIC_ICR, to_second | ICR_STARTUP | TRAMPOLINE >> 12);
        if (wait_for_second())
            return true;
    }
    return second_is_up;
}

/* There and back: two IPIs, each to a vCPU that sleeps or is about to. */
static void measure_ping_pong(void)
{
    const uint64_t ping = UINT64_C(1) << 32 | VECTOR_PING;
    struct figure figure = {UINT64_MAX, 0};

    if (!start_second()) {
        put("bench: error: the second vCPU does not start\n");
        return;
    }
    for (unsigned i = 0; i < PINGS; i++) {
        interrupts = 0;
        uint64_t start = read_tsc();
        write_msr(MSR_X2APIC_ICR, ping);
        while (interrupts == 0)
            sleep();
        uint64_t cost = read_tsc() - start;
        figure.mean += cost;
        if (cost < figure.least)
            figure.least = cost;
    }
    figure.mean = (figure.mean + PINGS / 2) / PINGS;
    put_figure("ipi-ping-pong", figure);
}

/* ------------------------------------------------------------- all of it */

static bool sev_active(void)
{
    uint32_t a, b, c, d;

    cpuid(0x80000000, &a, &b, &c, &d);
    if (a < 0x8000001f)
        return false;
    cpuid(0x8000001f, &a, &b, &c, &d);
    return (a & 0x2) != 0 && (read_msr(MSR_SEV_STATUS) & 1) != 0; /* without the CPUID bit the MSR may not exist */
}

__attribute__((section(".text.entry"), noreturn)) void bench(void);

void bench(void)
{
    uint32_t a, b, c, d;

    put(sev_active() ? "bench: SEV active\n" : "bench: SEV not active\n");
    set_gate(VECTOR_TIMER, timer_interrupt);
    set_gate(VECTOR_SELF, counted_interrupt);
    set_gate(VECTOR_PONG, counted_interrupt);
    set_gate(VECTOR_PING, ping_interrupt);
    start_interrupts();

    measure("cpuid", CPUID_0);
    measure("cpuid-1", CPUID_1);
    measure("vmmcall", VMMCALL);
    measure("port-read", PORT_READ);
    measure("port-read-uart", PORT_READ_UART);
    measure("msr-write", MSR_WRITE_EOI);
    measure("msr-write-timer", MSR_WRITE_TIMER);
    write_msr(MSR_TSC_DEADLINE, 0);
    measure_interrupts("self-ipi", SELF_IPI);
    measure_interrupts("hlt-timer", HLT_TIMER);
    measure_wake_up();

    cpuid(1, &a, &b, &c, &d);
    if ((b >> 16 & 0xff) > 1)
        measure_ping_pong();
    else
        put("bench: ipi-ping-pong needs a second vCPU\n");
    put("bench: done\n");
    out8(SLEEP_CONTROL, SLEEP_S5);
    for (;;)
        __asm__ volatile("cli; hlt");
}
