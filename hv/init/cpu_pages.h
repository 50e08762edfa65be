/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The memory that a CPU needs of hv's. Never given back. */
#ifndef SEVISOR_CPU_PAGES_H
#define SEVISOR_CPU_PAGES_H

#include "hv/cpu/cpu.h"

/* Another CPU's structure, from the pool; NULL: out of pages. */
struct cpu *cpu_pages_create(uint32_t index, uint32_t apic_id);
/* Guard-paged stacks for #DF, NMI and #MC, and one to run on, whose top is returned; NULL: out of pages. Once
 * hostmap_init() is through. hv runs with interrupts enabled (RFLAGS.IF) from then on. */
void *cpu_pages_stacks(struct cpu *cpu);

#endif
