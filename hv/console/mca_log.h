/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What machine check banks report without #MC, as lines of the log. */
#ifndef SEVISOR_MCA_LOG_H
#define SEVISOR_MCA_LOG_H

#include "hv/cpu/mca.h"

/* mca_init(), and logs errors from before boot. */
void mca_log_init(struct cpu *cpu);
/* Logs and clears corrected and deferred errors now and then; `now` is the TSC. On each CPU's way round, cheap. */
void mca_log_look(struct cpu *cpu, uint64_t now);
static inline void mca_log_poll(struct cpu *cpu, uint64_t now)
{
    if (now >= cpu->mca_due_tsc)
        mca_log_look(cpu, now);
}

#endif
