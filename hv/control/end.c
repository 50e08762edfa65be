/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * DEACTIVATE → WBINVD → DF_FLUSH → DECOMMISSION, then the memory, last the ASID: an ASID may be reused only when its key is
 * uninstalled and its cache lines are flushed (SEV API, ACTIVATE).
 */
#include "hv/control/end.h"

#include "hv/console/log.h"
#include "hv/control/control.h"
#include "hv/control/leak.h"
#include "hv/control/report.h"
#include "hv/control/resources.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/lib/panic.h"
#include "hv/svm/asid.h"

/* A command that the SEV firmware refused is retried once, since a failure leaks the ASID; never after a timeout. */
#define ATTEMPTS 2u

#define CONTROL_RESTART_US 1000000u /* from one start of the control guest to the next, at least */

enum end_state {
    END_BEGIN,
    END_DEACTIVATE,     /* uninstalls the key from the ASID */
    END_WBINVD,
    END_DF_FLUSH,       /* flush the guest's lines from caches and data fabric */
    END_DECOMMISSION,
    END_PLAIN_VIEW,
    END_SCRUB,
    END_RELEASE,
};

/* The job between its WBINVD and its DF_FLUSH. No other guest is deactivated meanwhile: its ASID would not be covered by the
 * WBINVD, and DF_FLUSH would be refused (SEV API, DF_FLUSH). */
static const struct job *flushing;

static bool is_control(const struct guest *guest)
{
    return (guest->config->flags & MANIFEST_GUEST_CONTROL) != 0;
}

static bool wants_restart(const struct guest *guest)
{
    const struct manifest_guest *config = guest->config;
    if (is_control(guest)) /* whatever its entry says, and as often as it dies */
        return guest->end == GUEST_END_CRASH || guest->end == GUEST_END_RESET;
    bool restarts = (guest->end == GUEST_END_POWEROFF && config->on_poweroff == MANIFEST_ACTION_RESTART) ||
                    (guest->end == GUEST_END_RESET && config->on_reboot == MANIFEST_ACTION_RESTART) ||
                    (guest->end == GUEST_END_CRASH && config->on_crash == MANIFEST_ACTION_RESTART);
    return restarts && guest->restarts_left > 0;
}

static enum job_verdict begin(struct job *job)
{
    struct guest *guest = job->guest;
    if (guest->end != GUEST_END_REFUSED) {
        guest->stays_ended = !wants_restart(guest);
        if (guest->started_tsc != 0)
            guest->alive_tsc += clock_tsc() - guest->started_tsc;
        if (is_control(guest) && !guest->stays_ended)
            job->mark_tsc = guest->started_tsc + clock_us_to_tsc(CONTROL_RESTART_US);
        guest->started_tsc = 0;
        vuart_power_off(&guest->uart);
    }
    guest->session = NULL;
    resources_free_vcpus(guest);
    return job_next(job, !guest->sev_context ? END_PLAIN_VIEW : guest->sev_active ? END_DEACTIVATE : END_DECOMMISSION);
}

/* ---- the secure processor's part ---- */

static bool answered_with(struct psp_result result, enum sev_status status)
{
    return result.error == PSP_FIRMWARE && result.status == status;
}

/* The command failed: whether to retry it. */
static bool try_again(struct job *job, struct psp_result result)
{
    sev_log_failure(job->guest->config->name, result);
    return result.error == PSP_FIRMWARE && ++job->tries < ATTEMPTS;
}

static enum job_verdict may_deactivate(struct job *job)
{
    (void)job;
    return flushing != NULL && sev_mailbox_owner() == NULL ? JOB_WAITS : JOB_IDLE;
}

static enum job_verdict deactivated(struct job *job, struct psp_result result)
{
    bool done = psp_ok(result) || answered_with(result, SEV_STATUS_INACTIVE);
    if (!done && try_again(job, result))
        return JOB_MOVED;
    job->clean &= done;
    /* WBINVD even after a failure, since the memory will be reused. */
    return job_next(job, done || !job->repeated ? END_WBINVD : END_DECOMMISSION);
}

static enum job_verdict flush_caches(struct job *job)
{
    const struct job *owner = sev_mailbox_owner();
    if (flushing == NULL && (owner == NULL || owner->kind != JOB_END || owner->state != END_DEACTIVATE))
        flushing = job;
    if (flushing != job || !wbinvd_all(&job->wbinvd))
        return JOB_WAITS;
    job->state = END_DF_FLUSH; /* keeps job->tries: WBINVD and DF_FLUSH are retried together */
    return JOB_MOVED;
}

static enum job_verdict flushed(struct job *job, struct psp_result result)
{
    flushing = NULL;
    if (!psp_ok(result) && try_again(job, result)) {
        job->state = END_WBINVD;
        return JOB_MOVED;
    }
    job->clean &= psp_ok(result);
    return job_next(job, END_DECOMMISSION);
}

static enum job_verdict decommissioned(struct job *job, struct psp_result result)
{
    bool active = answered_with(result, SEV_STATUS_ACTIVE);
    if (active && !job->repeated) {
        /* ACTIVATE took effect although it returned an error, or DEACTIVATE did not although it returned SUCCESS. */
        job->repeated = job->clean = true;
        return job_next(job, END_DEACTIVATE);
    }
    if (!psp_ok(result) && try_again(job, result) && !active)
        return JOB_MOVED;
    job->clean &= !active; /* the SEV firmware keeps the guest and its ASID */
    return job_next(job, END_PLAIN_VIEW);
}

/* ---- memory ---- */

static enum job_verdict plain_view(struct job *job)
{
    struct guest *guest = job->guest;
    if (guest->sev_memory_given) {
        leak_quarantine(0, guest->memory.size);
        log_print(LOG_ERROR,
                  "%s: %lu MiB at 0x%lx stay in quarantine until the next boot: the secure processor may still "
                  "write to them",
                  guest->config->name, guest->memory.size >> 20, guest->memory.base.raw);
        guest->memory = (struct extent){0};
    }
    if (guest->memory.size != 0 && !wbinvd_set_view(&job->wbinvd, &guest->memory, VIEW_PLAIN))
        return JOB_WAITS;
    job->offset = 0;
    return job_next(job, guest->memory.size != 0 ? END_SCRUB : END_RELEASE);
}

static enum job_verdict scrub(struct job *job)
{
    struct guest *guest = job->guest;
    uint64_t size = guest->memory.size, damaged = guest->memory_damaged ? guest->damaged_at & ~(SIZE_2M - 1) : size;
    if (guest->memory_damaged && job->offset == damaged)
        job->offset += SIZE_2M; /* damaged memory is not accessed */
    uint64_t end = job->offset < damaged ? damaged : size;
    if (job->offset < end) {
        uint64_t piece = end - job->offset < JOB_PIECE ? end - job->offset : JOB_PIECE;
        ASSERT(extent_zero(&guest->memory, job->offset, piece));
        job->offset += piece;
        return JOB_MOVED;
    }
    if (guest->memory_damaged) {
        leak_quarantine(0, SIZE_2M);
        log_print(LOG_ERROR,
                  "%s: 2 MiB around 0x%lx stay in quarantine until the next boot: a memory error was reported "
                  "there; the BMC's event log should name the module",
                  guest->config->name, guest->memory.base.raw + guest->damaged_at);
        extent_retire(&guest->memory, guest->damaged_at);
    } else {
        extent_free(&guest->memory);
    }
    return job_next(job, END_RELEASE);
}

static void release_asid(struct guest *guest, bool clean)
{
    if (guest->asid != 0 && clean) {
        asid_free(guest->asid);
    } else if (guest->asid != 0) {
        leak_quarantine(1, 0);
        log_print(LOG_ERROR,
                  "%s: ASID %u stays in quarantine until the next boot: the secure processor still holds its key "
                  "there",
                  guest->config->name, guest->asid);
    }
    guest->asid = 0;
}

static enum job_verdict release(struct job *job)
{
    struct guest *guest = job->guest;
    bool refused = guest->end == GUEST_END_REFUSED;
    if (!control_close(guest) || clock_tsc() < job->mark_tsc)
        return JOB_WAITS;
    npt_destroy(&guest->npt);
    release_asid(guest, job->clean);
    guest->sev_context = guest->sev_active = guest->sev_memory_given = guest->memory_damaged = false;
    guest->state = refused ? GUEST_REFUSED : GUEST_ENDED;
    job_finish(job);
    if (refused) {
        log_print(LOG_ERROR, "%s is refused: %s", guest->config->name, guest->end_reason);
        guest->stays_ended = true;
        vuart_power_off(&guest->uart);
    } else {
        report_end(guest);
    }
    leak_check();
    if (guest->stays_ended)
        return JOB_MOVED;
    if (is_control(guest))
        log_print(LOG_NOTICE, "%s: restarting", guest->config->name);
    else
        log_print(LOG_NOTICE, "%s: restarting, %u restarts left", guest->config->name, --guest->restarts_left);
    job_begin(job, JOB_LAUNCH, guest);
    return JOB_MOVED;
}

enum job_verdict end_step(struct job *job)
{
    static const struct sev_job_row rows[] = {
        [END_BEGIN] = {.step = begin},
        [END_DEACTIVATE] = {.step = may_deactivate, .command = SEV_CMD_DEACTIVATE, .answered = deactivated},
        [END_WBINVD] = {.step = flush_caches},
        [END_DF_FLUSH] = {.command = SEV_CMD_DF_FLUSH, .answered = flushed},
        [END_DECOMMISSION] = {.command = SEV_CMD_DECOMMISSION, .answered = decommissioned},
        [END_PLAIN_VIEW] = {.step = plain_view},
        [END_SCRUB] = {.step = scrub},
        [END_RELEASE] = {.step = release},
    };
    return sev_job_step(job, &rows[job->state]);
}
