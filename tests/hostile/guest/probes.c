/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Attacks that try every case of something, and look at each answer. */
#include "kit.h"

#define KVM_ENOSYS 1000
#define KVM_EINVAL 22
#define KVM_HC_MAP_GPA_RANGE 12
#define TSC_JUMPS 4000u

typedef void code(uint64_t, uint64_t, uint64_t);

/* ------------------------------------------------------------- CPUID */

static void cpuid_sub(uint32_t leaf, uint32_t subleaf, uint32_t out[4])
{
    __asm__ volatile("cpuid" : "=a"(out[0]), "=b"(out[1]), "=c"(out[2]), "=d"(out[3]) : "a"(leaf), "c"(subleaf));
}

static void attack_cpuid(void)
{
    static const uint32_t subleaves[] = {0, 1, 2, 3, 0x7f, 0x80000000, 0xffffffff};
    uint64_t done = 0, wrong = 0;
    uint32_t out[4];

    for (uint32_t i = 0; more(); i++) {
        uint32_t low = i & 0xff, leaf, subleaf = subleaves[random64() % 7];

        switch (i >> 8 & 3) {
        case 0:
            leaf = low;
            break;
        case 1:
            leaf = 0x40000000 + low;
            break;
        case 2:
            leaf = 0x80000000 + low;
            break;
        default:
            leaf = (uint32_t)random64();
            subleaf = (uint32_t)random64();
            break;
        }
        cpuid_sub(leaf, subleaf, out);
        done++;
        /* No SVM and no monitor for guests; a hypervisor; nothing where nothing is. */
        if ((leaf == 0x80000001 && (out[2] & 4) != 0) || (leaf == 1 && ((out[2] & 8) != 0 || out[2] >> 31 != 1)) ||
            (leaf > 0x80000021 && (out[0] | out[1] | out[2] | out[3]) != 0))
            wrong++;
    }
    tell(done, "leaves");
    tell(wrong, "wrong");
}

/* ------------------------------------------------------------- MSRs */

static void do_rdmsr(uint64_t msr, uint64_t where, uint64_t unused)
{
    (void)unused;
    *(uint64_t *)where = read_msr((uint32_t)msr);
}

static void do_wrmsr(uint64_t msr, uint64_t value, uint64_t unused)
{
    (void)unused;
    write_msr((uint32_t)msr, value);
}

/* The ranges that permission maps know, KVM's numbers, and any. 4099 is prime: all are visited. */
static uint32_t some_msr(uint64_t i)
{
    uint32_t low = (uint32_t)(i * 4099 & 0x1fff);

    switch (i >> 13 & 3) {
    case 0:
        return low;
    case 1:
        return 0xc0000000 + low;
    case 2:
        return 0xc0010000 + low;
    default:
        return (i & 1) != 0 ? 0x4b564d00 + (low & 0xff) : (uint32_t)random64();
    }
}

/* With a short time, some of each range. */
static uint64_t mixed(uint64_t i)
{
    return (i & 3) << 13 | (i >> 2 & 0x1fff);
}

static void attack_rdmsr(void)
{
    uint64_t done = 0, refused = 0, wrong = 0, value;

    for (uint64_t i = 0; more(); i++, done++) {
        uint32_t msr = some_msr(mixed(i)), fault = attempt(do_rdmsr, msr, (uint64_t)&value, 0);

        refused += fault == FAULT(VECTOR_GP);
        wrong += fault != 0 && fault != FAULT(VECTOR_GP);
    }
    wrong += attempt(do_rdmsr, MSR_EFER, (uint64_t)&value, 0) != 0 || (value & 1u << 12) != 0;  /* SVME is hidden */
    wrong += attempt(do_rdmsr, 0xc0010117, (uint64_t)&value, 0) != FAULT(VECTOR_GP);            /* VM_HSAVE_PA */
    wrong += attempt(do_rdmsr, 0xc0011020, (uint64_t)&value, 0) != FAULT(VECTOR_GP);            /* LS_CFG */
    wrong += attempt(do_rdmsr, 0xc0011029, (uint64_t)&value, 0) != 0 || value != 2; /* DE_CFG: LFENCE serialises */
    tell(done, "reads");
    tell(refused, "refused");
    tell(wrong, "wrong");
}

static uint64_t hostile_value(uint64_t i)
{
    switch (i % 5) {
    case 0:
        return 0;
    case 1:
        return ~UINT64_C(0);
    case 2:
        return UINT64_C(1) << (random64() & 63);
    case 3:
        return random64() & 0xffff;
    default:
        return random64();
    }
}

static void attack_wrmsr(void)
{
    uint64_t done = 0, refused = 0, wrong = 0;
    uint64_t efer = read_msr(MSR_EFER), pat = read_msr(0x277), lstar = read_msr(0xc0000082);

    for (uint64_t i = 0; more(); i++, done++) {
        uint32_t msr = some_msr(mixed(i)), fault;
        uint64_t value = hostile_value(random64());

        if (msr == MSR_TSC)
            continue; /* `more` needs it; attack=tsc has it */
        if (msr >> 8 == MSR_WALL_CLOCK >> 8)
            value |= UINT64_C(1) << 40; /* beyond RAM; attack=pvclock is less careful */
        fault = attempt(do_wrmsr, msr, value, 0);
        refused += fault == FAULT(VECTOR_GP);
        wrong += fault != 0 && fault != FAULT(VECTOR_GP);
    }
    wrong += attempt(do_wrmsr, MSR_EFER, efer | 1u << 12, 0) != FAULT(VECTOR_GP); /* SVME */
    wrong += attempt(do_wrmsr, MSR_EFER, efer & ~UINT64_C(0x100), 0) != FAULT(VECTOR_GP); /* LME under paging */
    wrong += attempt(do_wrmsr, MSR_APIC_BASE, 0, 0) != FAULT(VECTOR_GP);
    wrong += attempt(do_wrmsr, 0xc0010117, 0x1000, 0) != FAULT(VECTOR_GP);
    write_msr(MSR_EFER, efer);
    write_msr(0x277, pat);
    write_msr(0xc0000082, lstar);
    tell(done, "writes");
    tell(refused, "refused");
    tell(wrong, "wrong");
}

/* The TSC as the guest sees it jumps, with its timer armed in every mode. */
static void attack_tsc(void)
{
    static const uint32_t modes[] = {0u << 17, 1u << 17, 2u << 17};
    uint64_t before = read_tsc();

    for (unsigned i = 0; i < TSC_JUMPS; i++) {
        write_msr(MSR_X2APIC_LVT_TIMER, modes[i % 3] | 0x60);
        write_msr(0x838, (uint32_t)random64());
        write_msr(MSR_TSC_DEADLINE, random64());
        write_msr(MSR_TSC, hostile_value(i));
        read_msr(0x839);
        write_msr(0x83e, (uint32_t)random64() & 0xb);
        __asm__ volatile("sti; nop; cli" ::: "memory");
    }
    write_msr(MSR_TSC, before);
    tell(TSC_JUMPS, "jumps");
    tell(interrupts[0x60], "timer interrupts");
}

/* ------------------------------------------------------------- ports */

static void out_any(uint16_t port, unsigned width, uint32_t value)
{
    if (width == 0)
        __asm__ volatile("outb %%al, %%dx" : : "a"(value), "d"(port));
    else if (width == 1)
        __asm__ volatile("outw %%ax, %%dx" : : "a"(value), "d"(port));
    else
        __asm__ volatile("outl %%eax, %%dx" : : "a"(value), "d"(port));
}

static uint64_t in_any(uint16_t port, unsigned width)
{
    uint64_t rax = 0x1122334455667788;

    if (width == 0)
        __asm__ volatile("inb %%dx, %%al" : "+a"(rax) : "d"(port));
    else if (width == 1)
        __asm__ volatile("inw %%dx, %%ax" : "+a"(rax) : "d"(port));
    else
        __asm__ volatile("inl %%dx, %%eax" : "+a"(rax) : "d"(port));
    return rax;
}

static void attack_ports(void)
{
    static const uint64_t kept[] = {0x1122334455667700, 0x1122334455660000, 0};
    static const uint64_t mask[] = {0xff, 0xffff, 0xffffffff};
    uint64_t done = 0, wrong = 0;

    for (uint32_t i = 0; more(); i++, done++) {
        uint16_t port = (uint16_t)(i * 40503); /* odd: all ports */
        unsigned width = (i + (i >> 16)) % 3;
        uint32_t value = (uint32_t)random64();
        uint64_t rax;

        if ((port >= SLEEP_CONTROL - 3 && port <= RESET) || (port >= UART_DATA - 3 && port <= UART_DATA))
            value = 0; /* neither the end nor noise on the console */
        if ((port >= 0x61 && port <= 0x64) || port == 0xcf9)
            value = 0; /* a PC's ways to reset it */
        rax = in_any(port, width);
        if ((rax & ~mask[width]) != kept[width] || (port > 0x700 && port < 0xcf8 && (rax & mask[width]) != mask[width]))
            wrong++;
        out_any(port, width, value);
    }
    tell(2 * done, "accesses");
    tell(wrong, "wrong");
}

/* ------------------------------------------------------------- where there is no memory */

#define BUS_PAGES 40u /* hv maps some dozens for a launch */

static void i_read(uint64_t address, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    (void)*(volatile uint32_t *)address;
}

/* Reads of the bus: all ones. With the C-bit they are what the guest's key makes of them, and no fault. */
static void attack_bus(void)
{
    static uint64_t pages[BUS_PAGES];
    uint64_t reads = 0, private = 0, wrong = 0;

    for (unsigned i = 0; i < BUS_PAGES; i++)
        pages[i] = bus_address() & ~UINT64_C(0xfff);
    for (; more(); reads++) {
        uint64_t address = pages[reads % BUS_PAGES] + (random64() & 0xffc);

        if ((random64() & 1) != 0) {
            wrong += attempt(i_read, (uint64_t)map(address), 0, 0) != 0;
            private++;
        }
        wrong += *map_shared(address) != UINT32_MAX;
    }
    map(0x800000); /* as it was */
    tell(reads, "reads");
    tell(private, "by the C-bit");
    tell(wrong, "wrong");
}

/* ------------------------------------------------------------- VMMCALL */

static void attack_vmmcall(void)
{
    uint64_t done = 0, wrong = 0;

    for (uint64_t i = 0; more(); i++, done++) {
        uint64_t rax = i < 64 ? i : hostile_value(i), rbx = random64(), rcx = hostile_value(i + 1);
        uint64_t rdx = hostile_value(i + 2), rsi = hostile_value(i + 3), kept = rbx;
        bool shares = c_bit != 0 && rax == KVM_HC_MAP_GPA_RANGE;

        __asm__ volatile("vmmcall" : "+a"(rax), "+b"(rbx), "+c"(rcx), "+d"(rdx), "+S"(rsi) : : "memory");
        wrong += rbx != kept || (shares ? rax != 0 && rax != (uint64_t)-KVM_EINVAL : rax != (uint64_t)-KVM_ENOSYS);
    }
    tell(done, "calls");
    tell(wrong, "wrong");
}

/* ------------------------------------------------------------- interrupts to itself */

static uint64_t error_status(void)
{
    write_msr(0x828, 0);
    return read_msr(0x828);
}

static void attack_ipi(void)
{
    static const uint64_t destinations[] = {
        0, 1, 15, 0xff, 0xffffffff, 0x10001, 0xffff0001, 0x0000ffff, 0x7fffffff,
    };
    uint64_t done = 0, wrong = 0, refused = 0;

    error_status();
    for (uint32_t vector = 0; vector < 16; vector++) {
        write_msr(0x83f, vector);
        wrong += (error_status() & 0x20) == 0; /* sent illegal vector */
        write_msr(0x830, 1u << 18 | vector); /* shorthand: self */
        wrong += (error_status() & 0x20) == 0;
    }
    write_msr(0x837, 5); /* the error's own interrupt has an illegal vector */
    write_msr(0x83f, 3);
    wrong += (error_status() & 0x60) != 0x60;
    while (more()) {
        uint64_t icr = destinations[random64() % 9] << 32 | (random64() & 0xcdfff);

        if (done % 4 == 0)
            icr = random64();
        if ((icr & ICR_MODE) == ICR_INIT) /* of its boot vCPU ends a guest: see ends.c */
            icr ^= ICR_INIT ^ ICR_NMI;
        refused += attempt(do_wrmsr, 0x830, icr, 0) != 0;
        if (done++ % 64 == 0)
            quiesce();
    }
    quiesce();
    tell(done, "messages");
    tell(refused, "refused");
    tell(wrong, "wrong");
}

/* ------------------------------------------------------------- instructions */

#define INSTRUCTION(name, text)                                       \
    static void name(uint64_t a, uint64_t b, uint64_t c)              \
    {                                                                 \
        __asm__ volatile(text : : "a"(a), "c"(b), "d"(c) : "memory"); \
    }

INSTRUCTION(i_vmrun, "vmrun %%rax")
INSTRUCTION(i_vmload, "vmload %%rax")
INSTRUCTION(i_vmsave, "vmsave %%rax")
INSTRUCTION(i_stgi, "stgi")
INSTRUCTION(i_clgi, "clgi")
INSTRUCTION(i_skinit, "skinit %%eax")
INSTRUCTION(i_invlpga, "invlpga %%rax, %%ecx")
INSTRUCTION(i_monitor, "monitor %%rax, %%ecx, %%edx")
INSTRUCTION(i_mwait, "mwait %%eax, %%ecx")
INSTRUCTION(i_rsm, "rsm")
INSTRUCTION(i_rdpru, ".byte 0x0f, 0x01, 0xfd")
INSTRUCTION(i_rdpmc, "rdpmc")
INSTRUCTION(i_xsetbv, "xsetbv")
INSTRUCTION(i_ud0, ".byte 0x0f, 0xff, 0xc0")
INSTRUCTION(i_ud1, ".byte 0x0f, 0xb9, 0xc0")
INSTRUCTION(i_ud2, "ud2")
INSTRUCTION(i_lock_nop, ".byte 0xf0, 0x90")
INSTRUCTION(i_getsec, ".byte 0x0f, 0x37")
INSTRUCTION(i_vmcall, ".byte 0x0f, 0x01, 0xc1")
INSTRUCTION(i_int1, ".byte 0xf1")
INSTRUCTION(i_int3, "int3")
INSTRUCTION(i_int_ff, "int $0xff")
INSTRUCTION(i_swapgs, "swapgs; swapgs")
INSTRUCTION(i_invd, "invd")
INSTRUCTION(i_wbinvd, "wbinvd")
INSTRUCTION(i_step, "pushfq; orl $0x100, (%%rsp); popfq; cpuid; nop")

static const struct {
    const char *name;
    code *run;
    uint64_t a, b, c; /* RAX, RCX, RDX */
    uint32_t fault; /* the only right answer */
} instructions[] = {
    {"vmrun", i_vmrun, 0x200000, 0, 0, FAULT(VECTOR_UD)},
    {"vmload", i_vmload, 0x200000, 0, 0, FAULT(VECTOR_UD)},
    {"vmsave", i_vmsave, 0x200000, 0, 0, FAULT(VECTOR_UD)},
    {"stgi", i_stgi, 0, 0, 0, FAULT(VECTOR_UD)},
    {"clgi", i_clgi, 0, 0, 0, FAULT(VECTOR_UD)},
    {"skinit", i_skinit, 0x200000, 0, 0, FAULT(VECTOR_UD)},
    {"invlpga", i_invlpga, 0x200000, 1, 0, FAULT(VECTOR_UD)},
    {"monitor", i_monitor, 0x200000, 0, 0, FAULT(VECTOR_UD)},
    {"mwait", i_mwait, 0, 0, 0, FAULT(VECTOR_UD)},
    {"rsm", i_rsm, 0, 0, 0, FAULT(VECTOR_UD)},
    {"rdpru", i_rdpru, 0, 0, 0, FAULT(VECTOR_UD)},
    {"rdpmc", i_rdpmc, 0, 0, 0, FAULT(VECTOR_GP)},
    {"rdpmc far", i_rdpmc, 0, 0xffffffff, 0, FAULT(VECTOR_GP)},
    {"xsetbv without OSXSAVE", i_xsetbv, 1, 0, 0, FAULT(VECTOR_UD)},
    {"ud0", i_ud0, 0, 0, 0, FAULT(VECTOR_UD)},
    {"ud1", i_ud1, 0, 0, 0, FAULT(VECTOR_UD)},
    {"ud2", i_ud2, 0, 0, 0, FAULT(VECTOR_UD)},
    {"lock nop", i_lock_nop, 0, 0, 0, FAULT(VECTOR_UD)},
    {"getsec", i_getsec, 0, 0, 0, FAULT(VECTOR_UD)},
    {"vmcall", i_vmcall, 0, 0, 0, FAULT(VECTOR_UD)},
    {"int1", i_int1, 0, 0, 0, FAULT(VECTOR_DB)},
    {"int3", i_int3, 0, 0, 0, FAULT(3)},
    {"int 0xff", i_int_ff, 0, 0, 0, 0},
    {"swapgs", i_swapgs, 0, 0, 0, 0},
    {"invd", i_invd, 0, 0, 0, 0},
    {"wbinvd", i_wbinvd, 0, 0, 0, 0},
};

static void attack_instructions(void)
{
    uint64_t done = 0, wrong = 0;

    while (more()) {
        for (unsigned i = 0; i < sizeof(instructions) / sizeof(instructions[0]); i++) {
            uint32_t fault = attempt(instructions[i].run, instructions[i].a, instructions[i].b, instructions[i].c);

            done++;
            if (fault == instructions[i].fault)
                continue;
            if (wrong++ == 0) {
                tell(fault & 0xff, instructions[i].name);
                put("(wrong: ");
                put(instructions[i].name);
                put(")\n");
            }
        }
    }
    tell(done, "instructions");
    tell(wrong, "wrong");
}

static void do_cr4(uint64_t value, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    __asm__ volatile("mov %0, %%cr4" : : "r"(value) : "memory");
}

static uint64_t read_cr4(void)
{
    uint64_t value;

    __asm__ volatile("mov %%cr4, %0" : "=r"(value));
    return value;
}

/* XSETBV with a value that is not to be had: #GP, and XCR0 as it was. */
static void attack_xsetbv(void)
{
    uint64_t done = 0, wrong = 0, cr4 = read_cr4();

    if (attempt(do_cr4, cr4 | 1u << 18, 0, 0) != 0) {
        tell(0, "(no XSAVE)");
        return;
    }
    while (more()) {
        uint32_t low = (uint32_t)hostile_value(done), high = (uint32_t)(hostile_value(done) >> 32);
        uint32_t number = done % 8 == 0 ? (uint32_t)random64() : 0;
        bool legal = number == 0 && high == 0 && (low == 1 || low == 3 || low == 7);

        wrong += attempt(i_xsetbv, low, number, high) != (legal ? 0 : FAULT(VECTOR_GP));
        done++;
    }
    wrong += attempt(i_xsetbv, 7, 0, 0) != 0;
    wrong += attempt(i_xsetbv, 1, 0, 0) != 0;
    do_cr4(cr4, 0, 0);
    tell(done, "values");
    tell(wrong, "wrong");
}

/* RFLAGS.TF over instructions that exit: a #DB after each. */
static void attack_step(void)
{
    uint64_t done = 0, wrong = 0;

    for (; more(); done++)
        wrong += attempt(i_step, 0, 0, 0) != FAULT(VECTOR_DB);
    tell(done, "steps");
    tell(wrong, "wrong");
}

/* ------------------------------------------------------------- control registers, modes */

static void do_cr0(uint64_t value, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    __asm__ volatile("mov %0, %%cr0" : : "r"(value) : "memory");
}

static void do_cr3(uint64_t value, uint64_t b, uint64_t c)
{
    (void)b, (void)c;
    __asm__ volatile("mov %0, %%cr3" : : "r"(value) : "memory");
}

/* Bits that may be had one by one; of the others emulators do not always refuse what a processor would. */
static const uint8_t cr0_bits[] = {1, 2, 3, 5, 16, 18, 30}; /* MP EM TS NE WP AM CD */
static const uint8_t cr4_bits[] = {0, 1, 2, 3, 4, 7, 8, 9, 10, 11, 16, 18, 20, 21}; /* no MCE, PAE, LA57, PCIDE */

static void attack_modes(void)
{
    uint64_t flips = 0, refused = 0, trips = 0, cr0, cr3, cr4 = read_cr4(), efer = read_msr(MSR_EFER);
    uint32_t a, b, c, d;

    __asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
    __asm__ volatile("mov %%cr3, %0" : "=r"(cr3));
    for (; more(); flips++) {
        uint64_t r = random64();

        switch (flips % 4) {
        case 0:
            refused += attempt(do_cr0, cr0 ^ UINT64_C(1) << cr0_bits[r % sizeof(cr0_bits)], 0, 0) != 0;
            cpuid(1, &a, &b, &c, &d);
            do_cr0(cr0, 0, 0);
            break;
        case 1:
            refused += attempt(do_cr4, cr4 ^ UINT64_C(1) << cr4_bits[r % sizeof(cr4_bits)], 0, 0) != 0;
            cpuid(1, &a, &b, &c, &d);
            do_cr4(cr4, 0, 0);
            break;
        case 2:
            refused += attempt(do_wrmsr, MSR_EFER, efer ^ UINT64_C(1) << (r & 63), 0) != 0;
            cpuid(0x80000001, &a, &b, &c, &d);
            write_msr(MSR_EFER, efer);
            break;
        default:
            do_cr3(cr3 ^ (r & 0x18), 0, 0); /* PWT, PCD */
            do_cr3(cr3, 0, 0);
            mode_trip();
            trips++;
            break;
        }
    }
    tell(flips, "flips");
    tell(refused, "refused");
    tell(trips, "trips to real mode");
}

const struct attack probes[] = {
    {"cpuid", attack_cpuid},
    {"rdmsr", attack_rdmsr},
    {"wrmsr", attack_wrmsr},
    {"tsc", attack_tsc},
    {"ports", attack_ports},
    {"bus", attack_bus},
    {"vmmcall", attack_vmmcall},
    {"ipi", attack_ipi},
    {"instructions", attack_instructions},
    {"xsetbv", attack_xsetbv},
    {"step", attack_step},
    {"modes", attack_modes},
    {0, 0},
};
