/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A guest that means harm. Its command line says how:
 *
 *   attack=NAME[,NAME...]  one after the other; the tables in probes.c, control.c, storms.c, tables.c, ends.c and crowd.c
 *                          have the names
 *   ms=N                   how long each goes on, by its own TSC (100); sweeps take their cases in a mixed order, so
 *                          that more time means more of the cases, until they begin again
 *   seed=N                 of the values that are chosen at random
 *   vcpus=N                how many the guest has, for the attacks of all together (1)
 *   full                   try CR4.PKE, which CPUID does not offer; and DR7.GD, which some emulators lack
 *   khz=N                  of the TSC (CPUID 4000_0010 says it, if this does not)
 *
 * "hostile: NAME begins", then "hostile: NAME: what it did". It powers off at the end, if it gets there.
 * attack=work is the opposite: a guest that works, and says after each unit of it how many it has done, and
 * when, in hexadecimal; a byte on its console lets it power off. attack=echo says again what it was sent, line by line and
 * only when a line has come in whole, until Ctrl-D; a byte that is not printable as [HEX], a break as [break], an overrun as
 * [overrun]; each ends with $. With ms=N it reads nothing for so long after each line.
 */
#include "kit.h"

#define WORK_LOOPS 15000u           /* a unit: some hundred thousand instructions */
#define VECTORS 256u
#define STUB_SIZE 16u
#define TOLD_MAX 12u

const char *command_line;
uint64_t memory_size, c_bit;

extern const uint8_t vector_stubs[];
static struct gate idt[VECTORS];
static uint64_t random_state, phase_end, phase_length;

/* What the attack that runs has to say: said when the console is its own again. */
static struct deed {
    uint64_t count;
    const char *what;
} told[TOLD_MAX];
static unsigned told_count;

/* ------------------------------------------------------------- the kit */

bool more(void)
{
    return read_tsc() < phase_end;
}

/* xorshift64* */
uint64_t random64(void)
{
    random_state ^= random_state >> 12;
    random_state ^= random_state << 25;
    random_state ^= random_state >> 27;
    return random_state * 0x2545f4914f6cdd1d;
}

void tell(uint64_t count, const char *what)
{
    if (told_count < TOLD_MAX)
        told[told_count++] = (struct deed){count, what};
}

volatile uint64_t *page_entry(uint64_t address)
{
    const uint64_t mask = UINT64_C(0x000ffffffffff000) & ~c_bit;
    uint64_t cr3, *table;

    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    table = (uint64_t *)(cr3 & mask);
    table = (uint64_t *)(table[address >> 39 & 511] & mask);
    table = (uint64_t *)(table[address >> 30 & 511] & mask);
    return &table[address >> 21 & 511];
}

void load_idt(uint16_t limit)
{
    struct table_register idtr = {limit, (uint64_t)idt};

    __asm__ volatile("lidt %0" : : "m"(idtr));
}

static void make_idt(void)
{
    for (unsigned i = 0; i < VECTORS; i++) {
        uint64_t handler = (uint64_t)vector_stubs + i * STUB_SIZE;

        idt[i] = (struct gate){
            .offset_low = (uint16_t)handler,
            .selector = 0x10,
            .attributes = 0x8e00,
            .offset_middle = (uint16_t)(handler >> 16),
            .offset_high = (uint32_t)(handler >> 32),
        };
    }
    load_idt(sizeof(idt) - 1);
}

static void take_one(uint64_t a, uint64_t b, uint64_t c)
{
    (void)a, (void)b, (void)c;
    __asm__ volatile("sti; nop; nop; cli" ::: "memory");
}

void quiesce(void)
{
    write_msr(MSR_X2APIC_SVR, 0x1ff);
    write_msr(MSR_X2APIC_LVT_TIMER, 1u << 16);
    write_msr(0x838, 0);            /* initial count */
    write_msr(0x808, 0);            /* TPR */
    /* A vector below 32 comes to a fault's stub, which does not acknowledge it. */
    while (attempt(take_one, 0, 0, 0) != 0)
        write_msr(MSR_X2APIC_EOI, 0);
    while (attempt(unblock_nmi, 0, 0, 0) != 0)      /* one that was taken blocks the next, whose time comes here */
        ;
    for (unsigned i = 0; i < VECTORS; i++)
        write_msr(MSR_X2APIC_EOI, 0);
    uart_start();
}

void power_off(void)
{
    put("hostile: power off\n");
    out8(SLEEP_CONTROL, SLEEP_S5);
    for (;;)
        __asm__ volatile("cli; hlt");
}

void stray_fault(uint64_t vector, const uint64_t *frame)
{
    put("\nhostile: stray fault, vector ");
    put_number(vector, 10);
    put(", frame ");
    for (unsigned i = 0; i < 4; i++) {
        put_hex(frame[i]);
        put(" ");
    }
    put("\n");
    out8(RESET, 1);
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* ------------------------------------------------------------- work */

/* No look at the line status: this line never is full. */
static void print_quickly(uint64_t value)
{
    for (int shift = 60; shift >= 0; shift -= 4) {
        if (value >> shift != 0 || shift == 0)
            out8(UART_DATA, (uint8_t)"0123456789abcdef"[value >> shift & 0xf]);
    }
}

static void work(void)
{
    for (uint64_t units = 1; (in8(UART_LSR) & LSR_DATA_READY) == 0; units++) {
        for (uint32_t i = 0; i < WORK_LOOPS; i++)
            random64();
        out8(UART_DATA, 'w');
        out8(UART_DATA, ' ');
        print_quickly(units);
        out8(UART_DATA, ' ');
        print_quickly(read_tsc());
        out8(UART_DATA, '\n');
    }
}

/* ------------------------------------------------------------- echo */

#define ECHO_LINE 256u
#define CTRL_D 4

static void echo(void)
{
    static char line[ECHO_LINE];
    unsigned length = 0, lines = 0;

    for (;;) {
        uint8_t status = in8(UART_LSR), byte;

        if ((status & LSR_OVERRUN) != 0)
            put("[overrun]\n");
        if ((status & LSR_DATA_READY) == 0)
            continue;
        byte = in8(UART_DATA);
        if (byte == CTRL_D)
            return;
        if ((status & LSR_BREAK) != 0) {
            put("[break]\n");
        } else if (byte == '\r' || length == ECHO_LINE - 1) {
            uint64_t start = read_tsc();

            line[length] = '\0';
            length = 0;
            put("echo ");
            put_hex(++lines);
            put(": ");
            put(line);
            put("$\n");
            while (read_tsc() - start < phase_length)
                __asm__ volatile("pause");
        } else if (byte >= ' ' && byte < 0x7f) {
            line[length++] = (char)byte;
        } else {
            put("[");
            put_hex(byte);
            put("]\n");
        }
    }
}

/* ------------------------------------------------------------- from the command line to attacks */

/* True where `list` goes on with `name` and then a comma, a space or its end. */
static bool names(const char *list, const char *name)
{
    while (*name != '\0' && *list == *name)
        list++, name++;
    return *name == '\0' && (*list == ',' || *list == ' ' || *list == '\0');
}

static const struct attack *find_attack(const char *list)
{
    static const struct attack *const all[] = {probes, controls, storms, tables, ends, crowds};

    for (unsigned i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        for (const struct attack *attack = all[i]; attack->name != 0; attack++) {
            if (names(list, attack->name))
                return attack;
        }
    }
    return 0;
}

static void run(const struct attack *attack)
{
    put("hostile: ");
    put(attack->name);
    put(" begins\n");
    for (unsigned i = 0; i < 32; i++)
        faults[i] = 0;
    for (unsigned i = 0; i < VECTORS; i++)
        interrupts[i] = 0;
    phase_end = read_tsc() + phase_length;
    told_count = 0;
    attack->run();
    quiesce();
    put("hostile: ");
    put(attack->name);
    put(":");
    for (unsigned i = 0; i < told_count; i++) {
        put(i == 0 ? " " : ", ");
        put_number(told[i].count, 10);
        put(" ");
        put(told[i].what);
    }
    put("\n");
}

static void find_c_bit(void)
{
    uint32_t a, b, c, d;

    cpuid(0x80000000, &a, &b, &c, &d);
    if (a < 0x8000001f)
        return;
    cpuid(0x8000001f, &a, &b, &c, &d);
    if ((a & 2) != 0 && (read_msr(MSR_SEV_STATUS) & 1) != 0)
        c_bit = UINT64_C(1) << (b & 0x3f);
}

__attribute__((section(".text.entry"), noreturn)) void hostile(const char *cmdline, uint64_t memory);

void hostile(const char *cmdline, uint64_t memory)
{
    uint32_t khz, b, c, d;
    const char *list = find_word(cmdline, "attack=");

    command_line = cmdline;
    memory_size = memory;
    uart_start();
    make_idt();
    find_c_bit();
    random_state = number_after(cmdline, "seed=", 1) * UINT64_C(0x9e3779b97f4a7c15) | 1;
    cpuid(0x40000010, &khz, &b, &c, &d);
    phase_length = (uint64_t)number_after(cmdline, "ms=", 100) * number_after(cmdline, "khz=", khz);
    write_msr(MSR_APIC_BASE, read_msr(MSR_APIC_BASE) | APIC_BASE_X2APIC);
    quiesce();

    put("hostile: ");
    put(c_bit != 0 ? "with" : "without");
    put(" SEV, \"");
    put(cmdline);
    put("\"\n");
    if (list != 0 && names(list, "work")) {
        work();
        power_off();
    }
    if (list != 0 && names(list, "echo")) {
        phase_length = (uint64_t)number_after(cmdline, "ms=", 0) * number_after(cmdline, "khz=", khz);
        echo();
        power_off();
    }
    while (list != 0 && *list != ' ' && *list != '\0') {
        const struct attack *attack = find_attack(list);

        if (attack == 0) {
            put("hostile: no such attack\n");
            out8(RESET, 1);
        } else {
            run(attack);
        }
        while (*list != ',' && *list != ' ' && *list != '\0')
            list++;
        if (*list == ',')
            list++;
    }
    power_off();
}
