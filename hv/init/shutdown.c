/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which CPU ends the machine, and what the others do meanwhile. */
#include "hv/init/shutdown.h"

#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/smp.h"
#include "hv/lib/x86.h"

/* A CPU takes an NMI at once, unless it is in the handler of another, or in SMM. */
#define HALT_US 100000u

/* Which CPU ends the machine, as index + 1, and above that the number of the call that it is in; 0: none. One word, so
 * that either that CPU comes back from the call or another takes its place. */
static uint64_t ender;
#define ENDER_CALL (UINT64_C(1) << 32)
static uint32_t halted;                 /* CPUs */
static uint32_t watcher;                /* the one of them that watches the ender, as index + 1 */

/* Before cpu_init() there is one CPU, and no this_cpu(). */
static uint32_t own_number(void)
{
    return cpu_boot()->self == NULL ? 1 : this_cpu()->index + 1;
}

bool shutdown_is_here(void)
{
    return (uint32_t)__atomic_load_n(&ender, __ATOMIC_SEQ_CST) == own_number();
}

/* Ends a call that the timer's interrupt cannot end, in SMM e.g. The CPU that is in it is halted by an NMI;
 * if it takes none, it halts in shutdown_return(), should it come so far. Its TSC may be another, so the time counts from when
 * the call is seen. */
static void watch_ender(void)
{
    for (;;) {
        uint64_t seen = __atomic_load_n(&ender, __ATOMIC_SEQ_CST);
        struct clock_limit limit = clock_limit(SHUTDOWN_CALL_US);
        while (__atomic_load_n(&ender, __ATOMIC_SEQ_CST) == seen && (seen < ENDER_CALL || !clock_limit_over(&limit)))
            cpu_relax();
        if (seen >= ENDER_CALL &&
            __atomic_compare_exchange_n(&ender, &seen, own_number(), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
            lapic_send(smp_live((uint32_t)seen - 1)->apic_id, LAPIC_MESSAGE_NMI);
            return;
        }
    }
}

/* The first CPU that comes here watches; it comes here again by an NMI or a machine check, and goes on watching. */
void shutdown_wait(void)
{
    uint32_t nobody = 0;
    cli();
    wbinvd();
    __atomic_fetch_add(&halted, 1, __ATOMIC_SEQ_CST);
    if (__atomic_compare_exchange_n(&watcher, &nobody, own_number(), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST) ||
        nobody == own_number()) {
        watch_ender();
        return;
    }
    for (;;)
        hlt();
}

bool shutdown_is_elsewhere(void)
{
    return __atomic_load_n(&ender, __ATOMIC_SEQ_CST) != 0 && !shutdown_is_here();
}

void shutdown_call(void)
{
    static uint64_t calls;
    __atomic_store_n(&ender, ++calls * ENDER_CALL + own_number(), __ATOMIC_SEQ_CST);
}

bool shutdown_return(void)
{
    uint64_t seen = __atomic_load_n(&ender, __ATOMIC_SEQ_CST);
    return (uint32_t)seen == own_number() &&
           __atomic_compare_exchange_n(&ender, &seen, own_number(), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

bool shutdown_begin(void)
{
    uint64_t nobody = 0;
    uint32_t others = 0;
    cli();
    if (!__atomic_compare_exchange_n(&ender, &nobody, own_number(), false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return shutdown_return();
    for (uint32_t i = 0; i < smp_cpus(); i++) {
        const struct cpu *cpu = smp_live(i);
        if (cpu != NULL && i + 1 != own_number()) {
            lapic_send(cpu->apic_id, LAPIC_MESSAGE_NMI);
            others++;
        }
    }
    (void)smp_wait_for(&halted, others, HALT_US);
    return true;
}
