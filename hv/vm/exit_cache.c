/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * INVD would lose the host's writes, and is skipped. WBINVD is what an encrypted guest may rely on when it changes a page's
 * C-bit, on parts without coherent encryption (APM2 7.10.6): lines of its two views of the page are two lines, and CLFLUSH,
 * which needs no exit, only reaches those under the view that it is used with. Other guests have one view, and need none.
 * (KVM and Xen execute a guest's WBINVD only where a device does DMA that is not coherent; under KVM an encrypted guest has
 * to get by with CLFLUSH, as Linux does.)
 *
 * It takes milliseconds on each CPU that the guest's vCPUs live on, and costs all that share those caches their lines. So the
 * vCPU is charged for the time on all of these CPUs, and the rate is limited: after a burst to a twentieth of the time.
 */
#include "hv/vm/exit_cache.h"

#include "hv/cpu/clock.h"
#include "hv/cpu/smp.h"
#include "hv/lib/x86.h"
#include "hv/vm/exit.h"
#include "hv/vm/guest.h"
#include "hv/vm/fair.h"

#define BURST 32u               /* of a guest, before its rate is limited */
#define SPACING_US 10000u       /* then one in this time */
#define SPACING_TIMES 20u       /* or in so many times what one takes, if that is longer */
#define WAIT_US 10000u      /* for CPUs that are late; then the vCPU sleeps */
#define RETRY_US 1000u

/* Takes the next turn under the rate limit; returns when it is due. */
static uint64_t wbinvd_due(struct guest *guest, uint64_t now)
{
    uint64_t spacing = clock_us_to_tsc(SPACING_US), burst = BURST * spacing;
    lock_take(&guest->lock, LOCK_GUEST);
    if (guest->wbinvd_tsc < now)
        guest->wbinvd_tsc = now;
    uint64_t due = guest->wbinvd_tsc - now < burst ? now : guest->wbinvd_tsc - burst;
    guest->wbinvd_tsc += spacing;
    lock_release(&guest->lock, LOCK_GUEST);
    return due;
}

/* The CPUs that its vCPUs live on. */
static void find_cpus(const struct guest *guest, uint64_t set[MAX_CPUS / 64])
{
    for (uint32_t i = 0; i < MAX_CPUS / 64; i++)
        set[i] = 0;
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++) {
        uint32_t index = guest->vcpus[i]->cpu->index;
        set[index / 64] |= UINT64_C(1) << index % 64;
    }
}

/* This CPU's time is charged already. */
static void finish(struct vcpu *vcpu, const uint64_t *set)
{
    struct guest *guest = vcpu->guest;
    struct smp_cost cost = smp_wbinvd_cost(set);
    uint64_t spacing = clock_us_to_tsc(SPACING_US), fair = cost.longest * SPACING_TIMES;
    vcpu->run_tsc += cost.others;
    vcpu->fair_tsc += cost.others;
    lock_take(&guest->lock, LOCK_GUEST);
    guest->wbinvd_tsc += fair > spacing ? fair - spacing : 0;
    lock_release(&guest->lock, LOCK_GUEST);
    exit_skip(vcpu, 2);
}

bool exit_cache_over(struct vcpu *vcpu)
{
    uint64_t set[MAX_CPUS / 64];
    find_cpus(vcpu->guest, set);
    if (!smp_wbinvd_done(set, vcpu->wbinvd_ticket)) {
        vcpu->asleep_tsc = clock_tsc() + clock_us_to_tsc(RETRY_US);
        return false;
    }
    vcpu->wbinvd_ticket = vcpu->asleep_tsc = 0;
    finish(vcpu, set);
    return true;
}

static void sleep_until(struct vcpu *vcpu, uint64_t tsc)
{
    vcpu->asleep_tsc = tsc;
    vcpu->state = VCPU_HALTED;
    vcpu->request = true;
}

/* A CPU in an SMI is late. This vCPU waits for it, asleep after a while; other vCPUs need not. */
static void flush(struct vcpu *vcpu)
{
    struct cpu *cpu = this_cpu();
    uint64_t set[MAX_CPUS / 64];
    find_cpus(vcpu->guest, set);
    fair_charge_stay(cpu, vcpu, clock_tsc());
    uint64_t ticket = smp_wbinvd_begin(set);
    struct clock_limit limit = clock_limit(WAIT_US);
    bool done;
    while (!(done = smp_wbinvd_done(set, ticket)) && !clock_limit_over(&limit))
        cpu_relax();
    fair_charge_work(cpu, vcpu, clock_tsc());
    if (done) {
        finish(vcpu, set);
    } else {
        vcpu->wbinvd_ticket = ticket;
        sleep_until(vcpu, clock_tsc() + clock_us_to_tsc(RETRY_US));
    }
}

void exit_cache(struct vcpu *vcpu)
{
    if (!vcpu->guest->sev || this_cpu()->features.sme_coherent || vcpu->vmcb->exitcode != VMEXIT_WBINVD) {
        exit_skip(vcpu, 2);
        return;
    }
    uint64_t now = clock_tsc(), due = vcpu->asleep_tsc != 0 ? vcpu->asleep_tsc : wbinvd_due(vcpu->guest, now);
    vcpu->asleep_tsc = 0;
    if (due > now)
        sleep_until(vcpu, due);         /* before the instruction, which is tried again then */
    else
        flush(vcpu);
}
