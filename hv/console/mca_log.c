/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Corrected and deferred errors, rate-limited. */
#include "hv/console/mca_log.h"

#include "hv/console/log.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/lock.h"
#include "hv/lib/rate.h"

/* Lines about errors that were corrected or deferred, of all CPUs: a bad module reports thousands. */
#define LINES 20u
#define LINES_US 10000000u

static void log_all(const struct cpu *cpu, const char *when, const struct mca_errors *found)
{
    char text[MCA_TEXT];
    for (uint32_t i = 0; i < found->count; i++) {
        mca_describe(&found->errors[i], text, sizeof(text));
        log_print(LOG_ERROR, "CPU %u, hardware error%s: %s", cpu->index, when, text);
    }
    if (found->left_out > 0)
        log_print(LOG_ERROR, "CPU %u, hardware errors%s: %u more", cpu->index, when, found->left_out);
}

void mca_log_init(struct cpu *cpu)
{
    struct mca_errors before;
    mca_init(cpu, &before);
    log_all(cpu, " from before boot", &before);
}

void mca_log_look(struct cpu *cpu, uint64_t now)
{
    static struct lock lock;    /* LOCK_CONSOLE */
    static struct rate rate;    /* of all CPUs' lines; under that lock */
    uint32_t unused;
    struct mca_errors found;
    mca_look(cpu, now, &found);
    if (found.count == 0)
        return;
    lock_take(&lock, LOCK_CONSOLE);
    uint32_t logged = rate_admit(&rate, now, clock_us_to_tsc(LINES_US), LINES, found.count, &unused);
    lock_release(&lock, LOCK_CONSOLE);
    cpu->mca_left_out += found.count - logged + found.left_out;
    found.count = logged;
    found.left_out = 0;
    if (logged > 0 && cpu->mca_left_out > 0) {
        found.left_out = cpu->mca_left_out;
        cpu->mca_left_out = 0;
    }
    log_all(cpu, "", &found);
}
