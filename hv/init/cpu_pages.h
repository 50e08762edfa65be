/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Memory of a CPU: its structure and its stacks. Never freed. */
#ifndef SEVISOR_CPU_PAGES_H
#define SEVISOR_CPU_PAGES_H

#include "hv/cpu/cpu.h"

/* Another CPU's structure, from the pool; NULL: out of pages. */
struct cpu *cpu_pages_create(uint32_t index, uint32_t apic_id);
/* Guard-paged stacks for #DF, NMI and #MC, and the CPU's main stack, whose top is returned; NULL: out of pages. After
 * hostmap_init(). */
void *cpu_pages_stacks(struct cpu *cpu);

#endif
