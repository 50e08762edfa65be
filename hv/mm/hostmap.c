/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What hv can reach, and nothing else:
 *   HV_IMAGE_BASE     its image, 4 KiB pages, W^X, C=1
 *   HV_ARENA_BASE     its arena, C=1
 *   HV_UART_PAGE      the operator's UART, where it lies in memory, C=0, uncached
 *   HOSTMAP_STACKS    stacks, each above an unmapped guard page, C=1
 *   WINDOW_*          windows, by window.c; those of any size are in the boot CPU's tables alone
 * The first three are as boot/load.c has mapped them, in tables that lie in the arena.
 */
#include "hv/mm/hostmap.h"

#include "hv/lib/pagetable.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/lib/x86.h"
#include "hv/mm/layout.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"

static struct pagetable hostmap_table;     /* all CPUs' */
static struct pagetable hostmap_boot;      /* the boot CPU's: the same, and its windows */
static uint64_t hostmap_stack_next, hostmap_stacks_end;

void hostmap_init(const struct handoff *handoff)
{
    paddr_t pages;
    uint64_t cpu_tables = handoff->cpu_count / HOSTMAP_CPUS_PER_TABLE + 1, count = HOSTMAP_TABLE_PAGES + 2 * cpu_tables;
    ASSERT(page_alloc(count, &pages));
    hostmap_table = (struct pagetable){
        .root = read_cr3() & ~view_c_bit(),
        .next = pages.raw,
        .end = pages.raw + count * PAGE_SIZE,
        .alias = (uintptr_t)page_va(paddr(0)),
        .c_bit = view_c_bit(),
    };
    memset(page_va(paddr(hostmap_table.root)), 0, PAGE_SIZE / 2);       /* the page of boot/ that entered hv */

    /* All tables that windows and stacks will ever need above their last level. */
    for (uint64_t i = 0; i < cpu_tables; i++)
        ASSERT(pagetable_entry(&hostmap_table, HOSTMAP_STACKS + i * SIZE_2M, 1) != NULL);
    hostmap_stack_next = HOSTMAP_STACKS;
    hostmap_stacks_end = HOSTMAP_STACKS + cpu_tables * SIZE_2M;
    window_init_shared(&hostmap_table, handoff->cpu_count);

    /* What is mapped from now on comes into tables that both have in common, but for the boot CPU's windows. */
    pagetable_init(&hostmap_boot, hostmap_table.next, hostmap_table.end, hostmap_table.alias, hostmap_table.c_bit);
    hostmap_table.end = hostmap_table.next;
    hostmap_share(page_va(paddr(hostmap_boot.root)));
    window_init_boot(&hostmap_boot);
    write_cr3(pagetable_cr3(&hostmap_boot));
}

void *hostmap_stack(uint64_t npages)
{
    paddr_t pages;
    uint64_t bottom = hostmap_stack_next + PAGE_SIZE;       /* the guard page lies below */
    if (bottom + npages * PAGE_SIZE > hostmap_stacks_end || !page_alloc(npages, &pages))
        return NULL;
    ASSERT(pagetable_map(&hostmap_table, bottom, view_entry_address(pages, VIEW_ENCRYPTED), npages * PAGE_SIZE,
                         PTE_W | PTE_NX));
    hostmap_stack_next = bottom + npages * PAGE_SIZE;
    return (void *)(uintptr_t)hostmap_stack_next;
}

void hostmap_share(uint64_t *root)
{
    const uint64_t *own = page_va(paddr(hostmap_table.root));
    memcpy(&root[256], &own[256], 256 * sizeof(uint64_t));
}

uint64_t hostmap_cr3(void)
{
    return pagetable_cr3(&hostmap_table);
}
