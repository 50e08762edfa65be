/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fake_machine.h"
#include "fake_memory.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <asm/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/console/console.h"
#include "hv/control/job.h"
#include "hv/control/wbinvd.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/trap.h"
#include "hv/lib/apic.h"
#include "hv/mm/memory.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"
#include "hv/mm/window.h"
#include "hv/monitor/monitor.h"
#include "hv/svm/asid.h"
#include "hv/vm/sched.h"
#include "hv/vm/vcpu_start.h"
#include "../fake_uart.h"
#include "../psp/fake_pci.h"

#define PAGES (MACHINE_RAM_SIZE / PAGE_SIZE)
#define EXTENTS_BASE (MACHINE_RAM + (UINT64_C(6) << 20))
#define MANIFEST_BASE (MACHINE_RAM + (UINT64_C(4) << 20))
#define UNITS ((MACHINE_RAM + MACHINE_RAM_SIZE - EXTENTS_BASE) / SIZE_2M)

struct machine machine;

uint8_t *ram, *fake_arena, fake_uart_page[PAGE_SIZE];
/* Whose key a page's bytes are under: PLAIN, HOST_KEY, or an ASID; and through which the cache holds lines of it. */
static int page_key[PAGES];
static int page_cached[PAGES];          /* PLAIN - 1: not */
#define NOT_CACHED (PLAIN - 1)
uint8_t keys[64][SEVFW_VEK_SIZE];
static bool unit_used[UNITS];           /* by any guest, ever */
static struct cpu cpu, other_cpu;       /* the second runs no guests, but has caches */

static bool fails(unsigned *countdown)
{
    return *countdown > 0 && --*countdown == 0;
}

/* ---- memory under keys ---- */

static uint8_t key_byte(int key, uint64_t i)
{
    if (key == PLAIN)
        return 0;
    return key == HOST_KEY ? (uint8_t)(0x5c + i) : keys[key][i % SEVFW_VEK_SIZE];
}

void look_through(uint64_t page, int key, bool by_cpu)
{
    if (page_cached[page] != NOT_CACHED && (page_cached[page] != key || !by_cpu))
        machine.coherency_faults++;
    if (page_key[page] != key) {
        uint64_t change[256 / 8], *words = (uint64_t *)(ram + page * PAGE_SIZE);    /* keys repeat after 256 bytes */
        for (unsigned i = 0; i < sizeof(change); i++)
            ((uint8_t *)change)[i] = key_byte(page_key[page], i) ^ key_byte(key, i);
        for (uint64_t i = 0; i < PAGE_SIZE / sizeof(*words); i++)
            words[i] ^= change[i % (sizeof(change) / sizeof(*change))];
        page_key[page] = key;
    }
    page_cached[page] = by_cpu ? key : NOT_CACHED;
}

uint64_t page_of(uint64_t physical)
{
    assert(physical >= MACHINE_RAM && physical < MACHINE_RAM + MACHINE_RAM_SIZE);
    return (physical - MACHINE_RAM) / PAGE_SIZE;
}

int key_of(enum memory_view view)
{
    assert(view != VIEW_GUEST);
    return view == VIEW_ENCRYPTED && !machine.options.no_sme ? HOST_KEY : PLAIN;
}

/* ---- hv's own functions, which a test may have fail, and which the operator's keys must not reach ---- */

bool __real_page_alloc(uint64_t count, paddr_t *out);
bool __wrap_page_alloc(uint64_t count, paddr_t *out);
bool __wrap_page_alloc(uint64_t count, paddr_t *out)
{
    machine_not_in_poll();
    return !fails(&machine.fail_pool) && __real_page_alloc(count, out);
}

void __real_page_free(paddr_t base, uint64_t count);
void __wrap_page_free(paddr_t base, uint64_t count);
void __wrap_page_free(paddr_t base, uint64_t count)
{
    machine_not_in_poll();
    __real_page_free(base, count);
}

bool __real_extent_alloc(uint64_t size, struct extent *out);
bool __wrap_extent_alloc(uint64_t size, struct extent *out);
bool __wrap_extent_alloc(uint64_t size, struct extent *out)
{
    machine_not_in_poll();
    if (fails(&machine.fail_extent) || !__real_extent_alloc(size, out))
        return false;
    assert(out->base.raw >= EXTENTS_BASE);
    memset(unit_used + (out->base.raw - EXTENTS_BASE) / SIZE_2M, true, out->size / SIZE_2M);
    return true;
}

bool __real_extent_set_view(struct extent *extent, enum memory_view view, bool flushed);
bool __wrap_extent_set_view(struct extent *extent, enum memory_view view, bool flushed);
bool __wrap_extent_set_view(struct extent *extent, enum memory_view view, bool flushed)
{
    machine_not_in_poll();
    return __real_extent_set_view(extent, view, flushed);
}

bool __real_extent_zero(const struct extent *extent, uint64_t offset, uint64_t size);
bool __wrap_extent_zero(const struct extent *extent, uint64_t offset, uint64_t size);
bool __wrap_extent_zero(const struct extent *extent, uint64_t offset, uint64_t size)
{
    machine_not_in_poll();
    assert(size > 0 && size <= JOB_PIECE);
    for (unsigned i = 0; i < GUEST_MAX; i++) {
        uint64_t damaged = guests[i].damaged_at & ~(SIZE_2M - 1);       /* what is no memory any more */
        if (guests[i].memory_damaged && guests[i].memory.base.raw == extent->base.raw)
            assert(offset + size <= damaged || offset >= damaged + SIZE_2M);
    }
    machine.zeroed += size;
    /* What begins and ends at a large page needs nothing that can be used up. */
    if ((offset | size) % SIZE_2M != 0 && fails(&machine.fail_zero))
        return false;
    return __real_extent_zero(extent, offset, size);
}

bool __real_npt_create(struct npt *npt);
bool __wrap_npt_create(struct npt *npt);
bool __wrap_npt_create(struct npt *npt)
{
    return !fails(&machine.fail_npt_create) && __real_npt_create(npt);
}

bool __real_npt_map(struct npt *npt, gpaddr_t gpa, paddr_t base, uint64_t size, enum memory_view view);
bool __wrap_npt_map(struct npt *npt, gpaddr_t gpa, paddr_t base, uint64_t size, enum memory_view view);
bool __wrap_npt_map(struct npt *npt, gpaddr_t gpa, paddr_t base, uint64_t size, enum memory_view view)
{
    machine.wrong_views += view == VIEW_ENCRYPTED && machine.options.no_sme;
    return !fails(&machine.fail_npt_map) && __real_npt_map(npt, gpa, base, size, view);
}

/* As if it had run. */
bool __real_vcpu_create(struct guest *guest, uint32_t id, const struct manifest_registers *registers,
                        struct vcpu **out);
bool __wrap_vcpu_create(struct guest *guest, uint32_t id, const struct manifest_registers *registers,
                        struct vcpu **out);
bool __wrap_vcpu_create(struct guest *guest, uint32_t id, const struct manifest_registers *registers, struct vcpu **out)
{
    assert(registers->rip != 0 && guest->asid != 0 && guest->npt.root.raw != 0);
    if (fails(&machine.fail_vcpu) || !__real_vcpu_create(guest, id, registers, out))
        return false;
    (*out)->run_tsc = 1000;
    (*out)->exits[3] = 7;
    return true;
}

void __real_vcpu_destroy(struct vcpu *vcpu);
void __wrap_vcpu_destroy(struct vcpu *vcpu);
void __wrap_vcpu_destroy(struct vcpu *vcpu)
{
    assert(vcpu->guest->vcpus[0] == NULL); /* nobody finds it any more */
    __real_vcpu_destroy(vcpu);
}

void __real_sched_add(struct vcpu *vcpu);
void __wrap_sched_add(struct vcpu *vcpu);
void __wrap_sched_add(struct vcpu *vcpu)
{
    machine_not_in_poll();
    for (uint32_t i = 0; i < vcpu->guest->config->vcpus; i++)
        assert(vcpu->guest->vcpus[i]->cpu == &cpu);     /* it may run at once, and send to any of them */
    __real_sched_add(vcpu);
}

/* ---- windows ---- */

void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    machine_not_in_poll();
    assert(base.raw % PAGE_SIZE == 0 && size > 0);
    /* Of whole large pages: as extent_zero() above. */
    if ((base.raw | size) % SIZE_2M != 0 && fails(&machine.fail_window))
        return NULL;
    for (uint64_t i = 0; i < size; i += PAGE_SIZE)
        look_through(page_of(base.raw + i), key_of(view), true);
    machine.open_windows++;
    return ram + (base.raw - MACHINE_RAM);
}

void window_unmap(void *va, uint64_t size)
{
    machine_not_in_poll();
    assert((uintptr_t)va % PAGE_SIZE == 0 && size > 0 && machine.open_windows > 0);
    machine.open_windows--;
}

void *window_map_own(paddr_t page, enum memory_view view)
{
    assert(page.raw % PAGE_SIZE == 0 && !machine.own_window);
    look_through(page_of(page.raw), key_of(view), true);
    machine.own_window = true;
    return ram + (page.raw - MACHINE_RAM);
}

void window_unmap_own(void)
{
    assert(machine.own_window);
    machine.own_window = false;
}

/* ---- CPUs ---- */

void clflush(const void *va)
{
    page_cached[page_of(page_pa(va).raw)] = NOT_CACHED;
}

uint64_t rdtsc(void)
{
    return machine.now_ns * 2;
}

/* Lines of any key may be in the other CPU's caches. It is late: so many steps of the boot CPU's loop. */
static bool asked;
static unsigned looks;

void machine_other_cpu(void)
{
    if (!asked || looks++ < machine.late_looks)
        return;
    asked = false;
    assert(syscall(SYS_arch_prctl, ARCH_SET_GS, &other_cpu) == 0);
    smp_wbinvd_interrupt();
    assert(syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu) == 0);
}

void wbinvd(void)
{
    machine_not_in_poll();
    if (this_cpu() != &other_cpu)
        return;
    for (uint64_t i = 0; i < PAGES; i++)
        page_cached[i] = NOT_CACHED;
    if (machine.fw)
        sevfw_wbinvd(machine.fw, 0);
}

void wrmsr(uint32_t msr, uint64_t value)
{
    assert(msr == APIC_ICR && value == ((uint64_t)other_cpu.apic_id << 32 | LAPIC_MESSAGE_FIXED | TRAP_WBINVD));
    looks = 0;
    asked = true;
}

uint64_t rdmsr(uint32_t msr)
{
    fprintf(stderr, "MSR %x is read\n", msr);
    abort();
}
uint64_t read_rflags(void)
{
    return RFLAGS_IF | 2;
}
void cli(void)
{
}
void sti(void)
{
}
void clgi(void)
{
}
void write_dr0_3(const uint64_t dr[4])
{
    (void)dr;
}

/* The boot CPU looks around, unless the test keeps it busy: vCPUs of ended guests leave its queue. */
void machine_look_around(void)
{
    if (!machine.cpu_busy)
        sched_update(&cpu);
}

unsigned machine_scheduled(void)
{
    unsigned count = 0;
    sched_update(&cpu);
    for (const struct vcpu *v = cpu.run_queue; v != NULL; v = v->next)
        count++;
    return count;
}

/* ---- the operator's line ---- */

static void printed(uint8_t byte)
{
    if (machine.console_length + 1 == sizeof(machine.console))
        machine.console_length = 0;
    machine.console[machine.console_length++] = (char)byte;
    machine.console[machine.console_length] = '\0';
}
void fake_uart_printed(const char *line)
{
    (void)line;
}
uint8_t in8(uint16_t port)
{
    return fake_uart_read(port);
}
void out8(uint16_t port, uint8_t value)
{
    fake_uart_write(port, value);
}

static bool polling;

void machine_poll(void)
{
    machine_not_in_poll();
    if (machine.keys == NULL)
        return;
    polling = true;
    fake_uart_type(machine.keys, strlen(machine.keys));
    machine.polls++;
    monitor_poll();
    polling = false;
}

void machine_not_in_poll(void)
{
    assert(!polling);
}

bool machine_said(const char *text)
{
    return strstr(machine.console, text) != NULL;
}

struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    assert(leaf == 1 && subleaf == 0);
    return (struct cpuid){.ebx = 8 << 8};   /* lines of 64 bytes */
}

/* ---- a boot ---- */

void machine_start(const struct machine_options *options)
{
    machine_stop();
    memset(&machine, 0, sizeof(machine));
    machine.options = *options;
    machine.now_ns = UINT64_C(1000000000);
    if (ram == NULL) {
        ram = mmap(NULL, MACHINE_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert(ram != MAP_FAILED);
        fake_arena = ram;
    } else {
        memset(ram, 0, EXTENTS_BASE - MACHINE_RAM);
    }
    cpu = (struct cpu){
        .self = &cpu,
        .features.phys_bits = options->address_bits != 0 ? options->address_bits : 48,
        .features.encryption.ebx = MACHINE_C_BIT_POSITION | 1 << 6,
    };
    other_cpu = (struct cpu){.self = &other_cpu, .index = 1, .apic_id = 1, .wbinvd_done = other_cpu.wbinvd_done};
    assert(syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu) == 0);
    smp_add(&cpu, true);
    smp_add(&other_cpu, false);
    asked = false;
    clock_init(2000000000, 0, 0);
    fake_uart_sent = printed;
    fake_uart_type("", 0);
    console_init(&fake_uart);
    memset(unit_used, 0, sizeof(unit_used));
    memset(ram + (EXTENTS_BASE - MACHINE_RAM), MACHINE_OLD_BYTE, MACHINE_RAM + MACHINE_RAM_SIZE - EXTENTS_BASE);
    memset(keys, 0, sizeof(keys));
    memset(guests, 0, sizeof(guests));
    fake_psp_forget();
    for (uint64_t i = 0; i < PAGES; i++) {
        page_key[i] = PLAIN;
        page_cached[i] = NOT_CACHED;
    }
    uint32_t sev_asids = options->sev_asids != 0 ? options->sev_asids : MACHINE_SEV_ASIDS;
    uint32_t max_sev_asid = 4 + sev_asids;
    asid_init(max_sev_asid + 1 + MACHINE_PLAIN_ASIDS, 5, max_sev_asid);
    machine.handoff = (struct handoff){
        .sev_usable = !options->no_sev,
        .sev_refusal = "this CPU has no SEV",
        .c_bit_mask = options->no_sme ? 0 : MACHINE_C_BIT,
        .manifest_base = MANIFEST_BASE,
        .arena_base = MACHINE_RAM,
        .arena_size = (1 + MACHINE_POOL_PAGES) * PAGE_SIZE,
        .arena_used = PAGE_SIZE,        /* the copy of the manifest's table */
        .range_count = 1,
        .ranges[0] = {.base = EXTENTS_BASE, .pages = UNITS * SIZE_2M / PAGE_SIZE, .kind = HANDOFF_USABLE},
    };
    view_init(&machine.handoff);
    page_init(&machine.handoff);
    memory_init(&machine.handoff);
    fake_pci_reset();
    if (!options->no_device)
        machine.handoff.psp = fake_psp_start();
    sev_forget();
    jobs_forget();
    control_forget();
}

void machine_stop(void)
{
    if (machine.mailbox)
        mailbox_free(machine.mailbox);
    if (machine.fw)
        sevfw_free(machine.fw);
    machine.mailbox = NULL;
    machine.fw = NULL;
}

void machine_change_manifest(const void *manifest, uint64_t size)
{
    memcpy(ram + (MANIFEST_BASE - MACHINE_RAM), manifest, size);
}

void machine_manifest(const void *manifest, uint64_t size)
{
    machine_change_manifest(manifest, size);
    machine.handoff.manifest_size = size;
    memcpy(ram, manifest, PAGE_SIZE);
    machine.handoff.manifest_table = MACHINE_RAM;
}

static uint8_t peek(const struct guest *guest, uint64_t gpa, int key)
{
    uint64_t physical = guest->memory.base.raw + gpa, page = page_of(physical);
    return (uint8_t)(ram[physical - MACHINE_RAM] ^ key_byte(page_key[page], gpa % PAGE_SIZE) ^
                     key_byte(key, gpa % PAGE_SIZE));
}

uint8_t machine_private(const struct guest *guest, uint64_t gpa)
{
    return peek(guest, gpa, guest->sev ? (int)guest->asid : key_of(guest_shared_view(guest)));
}

uint8_t machine_shared(const struct guest *guest, uint64_t gpa)
{
    return peek(guest, gpa, key_of(guest_shared_view(guest)));
}

void machine_guest_writes(const struct guest *guest, uint64_t gpa, uint8_t byte)
{
    uint64_t physical = guest->memory.base.raw + gpa;
    look_through(page_of(physical), guest->sev ? (int)guest->asid : key_of(guest_shared_view(guest)), true);
    ram[physical - MACHINE_RAM] = byte;
}

bool machine_scrubbed(void)
{
    for (uint64_t physical = EXTENTS_BASE; physical < MACHINE_RAM + MACHINE_RAM_SIZE; physical += PAGE_SIZE) {
        uint64_t page = page_of(physical);
        if (!unit_used[(physical - EXTENTS_BASE) / SIZE_2M])
            continue;
        if (page_key[page] != PLAIN)
            return false;
        for (uint64_t i = 0; i < PAGE_SIZE; i += 8)
            if (*(uint64_t *)(ram + page * PAGE_SIZE + i) != 0)
                return false;
    }
    return true;
}
