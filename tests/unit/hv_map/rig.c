/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "rig.h"

#include <asm/prctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "hv/cpu/cpu.h"
#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "hv/lib/pagetable.h"

#define TLB_ENTRIES 65536u

/* ---- CPUs and their TLBs ---- */

struct tlb_entry {
    uint64_t page;              /* 0: unused */
    struct translation translation;
};

static struct rig_cpu {
    struct cpu cpu;             /* first: GS:0 */
    uint64_t cr3;
    struct tlb_entry *tlb;
    unsigned count;
} cpus[MAX_CPUS];
static uint64_t c_bit;

static struct rig_cpu *running(void)
{
    return (struct rig_cpu *)this_cpu();
}

void rig_run_on(uint32_t index)
{
    struct rig_cpu *cpu = &cpus[index];
    cpu->cpu.self = &cpu->cpu;
    cpu->cpu.index = index;
    if (cpu->tlb == NULL) {
        cpu->tlb = calloc(TLB_ENTRIES, sizeof(*cpu->tlb));
        cpu->cr3 = index == 0 ? 0 : hostmap_cr3();
    }
    assert_int_equal(syscall(SYS_arch_prctl, ARCH_SET_GS, cpu), 0);
}

uint64_t read_cr3(void)
{
    return running()->cr3;
}

unsigned rig_cr3_loads;

void write_cr3(uint64_t value)
{
    rig_cr3_loads++;
    running()->cr3 = value;
    running()->count = 0;
}

void invlpg(const void *va)
{
    struct rig_cpu *cpu = running();
    for (unsigned i = 0; i < cpu->count; i++)
        if (cpu->tlb[i].page == (uintptr_t)va / PAGE_SIZE)
            cpu->tlb[i] = cpu->tlb[--cpu->count];
}

/* APM2 5.3: what a pointer to a table allows is what the pages below it have at most. Tables lie in the arena. */
static const uint64_t *table_at(uint64_t entry)
{
    assert_int_equal(entry & c_bit, c_bit);
    return page_va(paddr(entry & PTE_ADDRESS & ~c_bit));
}

static struct translation leaf(uint64_t entry, bool writable, bool executable, unsigned level)
{
    return (struct translation){
        .present = true,
        .address = entry & PTE_ADDRESS & ~RIG_C_BIT,
        .encrypted = (entry & RIG_C_BIT) != 0,
        .writable = writable,
        .executable = executable,
        .uncached = (entry & (PTE_PCD | PTE_PWT)) == (PTE_PCD | PTE_PWT),
        .level = level,
    };
}

struct translation rig_walk(uint64_t cr3, uint64_t va)
{
    const uint64_t *table = table_at(cr3);
    bool writable = true, executable = true;
    for (unsigned level = 4;; level--) {
        uint64_t entry = table[va >> (12 + 9 * (level - 1)) & 511];
        if ((entry & PTE_P) == 0)
            return (struct translation){0};
        writable &= (entry & PTE_W) != 0;
        executable &= (entry & PTE_NX) == 0;
        if (level == 1 || (entry & PTE_PS) != 0) {
            struct translation t = leaf(entry, writable, executable, level);
            assert_int_equal(t.address & ((UINT64_C(1) << (12 + 9 * (level - 1))) - 1), 0);
            t.address += va & ((UINT64_C(1) << (12 + 9 * (level - 1))) - 1) & ~(PAGE_SIZE - 1);
            return t;
        }
        table = table_at(entry);
    }
}

struct translation rig_access(uint64_t va)
{
    struct rig_cpu *cpu = running();
    for (unsigned i = 0; i < cpu->count; i++)
        if (cpu->tlb[i].page == va / PAGE_SIZE)
            return cpu->tlb[i].translation;
    struct translation found = rig_walk(cpu->cr3, va);
    if (found.present) {
        assert_true(cpu->count < TLB_ENTRIES);
        cpu->tlb[cpu->count++] = (struct tlb_entry){va / PAGE_SIZE, found};
    }
    return found;
}

static void each(const uint64_t *table, unsigned level, uint64_t va, bool writable, bool executable,
                 void (*check)(uint64_t, struct translation))
{
    for (uint64_t i = 0; i < 512; i++) {
        uint64_t entry = table[i], at = va | i << (12 + 9 * (level - 1));
        if ((entry & PTE_P) == 0)
            continue;
        if (level == 4 && i >= 256)
            at |= UINT64_C(0xffff) << 48;
        bool w = writable && (entry & PTE_W) != 0, x = executable && (entry & PTE_NX) == 0;
        if (level == 1 || (entry & PTE_PS) != 0)
            check(at, leaf(entry, w, x, level));
        else
            each(table_at(entry), level - 1, at, w, x, check);
    }
}

void rig_each(uint64_t cr3, void (*check)(uint64_t va, struct translation t))
{
    each(table_at(cr3), 4, 0, true, true, check);
}

/* ---- the caches ---- */

unsigned rig_fences, rig_flushes;
uint32_t rig_line = 64;
uint64_t rig_flushed[4096];

struct cpuid cpuid(uint32_t leaf_number, uint32_t subleaf)
{
    assert_true(leaf_number == 1 && subleaf == 0);
    return (struct cpuid){.ebx = rig_line / 8 << 8};
}

void clflush(const void *va)
{
    assert_int_equal(rig_fences, 1);
    assert_true(rig_flushes < 4096);
    rig_flushed[rig_flushes++] = (uintptr_t)va;
}

void cpu_relax(void)
{
}

void mfence(void)
{
    rig_fences++;
}

/* ---- what else hv/ asks for ---- */

jmp_buf rig_panicked;
bool rig_panic_expected;

void panic(const char *format, ...)
{
    if (!rig_panic_expected)
        print_error("panic: %s\n", format);
    assert_true(rig_panic_expected);
    longjmp(rig_panicked, 1);
}

/* ---- a machine ---- */

uint64_t rig_arena_va;
static uint8_t *reserved;
static uint64_t reserved_size;
static struct handoff handoff;
static paddr_t drained;

static uint64_t up(uint64_t value)
{
    return (value + SIZE_2M - 1) & ~(SIZE_2M - 1);
}

/* As boot/load.c makes them, in the arena. */
static uint64_t first_tables(void)
{
    struct pagetable tables;
    uint64_t base = handoff.arena_base + RIG_IMAGE_END;
    pagetable_init(&tables, base, handoff.arena_base + handoff.arena_used, rig_arena_va - handoff.arena_base, c_bit);
    assert_true(pagetable_map(&tables, RIG_TRAMPOLINE, RIG_TRAMPOLINE, PAGE_SIZE, 0));
    for (uint64_t at = 0; at < RIG_IMAGE_END; at += PAGE_SIZE)
        assert_true(pagetable_map(&tables, RIG_IMAGE_VA + at, (handoff.arena_base + at) | c_bit, PAGE_SIZE,
                                  at >= RIG_DATA   ? PTE_W | PTE_NX
                                  : at >= RIG_TEXT ? 0
                                                   : PTE_NX));
    assert_true(pagetable_map(&tables, RIG_ARENA_VA, handoff.arena_base | c_bit, handoff.arena_size, PTE_W | PTE_NX));
    if (handoff.uart.in_memory)
        assert_true(pagetable_map(&tables, HV_UART_PAGE, handoff.uart.base & ~(PAGE_SIZE - 1), PAGE_SIZE,
                                  PTE_W | PTE_NX | PTE_PCD | PTE_PWT));
    return pagetable_cr3(&tables);
}

void rig_start(struct rig_options options)
{
    rig_stop();
    memset(&handoff, 0, sizeof(handoff));
    handoff.arena_base = options.arena_base != 0 ? options.arena_base : RIG_ARENA;
    handoff.arena_size = options.arena_size != 0 ? options.arena_size : UINT64_C(8) << 20;
    handoff.arena_used = RIG_IMAGE_END + RIG_TABLES * PAGE_SIZE;
    handoff.c_bit_mask = c_bit = options.no_sme ? 0 : RIG_C_BIT;
    handoff.uart =
        (struct handoff_uart){.base = options.uart != 0 ? options.uart : 0x3f8, .in_memory = options.uart != 0};
    handoff.cpu_count = options.cpus != 0 ? options.cpus : 1;

    /* What nobody touches of a large arena need not be there. */
    reserved_size = handoff.arena_size + 3 * SIZE_2M;
    reserved = mmap(NULL, reserved_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(reserved != MAP_FAILED);
    rig_arena_va = up((uintptr_t)reserved);
    rig_run_on(0);
    cpus[0].cr3 = first_tables();
    view_init(&handoff);
    page_init(&handoff);
    memory_init(&handoff);
    hostmap_init(&handoff);
}

void rig_stop(void)
{
    if (reserved != NULL)
        munmap(reserved, reserved_size);
    reserved = NULL;
    for (uint32_t i = 0; i < MAX_CPUS; i++) {
        free(cpus[i].tlb);
        cpus[i] = (struct rig_cpu){0};
    }
    drained = paddr(0);
}

uint64_t rig_pool_free(void)
{
    return page_free_count();
}

void rig_drain_pool(uint64_t left)
{
    paddr_t page;
    while (rig_pool_free() > left) {
        assert_true(page_alloc(1, &page));
        *(uint64_t *)page_va(page) = drained.raw;
        drained = page;
    }
}

void rig_refill_pool(void)
{
    while (drained.raw != 0) {
        paddr_t page = drained;
        drained = paddr(*(uint64_t *)page_va(page));
        page_free(page, 1);
    }
}
