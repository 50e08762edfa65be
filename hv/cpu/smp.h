/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The machine's CPUs, and the requests that they send each other by interrupt. */
#ifndef SEVISOR_CPU_SMP_H
#define SEVISOR_CPU_SMP_H

#include "hv/cpu/cpu.h"

/* CPUs by index, those that run only; NULL: none. smp_cpus() is one more than the highest index. */
struct cpu *smp_cpu(uint32_t index);
uint32_t smp_cpus(void);

/* These, and those that were left out but live: they execute WBINVD, too. NULL: none. */
struct cpu *smp_live(uint32_t index);
/* Takes a CPU in, by cpu->index; `runs`: it is given vCPUs, else it is left out but lives. On the boot CPU. */
void smp_add(struct cpu *cpu, bool runs);

/* Makes the CPU leave VMRUN or HLT and check for work (vm/run.c). From any CPU, for itself too. */
void smp_kick(struct cpu *cpu);
/* From here on the CPU sees all that was done before the last kick. On the CPU itself. */
static inline void smp_acknowledge_kick(struct cpu *cpu)
{
    cpu->rounds++;
    (void)__atomic_exchange_n(&cpu->timer_fired, false, __ATOMIC_SEQ_CST);
}

/* WBINVD on CPUs, `set` being a bit array by index, of MAX_CPUS. The first asks for it, and executes it here if this CPU is
 * in the set; its ticket tells the second whether all have done it since. A CPU that is late (an SMI delays interrupts) still
 * executes it before it runs a guest again. Any CPU may ask, also while another does. */
uint64_t smp_wbinvd_begin(const uint64_t *set);
bool smp_wbinvd_done(const uint64_t *set, uint64_t ticket);
/* Of the last WBINVD of each CPU in the set, TSC cycles: together without this CPU's, and the longest of all. */
struct smp_cost {
    uint64_t others, longest;
};
struct smp_cost smp_wbinvd_cost(const uint64_t *set);

/* Until another CPU has written `wanted` there; false: not within that time. */
bool smp_wait_for(const uint32_t *value, uint32_t wanted, uint64_t us);

/* Called by trap.c, in interrupt context. */
void smp_kick_interrupt(void);
void smp_wbinvd_interrupt(void);

#endif
