/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Attacks by several vCPUs at the same time: as many as `vcpus=N` on the command line says. Each attack starts the
 * others by INIT and STARTUP, and puts them to rest by INIT; in between each plays its part, vCPU 0 too.
 */
#include "crowd.h"

#define STUB_SIZE 16u
#define VECTOR_NMI 2u
#define FIRST_LEGAL_VECTOR 16u          /* those below are faults and the NMI */
#define VECTOR_ERROR 0xfeu

#define PAGE_SHIFT 12
#define TRAMPOLINE 0x8000u              /* page 8: below 1 MiB, and nothing of the packer's is there */
#define STACK_TOP UINT64_C(0x80000)     /* of vCPU 0; ap.asm gives each of the others the page below */
#define STARTUP_PAGES 256u

#define WINDOW UINT64_C(0x800000)       /* 8 and 10 MiB: large pages that nothing else uses */
#define OTHER UINT64_C(0xa00000)
#define FAR UINT64_C(0x40000000)        /* where nothing is mapped */
#define DIRECTORIES UINT64_C(0xc00000)
#define PDPT UINT64_C(0x5000)           /* guest/pack/machine.py */
#define PTE_TABLE UINT64_C(0x03)
#define PTE_LARGE UINT64_C(0x83)
#define PTE_READ_ONLY UINT64_C(0x81)

#define ICR_STARTUP 0x600u
#define ICR_LOGICAL (UINT64_C(1) << 11)
#define ICR_SHORTHAND(icr) ((icr) >> 18 & 3)
#define ICR_OTHERS (UINT64_C(3) << 18)
#define MSR_X2APIC_TPR 0x808u
#define MSR_X2APIC_LVT_ERROR 0x837u

#define LONG 300000000u                 /* TSC cycles: for others' turns on a CPU */
#define SHORT 300000u
#define SOON 2000u

struct trap_frame {
    uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

/* traps.asm, and tests/bench/guest/ap.asm */
extern const uint8_t crowd_stubs[], crowd_return[], crowd_try[], crowd_refused[], crowd_slept[];
extern const uint8_t ap_trampoline[], ap_trampoline_idt[], ap_trampoline_end[], ap_start[];
void crowd_sleep(const volatile uint64_t *nmi_count, uint64_t seen);
bool crowd_touch(volatile uint64_t *address, uint64_t *value);
void crowd_trap(struct trap_frame *frame);
void ap_main(unsigned id) __attribute__((noreturn));

volatile uint64_t done[MEMBERS_MAX], wrong[MEMBERS_MAX];
static volatile uint64_t starts[MEMBERS_MAX], refused[MEMBERS_MAX];
static volatile uint64_t taken[MEMBERS_MAX], nmis[MEMBERS_MAX];     /* interrupts, NMIs */
static volatile bool over[MEMBERS_MAX];
static uint64_t random_states[MEMBERS_MAX];

static struct gate crowd_idt[256];
static unsigned count;
static part *volatile job;

/* ------------------------------------------------------------- what members share */

/* By its stack. */
static unsigned own_id(void)
{
    return (unsigned)((STACK_TOP - 1 - (uint64_t)__builtin_frame_address(0)) >> PAGE_SHIFT);
}

uint64_t some(unsigned id)
{
    uint64_t r = random_states[id];

    r ^= r >> 12;
    r ^= r << 25;
    r ^= r >> 27;
    random_states[id] = r;
    return r * 0x2545f4914f6cdd1d;
}

void crowd_trap(struct trap_frame *frame)
{
    unsigned id = own_id() % MEMBERS_MAX;

    if (frame->vector >= FIRST_LEGAL_VECTOR) {
        taken[id]++;
        write_msr(MSR_X2APIC_EOI, 0);
    } else if (frame->vector == VECTOR_NMI) {
        nmis[id]++;
        if (frame->rip >= (uint64_t)crowd_sleep && frame->rip < (uint64_t)crowd_slept)
            frame->rip = (uint64_t)crowd_slept;
    } else if (frame->rip >= (uint64_t)crowd_try && frame->rip < (uint64_t)crowd_refused) {
        refused[id]++;
        frame->rip = (uint64_t)crowd_refused;
    } else if (frame->rip == (uint64_t)crowd_return) {
        frame->rip = (uint64_t)ap_start; /* an NMI came between real and 64-bit mode, from where none returns */
    } else if (id == 0) {
        stray_fault(frame->vector, &frame->rip);
    } else {
        wrong[id]++;
        for (;;)
            __asm__ volatile("cli; hlt");
    }
}

static void load_crowd_idt(void)
{
    struct table_register idtr = {sizeof(crowd_idt) - 1, (uint64_t)crowd_idt};

    __asm__ volatile("lidt %0" : : "m"(idtr));
}

/* Into 64-bit mode, with interrupts off, as often as somebody sends INIT and STARTUP. */
void ap_main(unsigned id)
{
    load_crowd_idt();
    unblock_nmi(0, 0, 0); /* in real mode one leads here, as all interrupts do */
    starts[id]++;
    write_msr(MSR_X2APIC_SVR, 0x1ff);
    write_msr(MSR_X2APIC_LVT_ERROR, VECTOR_ERROR);
    job(id);
    __asm__ volatile("cli");
    over[id] = true;
    for (;;)
        __asm__ volatile("cli; hlt");
}

/* ------------------------------------------------------------- vCPU 0 gathers them */

static uint64_t to(uint64_t id)
{
    return id << 32;
}

/* It lets others have the CPU. */
static void wait(uint64_t cycles)
{
    for (uint64_t start = read_tsc(); read_tsc() - start < cycles;)
        __asm__ volatile("pause");
}

static void make_crowd_idt(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint64_t handler = (uint64_t)crowd_stubs + i * STUB_SIZE;

        crowd_idt[i] = (struct gate){
            .offset_low = (uint16_t)handler,
            .selector = 0x10,
            .attributes = 0x8e00,
            .offset_middle = (uint16_t)(handler >> 16),
            .offset_high = (uint32_t)(handler >> 32),
        };
    }
}

/* Not where the command line, the GDT, the page tables and the stacks are. */
static bool startable(unsigned page)
{
    return page != 1 && (page < 3 || page > 6) &&
           (page < (STACK_TOP >> PAGE_SHIFT) - MEMBERS_MAX || page >= STACK_TOP >> PAGE_SHIFT);
}

/* At the start of each page is a far jump to the trampoline, and so it is at 0:0, to which all of real mode's
 * interrupt vectors lead. */
static void prepare_startup(void)
{
    static const uint8_t jump[] = {0xea, 0, 0, TRAMPOLINE >> 4 & 0xff, TRAMPOLINE >> 12};
    struct table_register idtr = {sizeof(crowd_idt) - 1, (uint64_t)crowd_idt};

    for (volatile uint8_t *at = (volatile uint8_t *)UINT64_C(0x400) - 1; (uint64_t)at >= sizeof(jump); at--)
        *at = 0;
    for (unsigned page = 0; page < STARTUP_PAGES; page++) {
        volatile uint8_t *at = (volatile uint8_t *)((uint64_t)page << PAGE_SHIFT);

        __asm__("" : "+r"(at)); /* one of them is at 0 */
        for (unsigned i = 0; i < sizeof(jump) && startable(page); i++)
            at[i] = jump[i];
    }
    volatile uint8_t *at = (volatile uint8_t *)(uint64_t)TRAMPOLINE;
    for (const uint8_t *from = ap_trampoline; from < ap_trampoline_end; from++)
        *at++ = *from;
    at = (volatile uint8_t *)(TRAMPOLINE + (uint64_t)(ap_trampoline_idt - ap_trampoline));
    for (unsigned i = 0; i < 6; i++) /* what real mode's LIDT takes of it */
        at[i] = ((const uint8_t *)&idtr)[i];
}

static void rest(void)
{
    for (unsigned id = 1; id < count; id++)
        write_msr(MSR_X2APIC_ICR, to(id) | ICR_INIT);
    wait(SHORT);
}

/* Clean counters, everybody asleep, vCPU 0 ready for whatever comes. */
static void gather(part *play)
{
    count = number_after(command_line, "vcpus=", 1);
    if (count > MEMBERS_MAX)
        count = MEMBERS_MAX;
    make_crowd_idt();
    prepare_startup();
    rest();
    for (unsigned id = 0; id < count; id++) {
        starts[id] = done[id] = refused[id] = wrong[id] = taken[id] = nmis[id] = 0;
        over[id] = false;
        random_states[id] = random64() | 1;
    }
    job = play;
    load_crowd_idt();
}

static void start_others(void)
{
    for (unsigned id = 1; id < count; id++)
        write_msr(MSR_X2APIC_ICR, to(id) | ICR_STARTUP | TRAMPOLINE >> PAGE_SHIFT);
}

static bool all_started(void)
{
    for (unsigned id = 1; id < count; id++) {
        if (starts[id] == 0)
            return false;
    }
    return true;
}

static bool all_over(void)
{
    for (unsigned id = 1; id < count; id++) {
        if (!over[id])
            return false;
    }
    return true;
}

static void wait_until_over(void)
{
    for (uint64_t start = read_tsc(); !all_over() && read_tsc() - start < LONG;)
        __asm__ volatile("pause");
}

/* What is on its way to vCPU 0 comes now, where it is known what to do with it. */
static void settle(void)
{
    write_msr(MSR_X2APIC_SVR, 0x1ff);
    write_msr(MSR_X2APIC_TPR, 0);
    __asm__ volatile("sti");
    wait(SHORT);
    __asm__ volatile("cli");
    load_idt(0xfff);
}

static void dismiss(const char *what)
{
    uint64_t all = 0, least = UINT64_MAX, bad = 0, unstarted = 0;

    rest();
    settle();
    for (unsigned id = 0; id < count; id++) {
        all += done[id];
        least = done[id] < least ? done[id] : least;
        bad += wrong[id];
        unstarted += id != 0 && starts[id] == 0;
    }
    tell(all, what);
    tell(least, "by the vCPU with the fewest");
    tell(count - unstarted, "vCPUs");
    tell(bad, "wrong");
}

static uint64_t sum(const volatile uint64_t *counters)
{
    uint64_t all = 0;

    for (unsigned id = 0; id < count; id++)
        all += counters[id];
    return all;
}

void crowd(part *play, const char *what)
{
    gather(play);
    start_others();
    play(0);
    __asm__ volatile("cli");
    wait_until_over();
    dismiss(what);
}

/* ------------------------------------------------------------- no harm */

/* What the others are compared with. */
static void spin(unsigned id)
{
    for (; more(); done[id]++)
        ;
}

static void crowd_none(void)
{
    crowd(spin, "turns of good neighbours");
}

/* ------------------------------------------------------------- storms */

/* Each goes through all kinds of exits, and none through the same as another at the same time. */
static void storm_by_turns(unsigned id)
{
    unsigned kinds = 0;

    while (exits[kinds] != 0)
        kinds++;
    for (unsigned turn = id; more(); turn++) {
        for (unsigned i = 0; i < 256; i++, done[id]++)
            exits[turn % kinds]();
    }
}

static void crowd_storms(void)
{
    crowd(storm_by_turns, "exits of all kinds");
}

/* WBINVD concerns all CPUs that the guest is on. */
static void storm_cache(unsigned id)
{
    for (; more(); done[id]++)
        __asm__ volatile("wbinvd" ::: "memory");
}

static void crowd_cache(void)
{
    crowd(storm_cache, "WBINVDs");
}

/* ------------------------------------------------------------- interrupts between them */

/* INIT to vCPU 0 would be the guest's end. */
static bool reaches_boot_vcpu(unsigned sender, uint64_t icr)
{
    uint32_t destination = (uint32_t)(icr >> 32);

    switch (ICR_SHORTHAND(icr)) {
    case 0:
        break;
    case 1:
        return sender == 0;
    case 2:
        return true;
    default:
        return sender != 0;
    }
    if (destination == UINT32_MAX)
        return true;
    return (icr & ICR_LOGICAL) == 0 ? destination == 0 : destination >> 16 == 0 && (destination & 1) != 0;
}

static uint64_t some_destination(unsigned id)
{
    static const uint32_t fixed[] = {UINT32_MAX, 0x0000ffff, 0xffff0001, 0x7fffffff, 255};
    uint64_t r = some(id);

    switch (r >> 32 & 3) {
    case 0:
        return to(fixed[r % 5]);
    case 1:
        return to(some(id));
    case 2:
        return to(1 + r % 15) | ICR_LOGICAL; /* any of the first four */
    default:
        return to(r % (count + 1)); /* and one who does not exist */
    }
}

static void send_some(unsigned id)
{
    uint64_t icr = some_destination(id) | (some(id) & 0xcd7ff);

    if (some(id) % 16 == 0)
        icr = some(id); /* reserved bits: #GP */
    if ((icr & ICR_MODE) == ICR_INIT && reaches_boot_vcpu(id, icr))
        icr ^= ICR_INIT ^ ICR_NMI;
    if ((icr & ICR_MODE) == ICR_STARTUP && !startable((unsigned)icr & 0xff))
        icr = (icr & ~UINT64_C(0xff)) | TRAMPOLINE >> PAGE_SHIFT;
    crowd_write_msr(MSR_X2APIC_ICR, icr);
    done[id]++;
}

static void send_any(unsigned id)
{
    while (more()) {
        __asm__ volatile("mov %0, %%cr8" : : "r"(some(id) % 64 == 0 ? some(id) & 15 : 0));
        __asm__ volatile("sti");
        send_some(id);
        if (some(id) % 2 == 0)
            __asm__ volatile("cli");
        send_some(id);
        if (id == 0 && some(id) % 8 == 0)
            start_others(); /* those that INIT has put to rest */
    }
    __asm__ volatile("cli; mov %0, %%cr8" : : "r"(UINT64_C(0)));
}

static void crowd_ipis(void)
{
    crowd(send_any, "messages");
    tell(sum(refused), "refused");
    tell(sum(taken), "interrupts");
    tell(sum(nmis), "NMIs");
    tell(sum(starts), "starts");
}

/* ------------------------------------------------------------- starts */

/* Another thing at each start, for ever. */
static void be_started(unsigned id)
{
    done[id]++;
    switch (starts[id] % 5) {
    case 0:
        __asm__ volatile("1: cli; hlt; jmp 1b" ::: "memory");
        break;
    case 1:
        __asm__ volatile("1: sti; hlt; jmp 1b" ::: "memory");
        break;
    case 2:
        for (;;)
            exits[some(id) % 3]();
    case 3:
        for (;;)
            write_msr(MSR_X2APIC_ICR, ICR_OTHERS | VECTOR_WAKE);
    default:
        __asm__ volatile("1: jmp 1b");
        break;
    }
}

static void start_and_stop(void)
{
    for (; more(); done[0]++) {
        uint64_t r = some(0), target = to(1 + r % (count - 1)), page = r >> 8 & 0xff;

        if (!startable((unsigned)page))
            page = TRAMPOLINE >> PAGE_SHIFT;
        if ((r & 0x10000) != 0)
            write_msr(MSR_X2APIC_ICR, target | ICR_INIT);
        if ((r & 0x20000) != 0)
            write_msr(MSR_X2APIC_ICR, target | ICR_NMI);
        if ((r & 0x40000) != 0)
            write_msr(MSR_X2APIC_ICR, target | ICR_STARTUP | page);
        __asm__ volatile("sti; nop; cli" ::: "memory");
        if ((r >> 20 & 63) == 0)
            wait(SHORT);
    }
}

static void crowd_starts(void)
{
    gather(be_started);
    start_others();
    start_and_stop();
    dismiss("STARTUPs and INITs and what they led to");
    tell(sum(starts), "starts");
}

/* ------------------------------------------------------------- page tables under others' feet */

static volatile uint64_t *const directories = (volatile uint64_t *)DIRECTORIES;

static uint64_t pattern(uint64_t page)
{
    return page * 0x0101010101;
}

static void use_tables(unsigned id)
{
    for (; more(); done[id]++) {
        uint64_t r = some(id), value, at = ((r & 1) != 0 ? WINDOW : FAR) + (r >> 8 & 0x1ffff8);

        if (crowd_touch((volatile uint64_t *)at, &value) && value != pattern(WINDOW) && value != pattern(OTHER))
            wrong[id]++;
    }
}

/* The entry of a large page, and the one above a directory that is another each time. */
static void change_tables(unsigned id)
{
    static const uint64_t entries[] = {
        0,
        WINDOW | PTE_LARGE,
        OTHER | PTE_LARGE,
        WINDOW | PTE_READ_ONLY,
        OTHER | PTE_LARGE | UINT64_C(1) << 13,
        WINDOW | PTE_LARGE | UINT64_C(1) << 63,
    };
    volatile uint64_t *entry = page_entry(WINDOW), *above = (volatile uint64_t *)PDPT + (FAR >> 30);

    for (; more(); done[id]++) {
        uint64_t r = some(id), value = entries[r % 6], directory = DIRECTORIES + (r >> 8 & 1) * 0x1000;

        *entry = value == 0 ? 0 : value | c_bit;
        *above = (r & 0x10000) != 0 ? 0 : directory | PTE_TABLE | c_bit;
        if ((r & 0x20000) != 0)
            __asm__ volatile("invlpg (%0)" : : "r"(WINDOW) : "memory");
        if ((r & 0x40000) != 0)
            __asm__ volatile("invlpg (%0)" : : "r"(FAR) : "memory");
        if ((r & 0x780000) == 0)
            __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
    }
    *entry = WINDOW | PTE_LARGE | c_bit;
    *above = 0;
    __asm__ volatile("mov %%cr3, %%rax; mov %%rax, %%cr3" ::: "rax", "memory");
}

static void change_or_use_tables(unsigned id)
{
    if (id == 0)
        change_tables(id);
    else
        use_tables(id);
}

static void crowd_tables(void)
{
    for (uint64_t off = 0; off < 0x200000; off += 8) {
        *(volatile uint64_t *)(WINDOW + off) = pattern(WINDOW);
        *(volatile uint64_t *)(OTHER + off) = pattern(OTHER);
    }
    for (unsigned i = 0; i < 1024; i++)
        directories[i] = 0;
    directories[0] = WINDOW | PTE_LARGE | c_bit;
    directories[512] = OTHER | PTE_LARGE | c_bit;
    crowd(change_or_use_tables, "changes and uses");
    tell(sum(refused), "page faults");
}

/* ------------------------------------------------------------- paravirtual clocks */

#define CLOCKS (WINDOW + 0x10000) /* a page of them, and one to each side that has none */
#define GUARD UINT64_C(0x5a5a5a5a5a5a5a5a)

static bool in_ram(uint64_t address, uint64_t size)
{
    return address % 4 == 0 && address < memory_size && memory_size - address >= size && address % 4096 <= 4096 - size;
}

static void move_clocks(unsigned id)
{
    for (; more(); done[id]++) {
        uint64_t r = some(id), address = CLOCKS + (r >> 8 & 0xfff);
        bool right = true;

        if ((r & 0xf0) == 0)
            address = some(id) | memory_size; /* nowhere */
        switch (r & 3) {
        case 0:
            right = in_ram(address, 12) == crowd_write_msr(MSR_WALL_CLOCK, address);
            break;
        case 1:
            crowd_write_msr(MSR_SYSTEM_TIME, address & ~UINT64_C(1)); /* off, wherever that is */
            break;
        default:
            right = in_ram(address & ~UINT64_C(1), 32) == crowd_write_msr(MSR_SYSTEM_TIME, address | 1);
            break;
        }
        wrong[id] += !right;
    }
    write_msr(MSR_SYSTEM_TIME, 0);
}

static void crowd_clock(void)
{
    volatile uint64_t *guard = (volatile uint64_t *)(CLOCKS - 0x1000);
    uint64_t overwritten = 0;

    for (unsigned i = 0; i < 1536; i++)
        guard[i] = GUARD;
    crowd(move_clocks, "clocks moved");
    for (unsigned i = 0; i < 512; i++)
        overwritten += (uint64_t)(guard[i] != GUARD) + (guard[1024 + i] != GUARD);
    tell(sum(refused), "refused");
    tell(overwritten, "words beside them overwritten");
}

/* ------------------------------------------------------------- sleep */

static void wake_some(unsigned id)
{
    uint64_t r = some(id), icr = (r & 4) != 0 ? ICR_OTHERS : to(r % count);

    write_msr(MSR_X2APIC_ICR, icr | ((r & 8) != 0 && icr != to(id) ? ICR_NMI : VECTOR_WAKE + (r >> 8 & 0x7f)));
}

/* vCPU 0 has a timer, so that all never sleep for ever; and wakes those that only NMIs wake. */
static void sleep_and_wake(unsigned id)
{
    if (id == 0)
        write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_WAKE);
    for (; more(); done[id]++) {
        wake_some(id);
        if (id == 0) {
            write_msr(MSR_TSC_DEADLINE, read_tsc() + (some(id) & 0x3ffff));
            if (some(id) % 4 == 0)
                write_msr(MSR_X2APIC_ICR, ICR_OTHERS | ICR_NMI);
        }
        if (id == 0 || some(id) % 2 == 0)
            __asm__ volatile("sti; hlt; cli" ::: "memory");
        else
            __asm__ volatile("cli; hlt" ::: "memory");
    }
}

static void crowd_halts(void)
{
    gather(sleep_and_wake);
    start_others();
    sleep_and_wake(0);
    for (uint64_t start = read_tsc(); !all_over() && read_tsc() - start < LONG;) {
        write_msr(MSR_X2APIC_ICR, ICR_OTHERS | ICR_NMI);
        wait(SHORT);
    }
    dismiss("HLTs");
    tell(sum(taken), "interrupts");
    tell(sum(nmis), "NMIs");
}

/* Every other one sleeps deaf to what the rest send as fast as they can: each message, for nobody, might disturb who
 * has the CPU meanwhile. The timers do nothing but have an emulator look at all its CPUs often. */
static void shout(unsigned id)
{
    if (id % 2 != 0) {
        done[id]++;
        over[id] = true;
        for (;;)
            __asm__ volatile("cli; hlt" ::: "memory");
    }
    write_msr(MSR_X2APIC_LVT_TIMER, LVT_TSC_DEADLINE | VECTOR_WAKE);
    for (; more(); done[id]++) {
        write_msr(MSR_TSC_DEADLINE, read_tsc() + SOON);
        write_msr(MSR_X2APIC_ICR, to(1 + (done[id] * 2 & 2)) | VECTOR_WAKE);
    }
}

static void crowd_deaf(void)
{
    crowd(shout, "messages to who does not hear them");
}

static uint64_t sleep_until_woken(unsigned id, uint64_t seen)
{
    while (nmis[id] == seen)
        crowd_sleep(&nmis[id], seen);
    return nmis[id];
}

/* All sleep but one, with interrupts off; it wakes another, and sleeps: for moments, what it sent is all that can still
 * wake anybody. When the time is over, it is vCPU 0 that is awake. */
static void pass_on(unsigned id)
{
    uint64_t seen = 0;

    over[id] = true;
    while (id == 0 && !all_started())
        wait(SHORT);
    if (id != 0)
        seen = sleep_until_woken(id, 0);
    for (; id != 0 || more(); done[id]++) {
        write_msr(MSR_X2APIC_ICR, to(more() ? (id + 1 + some(id) % (count - 1)) % count : 0) | ICR_NMI);
        seen = sleep_until_woken(id, seen);
    }
}

static void crowd_relay(void)
{
    crowd(pass_on, "messages that were all that kept it alive");
}

/* ------------------------------------------------------------- the console */

static void write_anything(unsigned id)
{
    for (; more(); done[id]++) {
        uint64_t r = some(id);

        switch (id % 3) {
        case 0:
            out8(UART_DATA, (uint8_t)("crowd \n"[done[id] % 7]));
            break;
        case 1:
            in8((uint16_t)(COM1 + (r >> 8 & 7)));
            out8((uint16_t)(COM1 + (r >> 16 & 7)), (uint8_t)r);
            if ((r >> 24 & 255) == 0)
                out8(UART_MCR, 0x10); /* loopback */
            break;
        default:
            out8(UART_DATA, r % 128 == 0 ? '\n' : (uint8_t)('a' + r % 26));
            break;
        }
    }
}

static void crowd_uart(void)
{
    crowd(write_anything, "accesses");
    uart_start();
    put("\n");
}

/* ------------------------------------------------------------- ends */

static volatile uint64_t moment; /* 0: not all are there yet */

static bool is_time(void)
{
    return moment != 0 && read_tsc() >= moment;
}

/* All are there, and do it at the same time; those who share a CPU, after each other. */
static void end_together(part *play)
{
    gather(play);
    start_others();
    while (!all_started())
        wait(SHORT);
    moment = read_tsc() + LONG;
    play(0);
    for (;;)
        __asm__ volatile("pause");
}

static void fault_thrice(unsigned id)
{
    while (!is_time())
        done[id]++;
    load_idt(0);
    __asm__ volatile("ud2");
}

static void end_or_storm(unsigned id, unsigned who, void (*end)(void))
{
    unsigned turn = id;

    for (;;) {
        if (id == who && is_time())
            end();
        exits[turn++ % 3]();
    }
}

static void ask_for_reset(void)
{
    out8(RESET, 1);
}

static void ask_for_power_off(void)
{
    out8(SLEEP_CONTROL, SLEEP_S5);
}

static void touch_nothing(void)
{
    *map(memory_size) = 1;
}

static void reset_in_storm(unsigned id)
{
    end_or_storm(id, count - 1, ask_for_reset);
}

static void power_off_in_storm(unsigned id)
{
    end_or_storm(id, count - 1, ask_for_power_off);
}

static void touch_in_storm(unsigned id)
{
    end_or_storm(id, count - 1, touch_nothing);
}

static void sleep_deaf(unsigned id)
{
    while (!is_time())
        done[id]++;
    for (;;)
        __asm__ volatile("cli; hlt" ::: "memory");
}

static void crowd_triple(void)
{
    end_together(fault_thrice);
}
static void crowd_reset(void)
{
    end_together(reset_in_storm);
}
static void crowd_poweroff(void)
{
    end_together(power_off_in_storm);
}
static void crowd_mmio(void)
{
    end_together(touch_in_storm);
}
static void crowd_hlt(void)
{
    end_together(sleep_deaf);
}

const struct attack crowds[] = {
    {"crowd-none", crowd_none},
    {"crowd-late", crowd_none},
    {"crowd-storms", crowd_storms},
    {"crowd-cache", crowd_cache},
    {"crowd-ipis", crowd_ipis},
    {"crowd-starts", crowd_starts},
    {"crowd-tables", crowd_tables},
    {"crowd-clock", crowd_clock},
    {"crowd-halts", crowd_halts},
    {"crowd-deaf", crowd_deaf},
    {"crowd-relay", crowd_relay},
    {"crowd-uart", crowd_uart},
    {"crowd-registers", crowd_registers},
    {"crowd-registers-again", crowd_registers},
    {"crowd-triple", crowd_triple},
    {"crowd-reset", crowd_reset},
    {"crowd-poweroff", crowd_poweroff},
    {"crowd-mmio", crowd_mmio},
    {"crowd-hlt", crowd_hlt},
    {0, 0},
};
