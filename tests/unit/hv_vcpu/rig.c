/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include <asm/prctl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/cpu/clock.h"
#include "hv/mm/view.h"
#include "hv/mm/window.h"
#include "hv/console/log.h"
#include "hv/control/jobs.h"
#include "hv/control/lifecycle.h"
#include "hv/lib/panic.h"
#include "hv/monitor/monitor.h"
#include "hv/cpu/smp.h"
#include "hv/svm/switch.h"
#include "hv/vm/watch.h"
#include "hv/vm/exit_cpuid.h"
#include "hv/vm/sched.h"
#include "rig.h"

#define POOL_PAGES 4096u

static _Alignas(4096) uint8_t pool[POOL_PAGES][PAGE_SIZE];
static bool taken[POOL_PAGES];

struct cpu rig_cpu;
struct guest guests[GUEST_MAX];
struct manifest_guest rig_config[GUEST_MAX];
uint64_t rig_tsc, rig_pages_taken, rig_pages_left;
uint64_t rig_stall_at;
struct cpuid (*rig_cpuid)(uint32_t leaf, uint32_t subleaf);
uint64_t (*rig_rdmsr)(uint32_t msr);
void (*rig_wrmsr)(uint32_t msr, uint64_t value);
char rig_log[8192];
unsigned rig_log_lines;
uint64_t rig_xcr0, rig_armed;
unsigned rig_arms, rig_halts, rig_wbinvds;
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

/* ---- memory ---- */

bool page_alloc(uint64_t count, uint64_t align, paddr_t *out)
{
    if (count > rig_pages_left)
        return false;
    for (uint64_t i = 0; i + count <= POOL_PAGES; i += align) {
        uint64_t n = 0;
        while (n < count && !taken[i + n])
            n++;
        if (n < count)
            continue;
        for (n = 0; n < count; n++)
            taken[i + n] = true;
        rig_pages_taken += count;
        rig_pages_left -= count;
        *out = paddr(RIG_POOL_BASE + i * PAGE_SIZE);
        return true;
    }
    return false;
}

void page_free(paddr_t base, uint64_t count)
{
    uint64_t first = (base.raw - RIG_POOL_BASE) / PAGE_SIZE;
    assert_true(base.raw >= RIG_POOL_BASE && base.raw % PAGE_SIZE == 0 && first + count <= POOL_PAGES);
    for (uint64_t i = first; i < first + count; i++) {
        assert_true(taken[i]);
        taken[i] = false;
        memset(pool[i], 0, PAGE_SIZE);
    }
    rig_pages_taken -= count;
    rig_pages_left += count;
}

void *page_va(paddr_t page)
{
    assert_true(page.raw >= RIG_POOL_BASE && page.raw - RIG_POOL_BASE < sizeof(pool));
    return (uint8_t *)pool + (page.raw - RIG_POOL_BASE);
}

paddr_t page_pa(const void *va)
{
    return paddr(RIG_POOL_BASE + (uint64_t)((const uint8_t *)va - (const uint8_t *)pool));
}

uint64_t view_c_bit(void)
{
    return RIG_C_BIT;
}

uint64_t view_entry_address(paddr_t page, enum memory_view view)
{
    assert_int_equal(page.raw & RIG_C_BIT, 0);
    return page.raw | (view == VIEW_ENCRYPTED ? RIG_C_BIT : 0);
}

/* Of pool pages, where they are. */
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
void cache_flush(const void *va, uint64_t size)
{
    (void)va, (void)size;
}

/* ---- time ---- */

uint64_t clock_tsc(void)
{
    return rig_tsc += RIG_TICK;
}
uint64_t clock_hz(void)
{
    return RIG_HZ;
}
__attribute__((weak)) uint64_t clock_tsc_to_ns(uint64_t tsc)
{
    return tsc;
}
uint64_t clock_us_to_tsc(uint64_t us)
{
    return us * (RIG_HZ / 1000000);
}

void lapic_timer_arm(uint64_t tsc)
{
    rig_armed = rig_cpu.timer_tsc = tsc;
    rig_arms++;
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

void log_print(enum log_level level, const char *format, ...)
{
    char line[512];
    va_list arguments;
    (void)level;
    va_start(arguments, format);
    text_format_list(line, sizeof line, format, arguments);
    va_end(arguments);
    rig_log_lines++;
    strncat(rig_log, line, sizeof rig_log - strlen(rig_log) - 1);
    strncat(rig_log, "\n", sizeof rig_log - strlen(rig_log) - 1);
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
    return (struct cpuid){~0u, ~0u, ~0u, ~0u};
}

uint64_t rdmsr(uint32_t msr)
{
    return rig_rdmsr != NULL ? rig_rdmsr(msr) : msr;
}

void wrmsr(uint32_t msr, uint64_t value)
{
    if (rig_wrmsr != NULL)
        rig_wrmsr(msr, value);
}

static bool interrupts = true;
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
    rig_wbinvds++;
}

void sti_hlt(void)
{
    assert_false(interrupts);       /* else an interrupt may be lost before the HLT */
    assert_true(rig_cpu.timer_tsc != UINT64_MAX);   /* nothing would end it */
    interrupts = true;
    rig_halts++;
    rig_time(rig_cpu.timer_tsc > rig_tsc ? rig_cpu.timer_tsc - rig_tsc : 0);
}

void vmrun_enter(struct vmrun_state *state, const bool *timer_fired, uint64_t host_vmcb)
{
    (void)host_vmcb;
    assert_true(interrupts);
    do {
        if (*(const volatile bool *)timer_fired)
            return;
        rig_vmrun(vcpu_of_run(state));
    } while (exit_dispatch(state));
}

/* ---- switch.c's place ---- */

void switch_init(void)
{
}
uint64_t rig_guest_xcr0 = 7;
uint64_t switch_guest_xcr0(void)
{
    return rig_guest_xcr0;
}
uint64_t switch_xcr0(void)
{
    return rig_xcr0;
}
void switch_set_xcr0(uint64_t xcr0)
{
    rig_xcr0 = xcr0;
}
void switch_reset(struct switch_state *state)
{
    state->xcr0 = 1;
}

/* The machine may stand still here once, in the time of the vCPU that has gone to sleep before. */
void switch_to(struct switch_state *from, struct switch_state *to)
{
    const struct vcpu *sleeper = rig_cpu.sleeper;
    (void)from;
    if (rig_stall_at != 0 && rig_tsc >= rig_stall_at && sleeper != NULL && &sleeper->switched != to) {
        rig_stall_at = 0;
        rig_time(RIG_STALL);
    }
}

void switch_at_init(struct switch_state *state, bool here)
{
    (void)here;
    memset(state->dr, 0, sizeof state->dr);
}
bool rig_no_tsc_aux;
bool switch_has_tsc_aux(void)
{
    return !rig_no_tsc_aux;
}

bool switch_set_tsc_aux(struct switch_state *state, uint64_t value)
{
    state->tsc_aux = value;
    return value <= UINT32_MAX;
}

/* ---- guests ---- */

/* ---- other CPUs: there are none ---- */

struct cpu *smp_cpu(uint32_t index)
{
    return index == 0 ? &rig_cpu : NULL;
}
uint32_t smp_cpus(void)
{
    return 1;
}

uint64_t rig_wbinvd_tsc, rig_wbinvd_others_tsc;
bool rig_wbinvd_late;
static uint64_t wbinvd_tickets;

uint64_t smp_wbinvd_begin(const uint64_t *set)
{
    assert_int_equal(set[0], 1);
    rig_wbinvds++;
    rig_tsc += rig_wbinvd_tsc;
    return ++wbinvd_tickets;
}

bool smp_wbinvd_done(const uint64_t *set, uint64_t ticket)
{
    assert_true(set[0] == 1 && ticket != 0 && ticket <= wbinvd_tickets);
    return !rig_wbinvd_late;
}

struct smp_cost smp_wbinvd_cost(const uint64_t *set)
{
    assert_int_equal(set[0], 1);
    return (struct smp_cost){.others = rig_wbinvd_others_tsc, .longest = rig_wbinvd_tsc};
}

void watch_look(struct cpu *own, uint64_t now)
{
    (void)own, (void)now;
}

void smp_kick(struct cpu *cpu)
{
    assert_ptr_equal(cpu, &rig_cpu);
    cpu->timer_fired = true;
}

bool guest_end(struct guest *guest, enum guest_end_kind end, const char *format, ...)
{
    va_list arguments;
    if (guest->end != GUEST_END_NONE)
        return false;
    va_start(arguments, format);
    text_format_list(guest->end_reason, sizeof guest->end_reason, format, arguments);
    va_end(arguments);
    guest->end = end;
    rig_cpu.guest_ends = true;
    guest_note_end();
    return true;
}

static bool end_noted;
void guest_note_end(void)
{
    end_noted = true;
}

bool guest_ends_noted(void)
{
    bool noted = end_noted;
    end_noted = false;
    return noted;
}

bool guest_is_ending(const struct guest *guest)
{
    return guest->state == GUEST_RUNNING && guest->end != GUEST_END_NONE;
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

int rig_reset(void **state)
{
    (void)state;
    memset(pool, 0, sizeof pool);
    memset(taken, 0, sizeof taken);
    memset(guests, 0, sizeof guests);
    memset(rig_config, 0, sizeof rig_config);
    rig_cpu =
        (struct cpu){.self = &rig_cpu, .features = {.one_gib_pages = true, .phys_bits = 43}, .timer_tsc = UINT64_MAX};
    syscall(SYS_arch_prctl, ARCH_SET_GS, &rig_cpu);
    rig_tsc = 1000000;
    rig_pages_taken = 0;
    rig_pages_left = POOL_PAGES;
    rig_log[0] = 0;
    rig_log_lines = 0;
    rig_xcr0 = 1;
    rig_armed = UINT64_MAX;
    rig_arms = rig_uart_reads = rig_uart_writes = rig_halts = rig_wbinvds = 0;
    rig_cpuid = NULL;
    rig_rdmsr = NULL;
    rig_wrmsr = NULL;
    rig_vmrun = NULL;
    rig_job = NULL;
    rig_wbinvd_tsc = rig_wbinvd_others_tsc = 0;
    rig_wbinvd_late = false;
    interrupts = true;
    assert_true(page_alloc(1, 1, &rig_cpu.host_vmcb));
    assert_true(vmcb_maps_init());
    exit_cpuid_init(&rig_cpu.features);
    return 0;
}

struct vcpu *rig_guest(uint32_t index, bool sev)
{
    struct guest *guest = &guests[index];
    struct manifest_guest *config = &rig_config[index];
    snprintf(config->name, sizeof config->name, "guest%u", index);
    config->vcpus = 1;
    config->encryption = sev ? MANIFEST_ENCRYPTION_SEV : MANIFEST_ENCRYPTION_NONE;
    config->cbitpos = 51;
    config->reduced_phys_bits = 5;
    npt_destroy(&guest->npt);
    *guest = (struct guest){.index = index, .state = GUEST_RUNNING, .config = config, .asid = index + 1, .sev = sev};
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
    vcpu->pending_exception = false;
    vmcb->rip = 0x1000;
    vmcb->rflags = RFLAGS_IF | 2;
    vmcb->exitcode = code;
    vmcb->exitinfo1 = info1;
    vmcb->exitinfo2 = info2;
    vmcb->exitintinfo = 0;
    return exit_dispatch(&vcpu->run);
}
