/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Spin locks, and their order. Little is shared: guests' lives, their memory, ASIDs and the Secure Processor are the
 * boot CPU's alone, run queues are their CPU's, and a vCPU is the business of the CPU that it was given to. What is
 * left has a lock, taken in the order of its rank:
 *
 *   LOCK_NPT       changes of nested page tables while their guest runs: exit_npf.c
 *   LOCK_GUEST     guest->lock: its UART's registers, what is logged about it, and the verdict that ended it
 *   LOCK_CONSOLE   the operator's line: console.c, and what log.c and monitor.c keep of the output; the limit of mca_log.c
 *   LOCK_POOL      the pages of the pool: page.c
 *
 * Interrupt handlers take none, so they may come while one is held. None is held across VMRUN, so that #MC at the STGI
 * after it may (trap.c). The CPU that ends the machine (shutdown_begin()) takes no more, since holders may be halted.
 */
#ifndef SEVISOR_LOCK_H
#define SEVISOR_LOCK_H

#include "hv/cpu/cpu.h"
#include "hv/lib/panic.h"

enum lock_rank { LOCK_NPT = 1, LOCK_GUEST, LOCK_CONSOLE, LOCK_POOL };

/* A ticket lock. All zeros: free. */
struct lock {
    uint32_t next, served;
};

static inline void lock_take(struct lock *lock, enum lock_rank rank)
{
    struct cpu *cpu = this_cpu();
    ASSERT(cpu->locks_held >> rank == 0);       /* none of this rank, nor of a later one */
    cpu->locks_held |= 1u << rank;
    uint32_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
    while (__atomic_load_n(&lock->served, __ATOMIC_ACQUIRE) != ticket)
        __builtin_ia32_pause();
}

static inline void lock_release(struct lock *lock, enum lock_rank rank)
{
    struct cpu *cpu = this_cpu();
    __atomic_store_n(&lock->served, lock->served + 1, __ATOMIC_RELEASE);
    cpu->locks_held &= ~(1u << rank);
}

#endif
