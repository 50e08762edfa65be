/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Allocates hv's memory and enters hv, through two sets of page tables:
 *  - the bridge, in plain memory: what UEFI's tables map, one to one, this application included; and the arena with
 *    C=1 at HV_ARENA_BASE. The image, the hand-over and the second set are written through it, so that they are
 *    encrypted from the first byte;
 *  - hv's initial tables, inside the arena: its image, the arena, and the page of this application with the
 *    trampoline.
 */
#include "boot/boot.h"

#include "guest/manifest.h"
#include "hv/lib/pagetable.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"

/* The pool: for hv's own tables, windows, the manifest's table; and for all guests of the manifest at once: */
#define POOL_BYTES (UINT64_C(16) << 20)
/* Scroll-back and input: 5 pages; nested tables above 2 MiB: 3; exit_npf.c's BUS_PAGES: 52. */
#define POOL_GUEST_BYTES (UINT64_C(256) << 10)
#define POOL_VCPU_BYTES (UINT64_C(12) << 10)    /* vcpu_create(): 3 pages */
/* Of the memory: 8 bytes in nested tables for each 2 MiB, and as much for split ends. */
#define POOL_SHARE UINT64_C(131072)
/* Of a guest's memory: two bits for each page, vm/pages.c; with `snapshot = true`, a nested table for each 2 MiB, too. */
#define POOL_GUEST_SHARE UINT64_C(16384)
#define POOL_SNAPSHOT_SHARE UINT64_C(496)
#define CPU_BYTES (UINT64_C(96) << 10) /* per CPU in hv: stacks above all */
#define STACK_BYTES UINT64_C(32768)
#define TABLE_PAGES 32u /* see layout.h's count for the same things; and one per GiB of arena */
#define BRIDGE_BYTES (UINT64_C(32) * PAGE_SIZE)

_Static_assert(POOL_BYTES + (UINT64_C(1) << 52) / POOL_SHARE + HANDOFF_MAX_CPUS * CPU_BYTES + SIZE_1G +
                       MANIFEST_MAX_GUESTS * (POOL_GUEST_BYTES + MANIFEST_MAX_VCPUS * POOL_VCPU_BYTES +
                                              MANIFEST_MAX_MEMORY / POOL_GUEST_SHARE) <=
                   HV_ARENA_MAX,
               "the arena, with image and tables, at any width of addresses");

static uint64_t load_manifest_bytes; /* of its table, when memory was allocated */
static struct pagetable bridge;

static uint64_t load_table_bytes(uint64_t arena_size)
{
    return (TABLE_PAGES + arena_size / SIZE_1G) * PAGE_SIZE;
}

static uint64_t load_page_up(uint64_t bytes)
{
    return (bytes + PAGE_SIZE - 1) & ~(PAGE_SIZE - 1);
}

uint64_t load_arena_size(void)
{
    uint64_t usable = ranges_total(HANDOFF_USABLE) + ranges_total(HANDOFF_ARENA);
    uint64_t pool = POOL_BYTES + usable / POOL_SHARE + handoff.cpu_count * CPU_BYTES;
    for (uint32_t i = 0; i < boot.guests->guest_count; i++) {
        const struct manifest_guest *guest = manifest_guest(boot.guests, i);
        uint64_t share = (guest->flags & MANIFEST_GUEST_SNAPSHOT) != 0 ? POOL_SNAPSHOT_SHARE : POOL_GUEST_SHARE;
        pool += POOL_GUEST_BYTES + guest->vcpus * POOL_VCPU_BYTES + guest->memory / share;
    }
    uint64_t used = boot.hv_header.total_size + load_page_up(sizeof(handoff)) + STACK_BYTES +
                    boot.guests->payload_offset + load_table_bytes(pool + SIZE_2M);
    return (used + pool + SIZE_2M - 1) & ~(SIZE_2M - 1);
}

uint64_t load_highest(void)
{
    uint64_t limit = UINT64_C(1) << handoff.phys_bits;
    return (limit < RANGES_HT_FIRST ? limit : RANGES_HT_FIRST) - 1;
}

bool load_allocate(void)
{
    const uint64_t size = load_arena_size();
    uint64_t tables = size > HV_ARENA_MAX ? 0 : memory_allocate(BRIDGE_BYTES + SIZE_2M + size, load_highest());
    if (tables == 0)
        return false;
    load_manifest_bytes = boot.guests->payload_offset;
    handoff.arena_base = (tables + BRIDGE_BYTES + SIZE_2M - 1) & ~(SIZE_2M - 1);
    handoff.arena_size = size;
    pagetable_init(&bridge, tables, tables + BRIDGE_BYTES, 0, 0);
    return pagetable_map(&bridge, HV_ARENA_BASE, handoff.arena_base | handoff.c_bit_mask, size, PTE_W | PTE_NX);
}

/* hv's first tables, written through the bridge. */
static void load_build_tables(struct pagetable *table, uint64_t base, uint64_t bytes)
{
    const struct hv_image_header *h = &boot.hv_header;
    uint64_t c = handoff.c_bit_mask;
    uint64_t page = (uintptr_t)&trampoline & ~(PAGE_SIZE - 1);
    uint64_t span = load_page_up((uintptr_t)trampoline_end) - page;
    pagetable_init(table, base, base + bytes, HV_ARENA_BASE - handoff.arena_base, c);
    bool fine = pagetable_map(table, page, page, span, 0);
    /* Page by page, as the three have different permissions. */
    for (uint64_t at = 0; fine && at < h->total_size; at += PAGE_SIZE) {
        uint64_t bits = at >= h->data_offset ? PTE_W | PTE_NX : at >= h->text_offset ? 0 : PTE_NX;
        fine = pagetable_map(table, HV_IMAGE_BASE + at, (handoff.arena_base + at) | c, PAGE_SIZE, bits);
    }
    fine = fine && pagetable_map(table, HV_ARENA_BASE, handoff.arena_base | c, handoff.arena_size, PTE_W | PTE_NX);
    if (fine && handoff.uart.in_memory)
        fine = pagetable_map(table, HV_UART_PAGE, handoff.uart.base & ~(PAGE_SIZE - 1), PAGE_SIZE,
                             PTE_W | PTE_NX | PTE_PCD | PTE_PWT);
    while (!fine)
        hlt(); /* boot services have ended and hv is not loaded: no console */
}

/* Copies the table, then checks the manifest once more, then that the copy is what was checked: faulty memory or a device may
 * have changed it since the preflight. */
static void load_manifest(uint64_t at, uint64_t alias)
{
    struct manifest_header *copy = (struct manifest_header *)(uintptr_t)(alias + at);
    memcpy(copy, boot.guests, load_manifest_bytes);
    if (copy->payload_offset == load_manifest_bytes &&
        manifest_check(boot.guests, handoff.manifest_size, NULL) == MANIFEST_OK &&
        memcmp(copy, boot.guests, load_manifest_bytes) == 0)
        handoff.manifest_table = at;
}

void load_enter(void)
{
    cli();
    if (handoff.c_bit_mask != 0)
        wrmsr(MSR_SYSCFG, rdmsr(MSR_SYSCFG) | SYSCFG_MEM_ENCRYPTION_MOD_EN);

    /* A known state: no global pages, no PCIDs, none of UEFI's protections. */
    write_cr4(CR4_PAE);
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_NXE);
    /* APM2 7.10.6: plain lines of the arena in the caches would be written back over encrypted memory. */
    wbinvd();
    /* UEFI's tables, which still are where they were, but for the arena's part of the address space. */
    uint64_t *entry = pagetable_entry(&bridge, HV_ARENA_BASE, 4), arena = *entry;
    memcpy((void *)(uintptr_t)bridge.root, (const void *)(uintptr_t)(read_cr3() & PTE_ADDRESS), PAGE_SIZE);
    *entry = arena;
    write_cr3(pagetable_cr3(&bridge));

    uint64_t at = handoff.arena_base, alias = HV_ARENA_BASE - at; /* virtual minus physical */
    uint8_t *image = (uint8_t *)(uintptr_t)(alias + at);
    uint64_t file_size = boot.hv_header.data_offset + boot.hv_header.data_size;
    memcpy(image, boot.hv.base, file_size);
    memset(image + file_size, 0, boot.hv_header.total_size - file_size);
    memset((void *)(uintptr_t)boot.hv.base, 0, boot.hv.size); /* no plain copy stays behind */
    at += boot.hv_header.total_size;

    struct pagetable tables;
    load_build_tables(&tables, at, load_table_bytes(handoff.arena_size));
    at += load_table_bytes(handoff.arena_size);

    load_manifest(at, alias);
    at += load_manifest_bytes;

    uint64_t stack = alias + at + STACK_BYTES;
    at += STACK_BYTES;
    struct handoff *handed = (struct handoff *)(uintptr_t)(alias + at);
    at += load_page_up(sizeof(*handed));
    handoff.arena_used = at - handoff.arena_base;
    memcpy(handed, &handoff, sizeof(handoff));

    trampoline(pagetable_cr3(&tables), stack, HV_IMAGE_BASE + boot.hv_header.entry, (uintptr_t)handed);
}
