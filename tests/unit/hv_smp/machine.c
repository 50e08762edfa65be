/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "../hv_core/test.h"

#include <asm/prctl.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "hv/cpu/clock.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/view.h"
#include "hv/mm/window.h"
#include "hv/cpu/lapic.h"
#include "hv/console/console.h"
#include "hv/console/log.h"
#include "hv/cpu/mca.h"
#include "hv/console/mca_log.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/smp.h"
#include "hv/init/cpu_pages.h"
#include "hv/init/smp.h"
#include "hv/lib/panic.h"
#include "hv/svm/svm.h"
#include "hv/cpu/trap.h"
#include "hv/vm/vcpu.h"
#include "hv/vm/watch.h"
#include "hv/lib/x86.h"
#include "hv/vm/run.h"
#include "../fake_uart.h"
#include "machine.h"

#define STACK_SIZE 262144u
#define LAPIC_TICKS_PER_US 100u

struct machine_cpu machine[MACHINE_CPUS];
uint64_t machine_now, machine_stall_at, machine_stall;
void (*machine_nmi)(void);
uint32_t machine_taken_over;
uint32_t machine_timer;
uint64_t machine_timer_start;
char machine_log[4096];

static ucontext_t contexts[MACHINE_CPUS];
static uint8_t *stacks[MACHINE_CPUS];
static uint32_t running;
static bool interrupts[MACHINE_CPUS], pending_kick[MACHINE_CPUS], pending_wbinvd[MACHINE_CPUS],
    pending_nmi[MACHINE_CPUS];

/* ---- turns ---- */

static void take_interrupts(void)
{
    struct machine_cpu *own = &machine[running];
    if (pending_nmi[running]) {
        pending_nmi[running] = false;
        machine_nmi();
    }
    if (!interrupts[running] || own->held)
        return;
    interrupts[running] = false;
    if (pending_kick[running]) {
        pending_kick[running] = false;
        own->kicks++;
        smp_kick_interrupt();
    }
    if (pending_wbinvd[running]) {
        pending_wbinvd[running] = false;
        smp_wbinvd_interrupt();
    }
    interrupts[running] = true;
}

static void switch_to_cpu(uint32_t next)
{
    uint32_t before = running;
    if (next == before)
        return;
    running = next;
    syscall(SYS_arch_prctl, ARCH_SET_GS, &machine[next].cpu);
    swapcontext(&contexts[before], &contexts[next]);
    /* Back again: whoever came here has set `running`. */
}

void cpu_relax(void)
{
    uint32_t next = running;
    take_interrupts();
    do
        next = (next + 1) % MACHINE_CPUS;
    while (!machine[next].alive);
    switch_to_cpu(next);
    take_interrupts();
}

void machine_others(void)
{
    for (unsigned i = 0; i < 100; i++)
        cpu_relax();
}

void hlt(void)
{
    cpu_relax();
}
void cli(void)
{
    interrupts[running] = false;
}

void sti(void)
{
    interrupts[running] = true;
    take_interrupts();
}

uint64_t read_rflags(void)
{
    return interrupts[running] ? RFLAGS_IF : 0;
}

void wbinvd(void)
{
    machine[running].wbinvds++;
    machine_now += machine[running].wbinvd_takes;
}

static void first_code(void)
{
    smp_main(&machine[running].cpu);
}

static void start_cpu(uint32_t index)
{
    struct machine_cpu *target = &machine[index];
    if (target->deaf_startups > 0) {
        target->deaf_startups--;
        return;
    }
    if (target->alive)
        return;
    target->alive = true;
    interrupts[index] = false;
    getcontext(&contexts[index]);
    contexts[index].uc_stack.ss_sp = stacks[index];
    contexts[index].uc_stack.ss_size = STACK_SIZE;
    contexts[index].uc_link = NULL;
    makecontext(&contexts[index], first_code, 0);
}

/* ---- time ---- */

uint64_t rdtsc(void)
{
    machine_now += MACHINE_TICK;
    if (machine_stall != 0 && machine_now >= machine_stall_at) {
        machine_now += machine_stall;
        machine_stall = 0;
    }
    return machine_now + (uint64_t)machine[running].tsc_skew;
}

/* ---- registers ---- */

static uint32_t index_of(uint32_t apic_id)
{
    for (uint32_t i = 0; i < MACHINE_CPUS; i++)
        if (machine[i].cpu.apic_id == apic_id)
            return i;
    fail_msg("no CPU has the APIC id %u", apic_id);
    return 0;
}

static void send(uint32_t apic_id, uint32_t message)
{
    uint32_t index = index_of(apic_id);
    switch (message & ~0xffu) {
    case LAPIC_MESSAGE_INIT:
        machine[index].inits++;
        break;
    case LAPIC_MESSAGE_STARTUP:
        assert_int_equal(message & 0xff, 0x8);
        machine[index].startups++;
        start_cpu(index);
        break;
    case LAPIC_MESSAGE_NMI:
        machine[index].nmis++;
        pending_nmi[index] = machine_nmi != NULL;
        break;
    default:
        assert_int_equal(message & ~0xffu, LAPIC_MESSAGE_FIXED);
        if ((message & 0xff) == TRAP_KICK)
            pending_kick[index] = true;
        else if ((message & 0xff) == TRAP_WBINVD)
            pending_wbinvd[index] = true;
        else
            fail_msg("vector 0x%x", message & 0xff);
    }
}

uint64_t rdmsr(uint32_t msr)
{
    switch (msr) {
    case 0x1b:
        return 0xfee00000;
    case 0x802:
        return machine[running].apic_id;
    case 0x839: {       /* the timer's current count */
        uint64_t gone = (machine_now - machine_timer_start) * LAPIC_TICKS_PER_US / MACHINE_US(1);
        return gone < machine_timer ? machine_timer - gone : 0;
    }
    default:
        return 0;
    }
}

void wrmsr(uint32_t msr, uint64_t value)
{
    if (msr == 0x830)
        send((uint32_t)(value >> 32), (uint32_t)value);
    if (msr == 0x838) {
        machine_timer = (uint32_t)value;
        machine_timer_start = machine_now;
    }
}

uint8_t in8(uint16_t port)
{
    return fake_uart_read(port);
}

void out8(uint16_t port, uint8_t value)
{
    if (fake_uart_is_at(port))
        fake_uart_write(port, value);
}

/* ---- the rest of hv ---- */

struct cpu *cpu_boot(void)
{
    return &machine[0].cpu;
}

struct cpu *cpu_pages_create(uint32_t index, uint32_t apic_id)
{
    machine[index].cpu = (struct cpu){.index = index, .apic_id = apic_id};
    return &machine[index].cpu;
}

void cpu_init(struct cpu *cpu)
{
    cpu->self = cpu;
    cpu->timer_tsc = UINT64_MAX;
    cpu->features = (struct cpu_features){.x2apic = true, .next_rip = true};
    cpu->features.one_gib_pages = machine[cpu->index].other_features;
}

void *cpu_pages_stacks(struct cpu *cpu)
{
    return cpu;
}
bool svm_allocate(struct cpu *cpu)
{
    return cpu != NULL;
}
void svm_init(struct cpu *cpu)
{
    (void)cpu;
}
void run_init_cpu(struct cpu *cpu)
{
    (void)cpu;
}
void mca_log_init(struct cpu *cpu)
{
    (void)cpu;
}
void hostmap_share(uint64_t *root)
{
    (void)root;
}
uint64_t hostmap_cr3(void)
{
    return 0x1000;
}
void window_unmap(void *va, uint64_t size)
{
    (void)va, (void)size;
}

void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    static uint64_t pages[HANDOFF_STARTUP_PAGES * PAGE_SIZE / 8];
    assert_true(base.raw == 0x8000 && size == sizeof(pages) && view == VIEW_PLAIN);
    return pages;
}

void run_loop(struct cpu *cpu)
{
    machine[cpu->index].serves = true;
    for (;;)
        cpu_relax();
}

void machine_take_over(void)
{
    assert_int_equal(machine_taken_over >> running & 1, 0);
    assert_false(interrupts[running]);
    machine_taken_over |= 1u << running;
    for (;;)
        cpu_relax();
}

void fake_uart_printed(const char *line)
{
    const char *text = strstr(line, ": "); /* after the level */
    assert_non_null(text);
    strcat(machine_log, text + 2);
    strcat(machine_log, "\n");
    assert_true(strlen(machine_log) < sizeof(machine_log) - 512);
}

void panic(const char *format, ...)
{
    fail_msg("panic: %s", format);
    abort();
}

/* The start-up page: 60 bytes of parameters somewhere in it. */
__asm__(".pushsection .rodata\n"
        ".globl ap_start, ap_parameters, ap_end, entry_ap\n"
        "ap_start: .zero 100\nap_parameters: .zero 60\nentry_ap: .zero 4\nap_end: .zero 1\n"
        ".popsection");

void machine_begin(void)
{
    memset(machine, 0, sizeof(machine));
    memset(interrupts, 0, sizeof(interrupts));
    memset(pending_kick, 0, sizeof(pending_kick));
    memset(pending_wbinvd, 0, sizeof(pending_wbinvd));
    memset(pending_nmi, 0, sizeof(pending_nmi));
    machine_nmi = NULL;
    machine_taken_over = 0;
    machine_now = MACHINE_US(5000000);
    machine_stall = machine_stall_at = 0;
    machine_log[0] = '\0';
    running = 0;
    for (uint32_t i = 0; i < MACHINE_CPUS; i++) {
        machine[i].apic_id = 2 * i;
        if (stacks[i] == NULL)
            stacks[i] = malloc(STACK_SIZE);
    }
    machine[0].alive = true;
    cpu_init(&machine[0].cpu);
    syscall(SYS_arch_prctl, ARCH_SET_GS, &machine[0].cpu);
    interrupts[0] = true;
    clock_init(MACHINE_HZ, 0, 0);
    console_init(&fake_uart);
}
