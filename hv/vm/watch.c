/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A CPU whose rounds stop counting is asked by NMI where it is, and reported. */
#include "hv/vm/watch.h"

#include "hv/console/log.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/smp.h"

#define CHECK_US 1000000u        /* so often */
#define CHECK_MOST_US 1500000u

/* On the watching CPU, `passed` after its last check. What stops the watching CPU, too (an SMI, a debugger, a host that stops
 * its emulator), does not show that the other is stuck: a check counts for CHECK_MOST_US at most. */
static void check(struct cpu *cpu, uint64_t passed)
{
    struct watched *w = &cpu->watched;
    uint64_t rounds = __atomic_load_n(&cpu->rounds, __ATOMIC_RELAXED);
    if (rounds != w->rounds || __atomic_load_n(&cpu->idle, __ATOMIC_RELAXED) || !w->seen) {
        if (w->reported)
            log_print(LOG_ERROR, "CPU %u responds again", cpu->index);
        *w = (struct watched){.rounds = rounds, .seen = true};
        return;
    }
    uint64_t most = clock_us_to_tsc(CHECK_MOST_US);
    w->still_tsc += passed < most ? passed : most;
    if (w->still_tsc < clock_us_to_tsc(WATCH_STUCK_US) || w->reported)
        return;
    if (w->asked) {
        uint64_t rip = __atomic_load_n(&cpu->answer_rip, __ATOMIC_ACQUIRE);
        if (rip != 0)
            log_print(LOG_ERROR, "CPU %u is stuck at %lx (addr2line -e hv.elf)", cpu->index, rip);
        else
            log_print(LOG_ERROR, "CPU %u is stuck, and does not answer an NMI", cpu->index);
        w->reported = true;
        return;
    }
    w->asked = true; /* the answer is there at the next check */
    __atomic_store_n(&cpu->answer_rip, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&cpu->answer_wanted, true, __ATOMIC_RELEASE);
    lapic_send(cpu->apic_id, LAPIC_MESSAGE_NMI);
}

static const struct cpu *first_other(void)
{
    for (uint32_t i = 1; i < smp_cpus(); i++)
        if (smp_cpu(i) != NULL)
            return smp_cpu(i);
    return NULL;
}

void watch_look(struct cpu *own, uint64_t now)
{
    uint64_t passed = now - own->watch_tsc;
    own->watch_tsc = now;
    own->watch_next_tsc = now + clock_us_to_tsc(CHECK_US);
    if (own->index == 0) {
        for (uint32_t i = 1; i < smp_cpus(); i++)
            if (smp_cpu(i) != NULL)
                check(smp_cpu(i), passed);
    } else if (own == first_other()) {
        check(smp_cpu(0), passed);
    }
}

bool watch_answer(struct cpu *cpu, uint64_t rip)
{
    if (!__atomic_exchange_n(&cpu->answer_wanted, false, __ATOMIC_ACQUIRE))
        return false;
    __atomic_store_n(&cpu->answer_rip, rip, __ATOMIC_RELEASE);
    return true;
}
