/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * DEACTIVATE → WBINVD → DF_FLUSH → DECOMMISSION, then the memory, last the ASID: an ASID may be reused only when its key is
 * uninstalled and its cache lines are flushed (SEV API, ACTIVATE).
 */
#include "hv/control/end.h"

#include "hv/console/log.h"
#include "hv/control/control.h"
#include "hv/control/leak.h"
#include "hv/control/release.h"
#include "hv/control/report.h"
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

static bool deactivates(const struct job *job)
{
    return job != NULL && job->kind == JOB_END && job->state == END_DEACTIVATE;
}

static bool is_control(const struct guest *guest)
{
    return (guest->config->flags & MANIFEST_GUEST_CONTROL) != 0;
}

static bool wants_restart(const struct guest *guest)
{
    uint8_t action;
    if (is_control(guest)) /* whatever its entry says, and as often as it dies */
        return guest->end == GUEST_END_CRASH || guest->end == GUEST_END_RESET;
    switch (guest->end) {
    case GUEST_END_POWEROFF:
        action = guest->config->on_poweroff;
        break;
    case GUEST_END_RESET:
        action = guest->config->on_reboot;
        break;
    case GUEST_END_CRASH:
        action = guest->config->on_crash;
        break;
    default:
        return false; /* ended by the operator */
    }
    return action == MANIFEST_ACTION_RESTART && guest->restarts_left > 0;
}

static enum job_verdict begin(struct job *job)
{
    struct guest *guest = job->guest;
    if (guest->end != GUEST_END_REFUSED) {
        job->relaunch = wants_restart(guest);
        if (guest->started_tsc != 0)
            guest->alive_tsc += clock_tsc() - guest->started_tsc;
        if (is_control(guest) && job->relaunch)
            job->mark_tsc = guest->started_tsc + clock_us_to_tsc(CONTROL_RESTART_US);
        guest->started_tsc = 0;
        guest->stays_ended = !job->relaunch;
        vuart_power_off(&guest->uart);
    }
    guest->session = NULL;
    release_vcpus(guest);
    job_next(job, !guest->sev_context ? END_PLAIN_VIEW : guest->sev_active ? END_DEACTIVATE : END_DECOMMISSION);
    return JOB_MOVED;
}

/* ---- the secure processor's part ---- */

static struct psp_result submit(const struct job *job)
{
    switch (job->state) {
    case END_DEACTIVATE:
        return sev_command(sev_psp(), SEV_CMD_DEACTIVATE, job->guest->sev_handle);
    case END_DF_FLUSH:
        return sev_command(sev_psp(), SEV_CMD_DF_FLUSH, 0);
    default:
        return sev_command(sev_psp(), SEV_CMD_DECOMMISSION, job->guest->sev_handle);
    }
}

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

static void deactivated(struct job *job, struct psp_result result)
{
    bool done = psp_ok(result) || answered_with(result, SEV_STATUS_INACTIVE);
    if (!done && try_again(job, result))
        return;
    job->clean &= done;
    /* WBINVD even after a failure, since the memory will be reused. */
    job_next(job, done || !job->repeated ? END_WBINVD : END_DECOMMISSION);
}

static void flushed(struct job *job, struct psp_result result)
{
    flushing = NULL;
    if (!psp_ok(result) && try_again(job, result)) {
        job->state = END_WBINVD;
        return;
    }
    job->clean &= psp_ok(result);
    job_next(job, END_DECOMMISSION);
}

static void decommissioned(struct job *job, struct psp_result result)
{
    if (answered_with(result, SEV_STATUS_ACTIVE) && !job->repeated) {
        /* ACTIVATE took effect although it returned an error, or DEACTIVATE did not although it returned SUCCESS. */
        job->repeated = job->clean = true;
        job_next(job, END_DEACTIVATE);
        return;
    }
    if (answered_with(result, SEV_STATUS_ACTIVE)) {
        sev_log_failure(job->guest->config->name, result);
        job->clean = false; /* the SEV firmware keeps the guest and its ASID */
    } else if (!psp_ok(result) && try_again(job, result)) {
        return;
    }
    job_next(job, END_PLAIN_VIEW);
}

static enum job_verdict command(struct job *job)
{
    struct psp_result result;
    enum job_verdict verdict = sev_mailbox(job, &result);
    if (verdict == JOB_IDLE && flushing != NULL && deactivates(job))
        return JOB_WAITS;
    if (verdict == JOB_IDLE) {
        result = submit(job);
        if (sev_submitted(job, result))
            return JOB_MOVED;
    } else if (verdict != JOB_MOVED) {
        return verdict;
    }
    if (job->state == END_DEACTIVATE)
        deactivated(job, result);
    else if (job->state == END_DF_FLUSH)
        flushed(job, result);
    else
        decommissioned(job, result);
    return JOB_MOVED;
}

/* ---- memory ---- */

static enum job_verdict plain_view(struct job *job)
{
    struct guest *guest = job->guest;
    uint64_t size = guest->memory.size;
    if (size == 0 || guest->sev_memory_given) {
        job_next(job, END_RELEASE);
        if (size == 0)
            return JOB_MOVED;
        leak_quarantine(0, size);
        log_print(LOG_ERROR,
                  "%s: %lu MiB at 0x%lx stay in quarantine until the next boot: the secure processor may still "
                  "write to them",
                  guest->config->name, size >> 20, guest->memory.base.raw);
        guest->memory = (struct extent){0};
        return JOB_MOVED;
    }
    if (!wbinvd_set_view(&job->wbinvd, &guest->memory, VIEW_PLAIN))
        return JOB_WAITS;
    job->offset = 0;
    job_next(job, END_SCRUB);
    return JOB_MOVED;
}

static enum job_verdict scrub(struct job *job)
{
    struct guest *guest = job->guest;
    uint64_t size = guest->memory.size;
    if (guest->memory_damaged && job->offset == (guest->damaged_at & ~(SIZE_2M - 1)))
        job->offset += SIZE_2M; /* damaged memory is not accessed */
    if (job->offset < size) {
        uint64_t end =
            guest->memory_damaged && job->offset < guest->damaged_at ? guest->damaged_at & ~(SIZE_2M - 1) : size;
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
    job_next(job, END_RELEASE);
    return JOB_MOVED;
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
    bool refused = guest->end == GUEST_END_REFUSED, relaunch = job->relaunch;
    if (!control_close(guest) || clock_tsc() < job->mark_tsc)
        return JOB_WAITS;
    release_tables(guest);
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
    if (relaunch && is_control(guest)) {
        log_print(LOG_NOTICE, "%s: restarting", guest->config->name);
    } else if (relaunch) {
        guest->restarts_left--;
        log_print(LOG_NOTICE, "%s: restarting, %u restarts left", guest->config->name, guest->restarts_left);
    }
    if (relaunch)
        job_begin(job, JOB_LAUNCH, guest);
    return JOB_MOVED;
}

enum job_verdict end_step(struct job *job)
{
    switch ((enum end_state)job->state) {
    case END_BEGIN:
        return begin(job);
    case END_WBINVD:
        if (flushing == NULL && !deactivates(sev_mailbox_owner()))
            flushing = job;
        if (flushing != job || !wbinvd_all(&job->wbinvd))
            return JOB_WAITS;
        job->state = END_DF_FLUSH; /* keeps job->tries: WBINVD and DF_FLUSH are retried together */
        return JOB_MOVED;
    case END_PLAIN_VIEW:
        return plain_view(job);
    case END_SCRUB:
        return scrub(job);
    case END_RELEASE:
        return release(job);
    case END_DEACTIVATE:
    case END_DF_FLUSH:
    case END_DECOMMISSION:
    default:
        return command(job);
    }
}
