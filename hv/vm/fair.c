/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Who pays for a CPU's time: the vCPU that ran, or the one that caused the work. */
#include "hv/vm/fair.h"

#include "hv/cpu/clock.h"

/* The interrupt that ends a slice may be late by so much, and the vCPU pays for it. */
#define LATE_US 1000u

uint64_t fair_slice_tsc(void)
{
    static uint64_t tsc;        /* the same, whoever finds it first */
    uint64_t slice = __atomic_load_n(&tsc, __ATOMIC_RELAXED);
    if (slice == 0)
        __atomic_store_n(&tsc, slice = clock_us_to_tsc(FAIR_SLICE_US), __ATOMIC_RELAXED);
    return slice;
}

void fair_charge_work(struct cpu *cpu, struct vcpu *vcpu, uint64_t now)
{
    uint64_t spent = now - cpu->charged_tsc, interrupts = __atomic_load_n(&cpu->others_tsc, __ATOMIC_RELAXED);
    uint64_t others = interrupts - cpu->others_charged;
    cpu->charged_tsc = now;
    cpu->others_charged = interrupts;
    spent -= others < spent ? others : spent;
    vcpu->run_tsc += spent;
    vcpu->fair_tsc += spent;
}

/* More than this is no vCPU's doing: the machine was stalled. */
void fair_charge(struct cpu *cpu, struct vcpu *vcpu, uint64_t now)
{
    static uint64_t most;       /* the same, whoever finds it first */
    if (now - cpu->charged_tsc > __atomic_load_n(&most, __ATOMIC_RELAXED)) {
        uint64_t found = fair_slice_tsc() + clock_us_to_tsc(LATE_US);
        __atomic_store_n(&most, found, __ATOMIC_RELAXED);
        if (now - cpu->charged_tsc > found)
            cpu->charged_tsc = now - found;
    }
    fair_charge_work(cpu, vcpu, now);
}

/* The vCPU pays until the interrupt that took the CPU from it. When that is long after the slice's end, the machine
 * has stood still meanwhile (an SMI, a debugger, a host that had stopped its emulator), for which nobody pays. */
void fair_charge_stay(struct cpu *cpu, struct vcpu *vcpu, uint64_t now)
{
    uint64_t until = __atomic_load_n(&cpu->interrupted_tsc, __ATOMIC_RELAXED), paid = cpu->charged_tsc;
    if (until <= paid || until > now)
        until = now;    /* an interrupt of before */
    if (until > cpu->slice_end_tsc) {
        uint64_t latest = cpu->slice_end_tsc + clock_us_to_tsc(LATE_US);
        if (latest < paid)
            latest = paid;
        if (until > latest)
            cpu->charged_tsc += until - latest;
    }
    fair_charge(cpu, vcpu, until);
}

void fair_wake(struct vcpu *vcpu)
{
    if (vcpu->state == VCPU_RUNNABLE)
        return;
    vcpu->state = VCPU_RUNNABLE;
    uint64_t slice = fair_slice_tsc(), chosen = this_cpu()->fair_tsc, least = chosen > slice ? chosen - slice : 0;
    if (vcpu->fair_tsc < least)
        vcpu->fair_tsc = least;
}
