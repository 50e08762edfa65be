/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include <asm/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/console/console.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/trap.h"
#include "hv/lib/apic.h"
#include "hv/lib/uart.h"
#include "hv/mm/view.h"
#include "hv/mm/window.h"
#include "hv/console/log.h"
#include "hv/control/control.h"
#include "hv/control/jobs.h"
#include "hv/control/lifecycle.h"
#include "hv/lib/panic.h"
#include "hv/monitor/monitor.h"
#include "hv/cpu/smp.h"
#include "hv/svm/switch.h"
#include "hv/vm/exit_cpuid.h"
#include "hv/vm/sched.h"
#include "../fake_uart.h"
#include "rig.h"

#define POOL_PAGES 4096u

_Alignas(4096) uint8_t rig_pool[POOL_PAGES][PAGE_SIZE];

struct cpu rig_cpu;
struct cpu rig_others[2];
struct manifest_guest rig_config[GUEST_MAX];
uint64_t rig_tsc;
uint64_t rig_stall_at;
struct cpuid (*rig_cpuid)(uint32_t leaf, uint32_t subleaf);
uint64_t (*rig_rdmsr)(uint32_t msr);
void (*rig_wrmsr)(uint32_t msr, uint64_t value);
char rig_log[8192];
unsigned rig_log_lines;
uint64_t rig_xcr0;
unsigned rig_arms, rig_halts, rig_wbinvds;
uint64_t rig_halted_tsc;
void (*rig_vmrun)(struct vcpu *vcpu);

const struct manifest_registers rig_registers = {
    .rip = 0x1000,
    .rsp = 0x8000,
    .rflags = 2,
    .cr0 = 0x80000011,
    .cr4 = 0x20,
    .efer = EFER_LME | EFER_LMA | EFER_NXE,
    .cs = {8, 0x29b, 0xffffffff, 0},
    .ss = {16, 0xc93, 0xffffffff, 0},
};

/* ---- memory: windows are where this process has it ---- */

static uint64_t pool_pages;     /* free at the beginning */
static paddr_t drained;         /* a chain of pages that are free for the test, but not for hv */
static uint64_t drained_count;

uint64_t rig_pages_taken(void)
{
    return pool_pages - page_free_count() - drained_count;
}

void rig_leave_pages(uint64_t count)
{
    while (drained_count > 0) {
        paddr_t page = drained;
        drained = *(const paddr_t *)page_va(page);
        page_free(page, 1);
        drained_count--;
    }
    while (page_free_count() > count) {
        paddr_t page;
        assert_true(page_alloc(1, &page));
        *(paddr_t *)page_va(page) = drained;
        drained = page;
        drained_count++;
    }
}

/* Of pool pages. */
void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    assert_int_equal(view, VIEW_PLAIN);
    assert_int_equal(size, PAGE_SIZE);
    return page_va(base);
}

void window_unmap(void *va, uint64_t size)
{
    (void)va, (void)size;
}

/* Of guests' memory: the first pages of each are there. */
bool rig_window_open;
uint8_t *rig_ram(uint32_t index)
{
    static uint8_t *ram[GUEST_MAX];
    if (ram[index] == NULL)
        ram[index] = calloc(1, RIG_RAM_SIZE);
    return ram[index];
}

void *window_map_own(paddr_t page, enum memory_view view)
{
    uint64_t offset = page.raw - RIG_RAM_BASE, index = offset / RIG_RAM_STEP;
    assert_true(view == VIEW_PLAIN && !rig_window_open && page.raw >= RIG_RAM_BASE && index < GUEST_MAX);
    assert_true(offset % RIG_RAM_STEP <= RIG_RAM_SIZE - PAGE_SIZE);
    rig_window_open = true;
    return rig_ram((uint32_t)index) + offset % RIG_RAM_STEP;
}

void window_unmap_own(void)
{
    assert_true(rig_window_open);
    rig_window_open = false;
}

/* ---- time ---- */

uint64_t rdtsc(void)
{
    return rig_tsc += RIG_TICK;
}

bool rig_time(uint64_t tsc)
{
    rig_tsc += tsc;
    if (rig_tsc < rig_cpu.timer_tsc)
        return false;
    rig_cpu.timer_tsc = UINT64_MAX;
    rig_cpu.timer_fired = true;
    rig_cpu.interrupted_tsc = rig_tsc;
    return true;
}

/* ---- log ---- */

void fake_uart_printed(const char *line)
{
    rig_log_lines++;
    strncat(rig_log, line, sizeof(rig_log) - strlen(rig_log) - 1);
    strncat(rig_log, "\n", sizeof(rig_log) - strlen(rig_log) - 1);
}

/* At the operator's line, since anything was sent: where something is printed, it is looked at, too. */
static unsigned looks, looks_before;

static void count_looks(void)
{
    looks_before += looks;
    looks = 0;
}

unsigned rig_count_drains(void)
{
    count_looks();
    unsigned count = looks_before;
    looks_before = 0;
    return count;
}

uint8_t in8(uint16_t port)
{
    assert_true(fake_uart_is_at(port));
    looks += port == FAKE_UART_PORT + UART_LSR;
    return fake_uart_read(port);
}

void out8(uint16_t port, uint8_t value)
{
    assert_true(fake_uart_is_at(port));
    looks = 0;
    fake_uart_write(port, value);
}

void panic(const char *format, ...)
{
    mock_assert(0, format, "panic", 0);
    abort();
}

/* ---- the CPU ---- */

struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    if (rig_cpuid != NULL)
        return rig_cpuid(leaf, subleaf);
    if (leaf == 0xd && subleaf == 0)
        return (struct cpuid){7, 832, 832, 0};
    return (struct cpuid){~0u, ~0u, ~0u, ~0u};
}

uint64_t rdmsr(uint32_t msr)
{
    return rig_rdmsr != NULL ? rig_rdmsr(msr) : msr;
}

/* The other CPUs, where they are not late. What they do takes no time here. */
uint64_t rig_wbinvd_tsc, rig_wbinvd_others_tsc;
bool rig_wbinvd_late;
static bool asked[2];

static void answer(void)
{
    for (uint32_t i = 0; i < 2 && !rig_wbinvd_late; i++) {
        uint64_t here = rig_tsc;
        if (!asked[i])
            continue;
        syscall(SYS_arch_prctl, ARCH_SET_GS, &rig_others[i]);
        smp_wbinvd_interrupt();
        syscall(SYS_arch_prctl, ARCH_SET_GS, &rig_cpu);
        asked[i] = false;
        rig_tsc = here;
    }
}

void rig_be_late(bool late)
{
    rig_wbinvd_late = late;
    answer();
}

bool rig_gif_clear;
unsigned rig_self_kicks;
void clgi(void)
{
    rig_gif_clear = true;
}

static void lapic(uint32_t msr, uint64_t value)
{
    rig_arms += msr == APIC_TIMER_INITIAL;
    if (msr != APIC_ICR)
        return;
    if (value >> 32 == 0) { /* to itself: it waits until VMRUN sets GIF */
        assert_true(rig_gif_clear && (uint32_t)value == (LAPIC_MESSAGE_FIXED | TRAP_KICK));
        rig_self_kicks++;
        return;
    }
    assert_in_range(value >> 32, 1, 2);
    if ((uint32_t)value == (LAPIC_MESSAGE_FIXED | TRAP_WBINVD)) {
        asked[(value >> 32) - 1] = true;
        answer();
    }
}

void wrmsr(uint32_t msr, uint64_t value)
{
    if (msr >> 8 == 8)
        lapic(msr, value);
    else if (rig_wrmsr != NULL)
        rig_wrmsr(msr, value);
}

static bool interrupts = true;
uint64_t read_rflags(void)
{
    return interrupts ? RFLAGS_IF | 2 : 2;
}
void cli(void)
{
    interrupts = false;
}
void sti(void)
{
    interrupts = true;
}

void wbinvd(void)
{
    if (this_cpu() == &rig_cpu) {
        rig_wbinvds++;
        rig_tsc += rig_wbinvd_tsc;
    } else {
        rig_tsc += rig_wbinvd_others_tsc;
    }
}

void sti_hlt(void)
{
    assert_false(interrupts);       /* else an interrupt may be lost before the HLT */
    assert_true(rig_cpu.timer_tsc != UINT64_MAX);   /* nothing would end it */
    interrupts = true;
    rig_halts++;
    count_looks();
    uint64_t halted_at = rig_tsc;
    rig_time(rig_cpu.timer_tsc > rig_tsc ? rig_cpu.timer_tsc - rig_tsc : 0);
    rig_halted_tsc += rig_tsc - halted_at;
}

void vmrun_enter(struct vmrun_state *state, const bool *timer_fired, uint64_t host_vmcb)
{
    (void)host_vmcb;
    assert_true(interrupts);
    count_looks();
    do {
        if (*(const volatile bool *)timer_fired)
            return;
        rig_vmrun(vcpu_of_run(state));
    } while (exit_dispatch(state));
}

/* ---- state that is switched: XCR0 alone is kept ---- */

uint64_t xgetbv(void)
{
    return rig_xcr0;
}
void xsetbv(uint64_t value)
{
    rig_xcr0 = value;
}
void xsave64(uint8_t *area, uint64_t mask)
{
    (void)area, (void)mask;
}
void xrstor64(const uint8_t *area, uint64_t mask)
{
    (void)area, (void)mask;
}
void fxsave64(uint8_t *area)
{
    (void)area;
}
void fxrstor64(const uint8_t *area)
{
    (void)area;
}
void x87_overwrite_pointers(void)
{
}
void read_dr0_3(uint64_t dr[4])
{
    (void)dr;
}

/* As part of a switch. The machine may stand still here once, in the time of the vCPU that has gone to sleep before. */
void write_dr0_3(const uint64_t dr[4])
{
    const struct vcpu *sleeper = rig_cpu.sleeper;
    if (rig_stall_at != 0 && rig_tsc >= rig_stall_at && sleeper != NULL && sleeper->switched.dr != dr) {
        rig_stall_at = 0;
        rig_time(RIG_STALL);
    }
}

/* ---- jobs, and guests' ends, which take no time ---- */

enum job_verdict (*rig_job)(void);
bool job_active(void)
{
    return rig_job != NULL;
}
enum job_verdict jobs_step(void)
{
    return rig_job != NULL ? rig_job() : JOB_IDLE;
}

void (*rig_control)(void);
void control_poll(void)
{
    if (rig_control != NULL)
        rig_control();
}

bool lifecycle_active(void)
{
    bool any = rig_job != NULL;
    for (uint32_t i = 0; i < GUEST_MAX; i++)
        any |= guests[i].state == GUEST_RUNNING;
    return any;
}

static void end(struct guest *guest)
{
    if (!guest_is_ending(guest) || guest->vcpus_queued != 0)
        return;
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++) {
        vcpu_destroy(guest->vcpus[i]);
        guest->vcpus[i] = NULL;
    }
    npt_destroy(&guest->npt);
    guest->state = GUEST_ENDED;
}

void lifecycle_begin_ends(void)
{
    for (uint32_t i = 0; i < GUEST_MAX; i++)
        end(&guests[i]);
}

/* ---- set-up ---- */

void rig_use_cpuid(struct cpuid (*answers)(uint32_t leaf, uint32_t subleaf))
{
    rig_cpuid = answers;
    switch_init();
    rig_xcr0 = 1; /* a guest's, at its start */
    exit_cpuid_init(&rig_cpu.features);
}

int rig_reset(void **state)
{
    (void)state;
    static const struct handoff handoff = {
        .arena_base = RIG_POOL_BASE, .arena_size = sizeof(rig_pool), .c_bit_mask = RIG_C_BIT};
    rig_cpuid = NULL;
    rig_rdmsr = NULL;
    rig_wrmsr = NULL;
    rig_gif_clear = false;
    rig_self_kicks = 0;
    memset(guests, 0, sizeof(guests));
    memset(rig_config, 0, sizeof(rig_config));
    rig_cpu =
        (struct cpu){.self = &rig_cpu, .features = {.one_gib_pages = true, .phys_bits = 43}, .timer_tsc = UINT64_MAX};
    syscall(SYS_arch_prctl, ARCH_SET_GS, &rig_cpu);
    rig_tsc = 1000000;
    clock_init(RIG_HZ, RIG_WALL_S, 0);
    view_init(&handoff);
    page_init(&handoff);
    drained_count = 0;
    pool_pages = page_free_count();
    smp_add(&rig_cpu, true);
    for (uint32_t i = 0; i < 2; i++) {
        rig_others[i] = (struct cpu){.self = &rig_others[i], .index = i + 1, .apic_id = i + 1, .idle = true};
        smp_add(&rig_others[i], true);
        asked[i] = false;
    }
    console_init(&fake_uart);
    uint64_t unused;
    (void)log_change_level(true, &unused); /* debug */
    rig_window_open = false;
    rig_log[0] = 0;
    rig_log_lines = 0;
    rig_arms = rig_halts = rig_wbinvds = 0;
    rig_halted_tsc = 0;
    rig_vmrun = NULL;
    rig_job = NULL;
    rig_control = NULL;
    rig_wbinvd_tsc = rig_wbinvd_others_tsc = 0;
    rig_wbinvd_late = false;
    interrupts = true;
    assert_true(page_alloc(1, &rig_cpu.host_vmcb));
    vmcb_maps_init(true);
    rig_use_cpuid(NULL);
    return 0;
}

struct vcpu *rig_guest(uint32_t index, bool sev)
{
    struct guest *guest = &guests[index];
    struct manifest_guest *config = &rig_config[index];
    snprintf(config->name, sizeof(config->name), "guest%u", index);
    config->vcpus = 1;
    config->encryption = sev ? MANIFEST_ENCRYPTION_SEV : MANIFEST_ENCRYPTION_NONE;
    config->cbitpos = 51;
    config->reduced_phys_bits = 5;
    npt_destroy(&guest->npt);
    *guest = (struct guest){
        .index = index,
        .state = GUEST_RUNNING,
        .config = config,
        .asid = index + 1,
        .sev = sev,
        .memory = {.base = paddr(RIG_RAM_BASE + index * RIG_RAM_STEP), .size = RIG_RAM_SIZE},
    };
    output_init(&guest->output, index, config->name, NULL);
    vuart_reset(&guest->uart, &guest->output);
    assert_true(npt_create(&guest->npt));
    assert_true(vcpu_create(guest, 0, &rig_registers, &guest->vcpus[0]));
    guest->vcpus[0]->cpu = &rig_cpu;
    return guest->vcpus[0];
}

void rig_schedule(struct vcpu *vcpu)
{
    sched_place(&rig_cpu, vcpu);
    sched_add(vcpu);
}

bool rig_exit(struct vcpu *vcpu, uint64_t code, uint64_t info1, uint64_t info2)
{
    struct vmcb *vmcb = vcpu->vmcb;
    rig_cpu.current = vcpu;
    vcpu->request = false;
    vcpu->exception = 0;
    vmcb->rip = 0x1000;
    vmcb->rflags = RFLAGS_IF | 2;
    vmcb->exitcode = code;
    vmcb->exitinfo1 = info1;
    vmcb->exitinfo2 = info2;
    vmcb->exitintinfo = 0;
    return exit_dispatch(&vcpu->run);
}

uint64_t rig_leaf_entry(const struct npt *npt, uint64_t gpa)
{
    uint64_t table = npt->root.raw, entry = 0;
    for (int shift = 39; shift >= 12; shift -= 9) {
        entry = ((const uint64_t *)page_va(paddr(table)))[gpa >> shift & 511];
        if ((entry & 1) == 0 || (shift > 12 && (entry & 0x86) != 6))
            return 0;
        table = entry & UINT64_C(0x0007fffffffff000);
    }
    return entry;
}
