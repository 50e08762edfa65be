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

#include "hv/svm/asid.h"
#include "hv/cpu/clock.h"
#include "hv/console/console.h"
#include "hv/cpu/cpu.h"
#include "hv/control/job.h"
#include "hv/vm/exit.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/memory.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"
#include "hv/mm/window.h"
#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "hv/cpu/smp.h"
#include "hv/monitor/monitor.h"
#include "hv/vm/vcpu_start.h"
#include "hv/vm/exit_npf.h"
#include "hv/vm/fair.h"
#include "hv/vm/sched.h"
#include "../psp/fake_pci.h"

#define PAGES (MACHINE_RAM_SIZE / PAGE_SIZE)
#define EXTENTS_BASE (MACHINE_RAM + (UINT64_C(6) << 20))
#define MANIFEST_BASE (MACHINE_RAM + (UINT64_C(4) << 20))
#define UNITS ((MACHINE_RAM + MACHINE_RAM_SIZE - EXTENTS_BASE) / SIZE_2M)

struct machine machine;

uint8_t *ram;
/* Whose key a page's bytes are under: PLAIN, HOST_KEY, or an ASID; and through which the cache holds lines of it. */
static int page_key[PAGES];
static int page_cached[PAGES];          /* PLAIN - 1: not */
#define NOT_CACHED (PLAIN - 1)
uint8_t keys[64][SEVFW_VEK_SIZE];
static bool pool_taken[MACHINE_POOL_PAGES];
static bool unit_taken[UNITS], unit_used[UNITS];    /* now; ever */
static struct extent extents[16];
static struct cpu cpu;

/* Guests run on no CPU here: none takes pages meanwhile. */
void exit_npf_freeze(bool freeze)
{
    (void)freeze;
}

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
        for (unsigned i = 0; i < sizeof change; i++)
            ((uint8_t *)change)[i] = key_byte(page_key[page], i) ^ key_byte(key, i);
        for (uint64_t i = 0; i < PAGE_SIZE / sizeof *words; i++)
            words[i] ^= change[i % (sizeof change / sizeof *change)];
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

/* Not over at the first look, as little as on a machine with several CPUs. */
bool wbinvd_all(struct wbinvd *w)
{
    machine_not_in_poll();
    if (w->ticket == 0 || w->ticket < machine.late_looks) {
        w->ticket++;
        return false;
    }
    w->ticket = 0;
    for (uint64_t i = 0; i < PAGES; i++)
        page_cached[i] = NOT_CACHED;
    if (machine.fw)
        sevfw_wbinvd(machine.fw, 0);
    return true;
}

/* ---- hv/mm/memory.h, hostmap.h ---- */

uint64_t page_count(void)
{
    return MACHINE_POOL_PAGES;
}

uint64_t page_free_count(void)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < MACHINE_POOL_PAGES; i++)
        n += !pool_taken[i];
    return n;
}

bool page_alloc(uint64_t count, uint64_t align, paddr_t *out)
{
    machine_not_in_poll();
    assert(align == 1 && count > 0);
    if (fails(&machine.fail_pool))
        return false;
    for (uint64_t first = 0; first + count <= MACHINE_POOL_PAGES; first++) {
        uint64_t run = 0;
        while (run < count && !pool_taken[first + run])
            run++;
        if (run < count)
            continue;
        memset(pool_taken + first, true, count);
        *out = paddr(MACHINE_RAM + first * PAGE_SIZE);
        memset(page_va(*out), 0, count * PAGE_SIZE);
        return true;
    }
    return false;
}

void page_free(paddr_t base, uint64_t count)
{
    machine_not_in_poll();
    for (uint64_t i = 0; i < count; i++) {
        assert(pool_taken[page_of(base.raw) + i]);
        pool_taken[page_of(base.raw) + i] = false;
    }
    memset(page_va(base), 0, count * PAGE_SIZE);
}

/* The pool is mapped for good, under the host's key: its bytes are kept as hv sees them. */
void *page_va(paddr_t page)
{
    return ram + (page.raw - MACHINE_RAM);
}
paddr_t page_pa(const void *va)
{
    return paddr(MACHINE_RAM + (uint64_t)((const uint8_t *)va - ram));
}

bool extent_alloc(uint64_t size, struct extent *out)
{
    machine_not_in_poll();
    uint64_t units = (size + SIZE_2M - 1) / SIZE_2M;
    if (fails(&machine.fail_extent))
        return false;
    for (uint64_t first = 0; first + units <= UNITS; first++) {
        uint64_t run = 0;
        while (run < units && !unit_taken[first + run])
            run++;
        if (run < units)
            continue;
        memset(unit_taken + first, true, units);
        memset(unit_used + first, true, units);
        uint32_t index = 0;
        while (extents[index].size != 0)
            index++;
        *out = extents[index] =
            (struct extent){paddr(EXTENTS_BASE + first * SIZE_2M), units * SIZE_2M, VIEW_PLAIN, index};
        return true;
    }
    return false;
}

static void check_extent(const struct extent *extent)
{
    const struct extent *own = &extents[extent->index];
    assert(own->size == extent->size && own->base.raw == extent->base.raw && own->view == extent->view &&
           own->size != 0);
}

bool extent_set_view(struct extent *extent, enum memory_view view, bool flushed)
{
    machine_not_in_poll();
    check_extent(extent);
    if (extent->view != view && !flushed)
        return false;
    extent->view = extents[extent->index].view = view;
    return true;
}

bool extent_zero(const struct extent *extent, uint64_t offset, uint64_t size)
{
    machine_not_in_poll();
    check_extent(extent);
    assert(size <= JOB_PIECE);
    for (unsigned i = 0; i < GUEST_MAX; i++) {
        uint64_t damaged = guests[i].damaged_at & ~(SIZE_2M - 1);       /* what is no memory any more */
        if (guests[i].memory_damaged && guests[i].memory.base.raw == extent->base.raw)
            assert(offset + size <= damaged || offset >= damaged + SIZE_2M);
    }
    machine.zeroed += size;
    assert((offset | size) % PAGE_SIZE == 0 && size > 0 && offset <= extent->size && size <= extent->size - offset);
    /* What begins and ends at a large page needs nothing that can be used up. */
    if ((offset | size) % SIZE_2M != 0 && fails(&machine.fail_zero))
        return false;
    for (uint64_t done = 0; done < size; done += PAGE_SIZE)
        look_through(page_of(extent->base.raw + offset + done), key_of(extent->view), true);
    memset(ram + (extent->base.raw + offset - MACHINE_RAM), 0, size);
    return true;
}

void extent_free(struct extent *extent)
{
    machine_not_in_poll();
    check_extent(extent);
    assert(extent->view == VIEW_PLAIN);
    uint64_t first = (extent->base.raw - EXTENTS_BASE) / SIZE_2M;
    for (uint64_t i = 0; i < extent->size / SIZE_2M; i++)
        unit_taken[first + i] = false;
    extents[extent->index] = (struct extent){0};
    *extent = (struct extent){0};
}

void extent_retire(struct extent *extent, uint64_t offset)
{
    machine_not_in_poll();
    check_extent(extent);
    assert(extent->view == VIEW_PLAIN && offset < extent->size);
    uint64_t first = (extent->base.raw - EXTENTS_BASE) / SIZE_2M;
    for (uint64_t i = 0; i < extent->size / SIZE_2M; i++)
        if (i != offset / SIZE_2M)
            unit_taken[first + i] = false;
    extents[extent->index] = (struct extent){extent->base, SIZE_2M, VIEW_PLAIN, extent->index};
    *extent = (struct extent){0};
}

void memory_stats(struct memory_stats *stats)
{
    uint64_t units = 0;
    for (unsigned i = 0; i < UNITS; i++)
        units += !unit_taken[i];
    *stats = (struct memory_stats){
        .extent_total = UNITS * SIZE_2M,
        .extent_free = units * SIZE_2M,
    };
}

uint64_t view_c_bit(void)
{
    return machine.options.no_sme ? 0 : MACHINE_C_BIT;
}

uint64_t view_firmware_address(paddr_t page, enum memory_view view)
{
    return page.raw | (view == VIEW_ENCRYPTED ? view_c_bit() : 0);
}

void *window_map(paddr_t base, uint64_t size, enum memory_view view)
{
    machine_not_in_poll();
    assert(base.raw % PAGE_SIZE == 0 && size > 0);
    if (fails(&machine.fail_window))
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

void cache_flush(const void *va, uint64_t size)
{
    uint64_t physical = page_pa(va).raw;
    for (uint64_t i = 0; i < size; i += PAGE_SIZE)
        page_cached[page_of(physical + i)] = NOT_CACHED;
}

/* ---- hv/svm/npt.h, vcpu.h: what they take, not what they do ---- */

bool npt_create(struct npt *npt)
{
    machine_not_in_poll();
    if (fails(&machine.fail_npt_create) || !page_alloc(1, 1, &npt->root))
        return false;
    npt->pages = 1;
    return true;
}

bool npt_map(struct npt *npt, gpaddr_t gpa, paddr_t base, uint64_t size, enum memory_view view)
{
    paddr_t table;
    assert(gpa.raw == 0 && base.raw >= EXTENTS_BASE && size > 0);
    machine.wrong_views += view == VIEW_ENCRYPTED && machine.options.no_sme;
    if (fails(&machine.fail_npt_map) || !page_alloc(1, 1, &table))
        return false;
    *(uint64_t *)page_va(npt->root) = table.raw;
    npt->pages = 2;
    return true;
}

void npt_destroy(struct npt *npt)
{
    machine_not_in_poll();
    uint64_t table = *(uint64_t *)page_va(npt->root);
    if (table != 0)
        page_free(paddr(table), 1);
    page_free(npt->root, 1);
    *npt = (struct npt){0};
}

bool vcpu_create(struct guest *guest, uint32_t id, const struct manifest_registers *registers, struct vcpu **out)
{
    paddr_t page;
    (void)id;
    assert(registers->rip != 0 && guest->asid != 0 && guest->npt.root.raw != 0);
    if (fails(&machine.fail_vcpu) || !page_alloc(3, 1, &page))
        return false;
    *out = page_va(page);
    (*out)->guest = guest;
    (*out)->run_tsc = 1000;
    (*out)->exits[3] = 7;
    return true;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    machine_not_in_poll();
    assert(vcpu->next == NULL && vcpu->guest->vcpus[0] == NULL);   /* nobody finds it any more */
    page_free(page_pa(vcpu), 3);
}

void sched_place(struct cpu *c, struct vcpu *vcpu)
{
    assert(c == &cpu && vcpu->cpu == NULL);
    vcpu->cpu = c;
}

void sched_add(struct vcpu *vcpu)
{
    machine_not_in_poll();
    assert(vcpu->next == NULL);
    for (uint32_t i = 0; i < vcpu->guest->config->vcpus; i++)
        assert(vcpu->guest->vcpus[i]->cpu == &cpu);     /* it may run at once, and send to any of them */
    vcpu->next = vcpu;
    vcpu->guest->vcpus_queued++;
    machine.scheduled++;
}

/* The one CPU looks around at once, unless the test keeps it busy: vCPUs of ended guests leave its queue. */
void smp_kick(struct cpu *c)
{
    assert(c == &cpu);
    for (unsigned i = 0; i < GUEST_MAX && !machine.cpu_busy; i++) {
        for (unsigned v = 0; v < GUEST_MAX_VCPUS && guests[i].vcpus[v] != NULL && guest_is_ending(&guests[i]); v++) {
            struct vcpu *vcpu = guests[i].vcpus[v];
            if (vcpu->next == NULL)
                continue;
            vcpu->next = NULL;
            machine.scheduled--;
            if (--guests[i].vcpus_queued == 0)
                guest_note_end();
        }
    }
}

struct cpu *smp_cpu(uint32_t index)
{
    return index == 0 ? &cpu : NULL;
}
uint32_t smp_cpus(void)
{
    return 1;
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

void fair_wake(struct vcpu *vcpu)
{
    vcpu->state = VCPU_RUNNABLE;
}

/* ---- hv/cpu/clock.h, console.h, log.h ---- */

uint64_t clock_hz(void)
{
    return 2000000000;
}
uint64_t clock_tsc(void)
{
    return machine.now_ns * 2;
}
uint64_t clock_tsc_to_ns(uint64_t tsc)
{
    return tsc / 2;
}
uint64_t clock_us_to_tsc(uint64_t us)
{
    return us * 2000;
}
uint64_t clock_now_us(void)
{
    return machine.now_ns / 1000;
}

static bool console_held;
void console_begin(void)
{
    assert(!console_held);
    console_held = true;
}
void console_end(void)
{
    assert(console_held);
    console_held = false;
}

uint32_t console_waiting[1 + MANIFEST_MAX_GUESTS];
void console_set_owner(uint32_t owner)
{
    (void)owner;
}

void console_write(const char *bytes, size_t count)
{
    assert(console_held);
    if (count >= sizeof machine.console - machine.console_length)
        machine.console_length = 0;
    memcpy(machine.console + machine.console_length, bytes, count);
    machine.console_length += count;
    machine.console[machine.console_length] = '\0';
}

void console_drain(void)
{
}
struct console_losses console_losses(void)
{
    return (struct console_losses){0};
}
bool console_input_holds(uint8_t byte)
{
    (void)byte;
    return false;
}

static bool polling;
static size_t keys_at;

int console_read(void)
{
    if (machine.keys == NULL || machine.keys[keys_at] == '\0')
        return -1;
    return (uint8_t)machine.keys[keys_at++];
}

void machine_poll(void)
{
    machine_not_in_poll();
    if (machine.keys == NULL)
        return;
    polling = true;
    keys_at = 0;
    machine.polls++;
    monitor_poll();
    polling = false;
}

void machine_not_in_poll(void)
{
    assert(!polling);
}

uint64_t console_position(void)
{
    return machine.console_length;
}
bool console_at_line_start(void)
{
    return machine.console_length == 0 || machine.console[machine.console_length - 1] == '\n';
}
bool machine_said(const char *text)
{
    return strstr(machine.console, text) != NULL;
}

void panic(const char *format, ...)
{
    fprintf(stderr, "panic: %s\n", format);
    abort();
}

const char *exit_kind_name(uint32_t kind)
{
    return kind < 2 ? "kind" : NULL;
}

struct cpuid {
    uint32_t eax, ebx, ecx, edx;
};
struct cpuid cpuid(uint32_t leaf, uint32_t subleaf);
struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
    assert((leaf == 0x8000001f || leaf == 0x80000008) && subleaf == 0);
    if (leaf == 0x80000008)
        return (struct cpuid){.eax = machine.options.address_bits ? machine.options.address_bits : 48};
    return (struct cpuid){.ebx = MACHINE_C_BIT_POSITION | 1 << 6};
}

/* ---- a boot ---- */

void machine_start(const struct machine_options *options)
{
    machine_stop();
    memset(&machine, 0, sizeof machine);
    machine.options = *options;
    machine.now_ns = UINT64_C(1000000000);
    if (ram == NULL) {
        ram = mmap(NULL, MACHINE_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert(ram != MAP_FAILED);
        cpu.self = &cpu;
        assert(syscall(SYS_arch_prctl, ARCH_SET_GS, &cpu) == 0);
    } else {
        memset(ram, 0, EXTENTS_BASE - MACHINE_RAM);
    }
    memset(pool_taken, 0, sizeof pool_taken);
    memset(unit_taken, 0, sizeof unit_taken);
    memset(unit_used, 0, sizeof unit_used);
    memset(ram + (EXTENTS_BASE - MACHINE_RAM), MACHINE_OLD_BYTE, MACHINE_RAM + MACHINE_RAM_SIZE - EXTENTS_BASE);
    memset(extents, 0, sizeof extents);
    memset(keys, 0, sizeof keys);
    memset(guests, 0, sizeof guests);
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
        .c_bit_mask = view_c_bit(),
        .manifest_base = MANIFEST_BASE,
    };
    fake_pci_reset();
    if (!options->no_device)
        machine.handoff.psp = fake_psp_start();
    sev_forget();
    jobs_forget();
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

void machine_manifest(const void *manifest, uint64_t size)
{
    memcpy(ram + (MANIFEST_BASE - MACHINE_RAM), manifest, size);
    machine.handoff.manifest_size = size;
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
