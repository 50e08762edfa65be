/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The machine's CPUs, and the two requests that they send each other by interrupt: kick, and WBINVD. */
#include "hv/cpu/smp.h"

#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/trap.h"
#include "hv/lib/bits.h"
#include "hv/lib/x86.h"

static struct cpu *cpus[MAX_CPUS];      /* NULL: does not run */
/* These, and those that were left out but live: the secure processor wants WBINVD of all. */
static struct cpu *flushing[MAX_CPUS];
static uint32_t cpus_end = 1;

static uint64_t wbinvd_tickets;         /* as many have been asked for */

struct cpu *smp_cpu(uint32_t index)
{
    return index < MAX_CPUS ? __atomic_load_n(&cpus[index], __ATOMIC_ACQUIRE) : NULL;
}

uint32_t smp_cpus(void)
{
    return cpus_end;
}

struct cpu *smp_live(uint32_t index)
{
    return index < MAX_CPUS ? flushing[index] : NULL;
}

void smp_add(struct cpu *cpu, bool runs)
{
    flushing[cpu->index] = cpu;
    if (cpu->index >= cpus_end)
        cpus_end = cpu->index + 1;
    if (runs)
        __atomic_store_n(&cpus[cpu->index], cpu, __ATOMIC_RELEASE);
}

/* ---- interrupts between CPUs ---- */

void smp_kick(struct cpu *cpu)
{
    /* A kick that has not been acted upon covers this one. */
    if (__atomic_exchange_n(&cpu->timer_fired, true, __ATOMIC_SEQ_CST) || cpu == this_cpu())
        return;
    lapic_send(cpu->apic_id, LAPIC_MESSAGE_FIXED | TRAP_KICK);
}

void smp_kick_interrupt(void)
{
    __atomic_store_n(&this_cpu()->interrupted_tsc, clock_tsc(), __ATOMIC_RELAXED);
}

/* ---- WBINVD ---- */

/* For all tickets that there are when it begins. Interrupts are off: one for another ticket must not come in between. */
static void wbinvd_own(struct cpu *cpu)
{
    uint64_t tickets = __atomic_load_n(&wbinvd_tickets, __ATOMIC_SEQ_CST), start = clock_tsc();
    wbinvd();
    __atomic_store_n(&cpu->wbinvd_tsc, clock_tsc() - start, __ATOMIC_RELAXED);
    __atomic_store_n(&cpu->wbinvd_done, tickets, __ATOMIC_RELEASE);
}

/* Devices and the UEFI firmware may raise this vector, too: it is ignored where no ticket is open. */
void smp_wbinvd_interrupt(void)
{
    struct cpu *cpu = this_cpu();
    uint64_t start = clock_tsc();
    if (cpu->wbinvd_done == __atomic_load_n(&wbinvd_tickets, __ATOMIC_SEQ_CST))
        return;
    wbinvd_own(cpu);
    cpu->others_tsc += clock_tsc() - start;
}

static bool is_in(const uint64_t *set, uint32_t index)
{
    return bits_has(set, index) && flushing[index] != NULL;
}

uint64_t smp_wbinvd_begin(const uint64_t *set)
{
    struct cpu *own = this_cpu();
    uint64_t ticket = __atomic_add_fetch(&wbinvd_tickets, 1, __ATOMIC_SEQ_CST);
    for (uint32_t i = 0; i < cpus_end; i++)
        if (is_in(set, i) && flushing[i] != own)
            lapic_send(flushing[i]->apic_id, LAPIC_MESSAGE_FIXED | TRAP_WBINVD);
    if (is_in(set, own->index)) {
        uint64_t rflags = read_rflags();
        cli();
        wbinvd_own(own);
        if ((rflags & RFLAGS_IF) != 0)
            sti();
    }
    return ticket;
}

bool smp_wbinvd_done(const uint64_t *set, uint64_t ticket)
{
    for (uint32_t i = 0; i < cpus_end; i++)
        if (is_in(set, i) && __atomic_load_n(&flushing[i]->wbinvd_done, __ATOMIC_ACQUIRE) < ticket)
            return false;
    return true;
}

struct smp_cost smp_wbinvd_cost(const uint64_t *set)
{
    struct smp_cost cost = {0};
    for (uint32_t i = 0; i < cpus_end; i++) {
        uint64_t tsc = is_in(set, i) ? __atomic_load_n(&flushing[i]->wbinvd_tsc, __ATOMIC_RELAXED) : 0;
        cost.others += flushing[i] != this_cpu() ? tsc : 0;
        cost.longest = tsc > cost.longest ? tsc : cost.longest;
    }
    return cost;
}

bool smp_wait_for(const uint32_t *value, uint32_t wanted, uint64_t us)
{
    struct clock_limit limit = clock_limit(us);
    for (;;) {
        bool over = clock_limit_over(&limit); /* before the last look */
        if (__atomic_load_n(value, __ATOMIC_ACQUIRE) == wanted)
            return true;
        if (over)
            return false;
        cpu_relax();
    }
}
