/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Allocates a CPU's structure and stacks, from the pool and hv's address space, for cpu/. */
#include "hv/init/cpu_pages.h"

#include "hv/mm/hostmap.h"
#include "hv/mm/page.h"

#define STACK_PAGES 8u
#define IST_STACK_PAGES 2u

struct cpu *cpu_pages_create(uint32_t index, uint32_t apic_id)
{
    paddr_t page;
    return page_alloc(1, &page) ? cpu_create(page_va(page), index, apic_id) : NULL;
}

void *cpu_pages_stacks(struct cpu *cpu)
{
    for (uint32_t i = 0; i < CPU_IST_STACKS; i++) {
        void *top = hostmap_stack(IST_STACK_PAGES);
        if (top == NULL)
            return NULL;
        cpu_set_ist_stack(cpu, i, top);
    }
    return hostmap_stack(STACK_PAGES);
}
