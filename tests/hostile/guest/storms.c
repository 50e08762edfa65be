/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Attacks by mere number: of exits, of interrupts, of bytes. */
#include "kit.h"

#define LVT_PERIODIC (1u << 17)
#define LVT_MASKED (1u << 16)
#define VECTOR_FLOOD 0x60u
#define LVT_TIMER_INITIAL 0x838
#define LVT_TIMER_DIVIDE 0x83e
#define MSR_SELF_IPI 0x83f
#define MSR_X2APIC_TPR 0x808u
#define MSR_X2APIC_LVT_ERROR 0x837u
#define SOON 50000u             /* TSC cycles */

/* A good neighbour, who only wants as much as he can get: what the others are compared with. */
static void attack_none(void)
{
    while (more())
        __asm__ volatile("pause");
    tell(1, "good neighbour");
}

/* ------------------------------------------------------------- exits */

static void storm(void (*one)(void), const char *what)
{
    uint64_t done = 0;

    for (; more(); done += 16) {
        for (unsigned i = 0; i < 16; i++)
            one();
    }
    tell(done, what);
}

static void one_cpuid(void)
{
    uint32_t a, b, c, d;

    cpuid(0xd, &a, &b, &c, &d);
}

static void one_msr(void)
{
    read_msr(MSR_EFER);
}

static void one_in(void)
{
    in8(0x80);
}

static void one_call(void)
{
    uint64_t rax = 1;

    __asm__ volatile("vmmcall" : "+a"(rax) : : "memory");
}

static void one_unknown_port(void)
{
    out8(0x5658, 0x42);
}

static void one_wbinvd(void)
{
    __asm__ volatile("wbinvd; invd" ::: "memory");
}

static void stgi(uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    __asm__ volatile("stgi");
}

static void one_fault(void)
{
    attempt(stgi, 0, 0, 0);
}

static void one_wall_clock(void)
{
    write_msr(MSR_WALL_CLOCK, memory_size - 12);
    write_msr(MSR_SYSTEM_TIME, (memory_size - 32) | 1);
}

void (*const exits[])(void) = {one_cpuid, one_msr, one_in, one_call, one_unknown_port, one_wbinvd, 0};

static void storm_cpuid(void)
{
    storm(one_cpuid, "CPUIDs");
}
static void storm_msr(void)
{
    storm(one_msr, "RDMSRs");
}
static void storm_in(void)
{
    storm(one_in, "INs");
}
static void storm_vmmcall(void)
{
    storm(one_call, "VMMCALLs");
}
static void storm_log(void)
{
    storm(one_unknown_port, "writes to a port where there is nothing");
}
static void storm_cache(void)
{
    storm(one_wbinvd, "WBINVDs and INVDs");
}
static void storm_fault(void)
{
    storm(one_fault, "STGIs");
}
static void storm_clock(void)
{
    storm(one_wall_clock, "clocks set");
}

/* It sleeps as often as it can. */
static void storm_hlt(void)
{
    uint64_t done = 0;

    write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_FLOOD);
    for (; more(); done++) {
        write_msr(MSR_TSC_DEADLINE, read_tsc() + (done % 8 == 0 ? SOON : 1));
        __asm__ volatile("sti; hlt; cli" ::: "memory");
    }
    tell(done, "HLTs");
    tell(interrupts[VECTOR_FLOOD], "interrupts");
}

/* ------------------------------------------------------------- interrupts */

static void start_periodic(uint32_t count, uint32_t mask)
{
    write_msr(LVT_TIMER_DIVIDE, 0xb);
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_PERIODIC | mask | VECTOR_FLOOD);
    write_msr(LVT_TIMER_INITIAL, count);
}

static void flood_periodic(void)
{
    start_periodic(1, 0);
    __asm__ volatile("sti");
    while (more())
        __asm__ volatile("pause");
    __asm__ volatile("cli");
    tell(interrupts[VECTOR_FLOOD], "interrupts");
}

/* The same asleep: each tick would have the host leave whoever runs. */
static void flood_asleep(void)
{
    uint64_t sleeps = 0;

    start_periodic(1, 0);
    for (; more(); sleeps++)
        __asm__ volatile("sti; hlt; cli" ::: "memory");
    tell(interrupts[VECTOR_FLOOD], "interrupts");
    tell(sleeps, "HLTs");
}

static void flood_self(void)
{
    uint64_t sent = 0;

    __asm__ volatile("sti");
    for (; more(); sent++)
        write_msr(MSR_SELF_IPI, VECTOR_FLOOD + (uint32_t)(sent & 0x7f));
    __asm__ volatile("cli");
    tell(sent, "sent to itself");
}

/* None is ever acknowledged by being let in: all stay pending. */
static void flood_pending(void)
{
    uint64_t sent = 0;

    for (; more(); sent++)
        write_msr(MSR_SELF_IPI, 16 + (uint32_t)(sent % 240));
    tell(sent, "sent to itself with interrupts off");
}

static void flood_deadline(void)
{
    uint64_t set = 0;

    write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_FLOOD);
    __asm__ volatile("sti");
    for (; more(); set++)
        write_msr(MSR_TSC_DEADLINE, (set & 1) != 0 ? 1 : read_tsc() - 1);
    __asm__ volatile("cli");
    tell(set, "deadlines in the past");
    tell(interrupts[VECTOR_FLOOD], "interrupts");
}

/* It lowers and raises TPR under pending interrupts, by CR8, which does not exit. */
static void flood_priority(void)
{
    uint64_t done = 0;

    __asm__ volatile("sti");
    for (; more(); done++) {
        __asm__ volatile("mov %0, %%cr8" : : "r"(UINT64_C(15)));
        write_msr(MSR_SELF_IPI, 0x40 + (uint32_t)(random64() & 0x7f));
        __asm__ volatile("mov %0, %%cr8" : : "r"(random64() & 7));
        __asm__ volatile("mov %0, %%cr8" : : "r"(UINT64_C(0)));
    }
    __asm__ volatile("cli");
    tell(done, "interrupts held back");
}

/* ------------------------------------------------------------- sleep that nothing ends */

/* A timer as fast as can be, whose interrupts cannot wake it: each would have the host leave whoever runs. */
static void sleep_unheard(const char *why)
{
    put("hostile: asleep, ");
    put(why);
    put("\n");
    for (;;)
        __asm__ volatile("sti; hlt" ::: "memory");
}

static void unheard_priority(void)
{
    __asm__ volatile("mov %0, %%cr8" : : "r"(UINT64_C(15)));
    start_periodic(1, 0);
    sleep_unheard("TPR 15");
}

static void unheard_class(void)
{
    write_msr(MSR_X2APIC_TPR, VECTOR_FLOOD & 0xf0);
    start_periodic(1, 0);
    sleep_unheard("TPR as the timer's class");
}

static void take_one(uint64_t x, uint64_t y, uint64_t z)
{
    (void)x, (void)y, (void)z;
    __asm__ volatile("sti; nop; nop; cli" ::: "memory");
}

/* An interrupt of the timer's class that is never acknowledged: those below 32 come to a fault's stub. */
static void unheard_service(void)
{
    write_msr(MSR_SELF_IPI, 31);
    attempt(take_one, 0, 0, 0);
    start_periodic(1, 0);
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_PERIODIC | 30);
    sleep_unheard("a higher one in service");
}

static void unheard_vector(void)
{
    start_periodic(1, 0);
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_PERIODIC | 15);
    sleep_unheard("an illegal vector");
}

static void unheard_error(void)
{
    __asm__ volatile("mov %0, %%cr8" : : "r"(UINT64_C(15)));
    write_msr(MSR_X2APIC_LVT_ERROR, VECTOR_FLOOD);
    unheard_vector();
}

/* One that is in time, again and again, and takes no notice. */
static void unheard_deadline(void)
{
    __asm__ volatile("mov %0, %%cr8" : : "r"(UINT64_C(15)));
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_FLOOD);
    write_msr(MSR_TSC_DEADLINE, read_tsc() + SOON);
    sleep_unheard("TPR 15 and a deadline");
}

/* ------------------------------------------------------------- the console */

static void uart_noise(void)
{
    uint64_t sent = 0;

    for (; more(); sent++)
        out8(UART_DATA, (uint8_t)('a' + sent % 26));
    out8(UART_DATA, '\n');
    tell(sent, "bytes without a line's end");
}

/* A byte of the guest's is a line of the operator's. */
static void uart_lines(void)
{
    uint64_t sent = 0;

    for (; more(); sent++)
        out8(UART_DATA, '\n');
    tell(sent, "empty lines");
}

/* Any byte to any register, the line's end and loopback included. */
static void uart_registers(void)
{
    uint64_t done = 0;

    for (; more(); done++) {
        uint64_t value = random64();

        in8((uint16_t)(COM1 + (value >> 8 & 7)));
        out8((uint16_t)(COM1 + (value >> 16 & 7)), (uint8_t)value);
        if (done % 512 == 0)
            out8(UART_MCR, 0x10);               /* loopback: its own output fills its input */
    }
    uart_start();
    out8(UART_DATA, '\n');
    tell(2 * done, "accesses");
}

const struct attack storms[] = {
    {"none", attack_none},
    {"storm-cpuid", storm_cpuid},
    {"storm-msr", storm_msr},
    {"storm-in", storm_in},
    {"storm-vmmcall", storm_vmmcall},
    {"storm-log", storm_log},
    {"storm-cache", storm_cache},
    {"storm-fault", storm_fault},
    {"storm-clock", storm_clock},
    {"storm-hlt", storm_hlt},
    {"flood-periodic", flood_periodic},
    {"flood-asleep", flood_asleep},
    {"flood-self", flood_self},
    {"flood-pending", flood_pending},
    {"flood-deadline", flood_deadline},
    {"flood-priority", flood_priority},
    {"unheard-priority", unheard_priority},
    {"unheard-class", unheard_class},
    {"unheard-service", unheard_service},
    {"unheard-vector", unheard_vector},
    {"unheard-error", unheard_error},
    {"unheard-deadline", unheard_deadline},
    {"uart-noise", uart_noise},
    {"uart-lines", uart_lines},
    {"uart-registers", uart_registers},
    {0, 0},
};
