/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* WBINVD of all CPUs, polled until the last has executed it; those that are late are logged. */
#include "hv/control/wbinvd.h"

#include "hv/console/log.h"
#include "hv/cpu/smp.h"

/* WBINVD of a large cache takes milliseconds. A CPU that has not done it after WBINVD_LATE_US is logged, and still waited
 * for. */
#define WBINVD_LATE_US 2000000u

static void log_late(uint64_t ticket)
{
    for (uint32_t i = 0; i < smp_cpus(); i++) {
        const struct cpu *cpu = smp_live(i);
        if (cpu != NULL && __atomic_load_n(&cpu->wbinvd_done, __ATOMIC_ACQUIRE) < ticket)
            log_print(LOG_ERROR,
                      "CPU %u (APIC %u) has not done a WBINVD for %u s, perhaps because of an SMI: launches and ends "
                      "of guests wait for it, since its caches may hold a guest's data",
                      i, cpu->apic_id, WBINVD_LATE_US / 1000000);
    }
}

/* No timeout: the caller will reuse memory or an ASID, and a late write-back would corrupt the next owner's data. */
bool wbinvd_all(struct wbinvd *w)
{
    static const uint64_t all[MAX_CPUS / 64] = {[0 ... MAX_CPUS / 64 - 1] = UINT64_MAX};
    if (w->ticket == 0)
        *w = (struct wbinvd){.ticket = smp_wbinvd_begin(all), .answer = clock_limit(WBINVD_LATE_US)};
    if (!smp_wbinvd_done(all, w->ticket)) {
        if (!w->named && clock_limit_over(&w->answer)) {
            log_late(w->ticket);
            w->named = true;
        }
        return false;
    }
    if (w->named)
        log_print(LOG_NOTICE, "all CPUs have done their WBINVD");
    w->ticket = 0;
    return true;
}
