/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Executes the manifest's launch program. All launches of the manifest begin at the same time, and allocate memory and
 * ASIDs in the manifest's order; copying one overlaps with the secure processor's work for another.
 */
#include "hv/control/launch.h"

#include "hv/console/log.h"
#include "hv/control/program.h"
#include "hv/control/report.h"
#include "hv/control/resources.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/lib/string.h"
#include "hv/lib/text.h"
#include "hv/mm/window.h"
#include "hv/vm/pages.h"
#include "hv/vm/sched.h"

/* Bytes of one LAUNCH_UPDATE_DATA: far below the timeout at the few MiB/s of older parts, and other guests' commands are not
 * delayed for long. And bytes between two progress messages. */
#define UPDATE_PIECE (UINT64_C(1) << 20)
#define UPDATE_PROGRESS (UINT64_C(16) << 20)

/* In this order, but that a guest without SEV has none from LAUNCH_PLATFORM to LAUNCH_PLACE_SHARED, and one that is received
 * none from LAUNCH_ENCRYPT to LAUNCH_FINISH. */
/* clang-format off */
enum launch_state {
    LAUNCH_PREPARE,
    LAUNCH_ALLOCATE,
    LAUNCH_CLEAR_VIEW, LAUNCH_CLEAR,
    LAUNCH_PLACE_VIEW, LAUNCH_PLACE,    /* what the launch program writes to memory */
    LAUNCH_PLATFORM,                    /* waits for the secure processor's bring-up */
    LAUNCH_SESSION,                     /* waits for the control guest: its session */
    LAUNCH_BEGIN, LAUNCH_ACTIVATE, LAUNCH_ENCRYPT, LAUNCH_MEASURE,
    LAUNCH_HOLD,                        /* waits for the control guest: its secret */
    LAUNCH_FINISH,
    LAUNCH_GUEST_VIEW, LAUNCH_PLACE_SHARED,
    LAUNCH_RECEIVE,                     /* waits for the control guest to fill it */
    LAUNCH_RUN,
};
/* clang-format on */

static enum job_verdict next(struct job *job)
{
    return job_next(job, job->state + 1);
}

static enum job_verdict refuse(struct guest *guest, const char *reason)
{
    text_format(guest->end_reason, sizeof(guest->end_reason), "%s", reason);
    return JOB_REFUSED;
}

/* The cycles since the previous phase are those of `phase`. */
static void phase_done(struct job *job, enum launch_phase phase)
{
    uint64_t now = clock_tsc();
    job->guest->report.tsc[phase] += now - job->mark_tsc;
    job->guest->report.phase = phase < LAUNCH_UPDATE ? phase + 1 : phase;
    job->mark_tsc = now;
}

static enum job_verdict prepare(struct job *job)
{
    struct guest *guest = job->guest;
    guest->awaiting_ipi = 0;
    guest->bus_pages = guest->migration_control = 0;
    guest->sev_policy = guest->config->sev_policy;
    guest->sev = guest->config->encryption == MANIFEST_ENCRYPTION_SEV;
    guest->report = (struct launch_report){0};
    vuart_reset(&guest->uart, &guest->output);
    job->mark_tsc = clock_tsc();
    job->total = UINT64_MAX; /* no allocation has failed yet */
    return next(job);
}

/* Whether another guest holds resources that it may release soon: by its end, or by a launch that may still fail. One that waits for
 * the control guest releases none before that runs. */
static bool others_hold(const struct guest *own)
{
    for (uint32_t i = 0, count = guest_count(); i < count; i++)
        if (&guests[i] != own && guests[i].asid != 0 &&
            (guests[i].awaits == 0 || (own->config->flags & MANIFEST_GUEST_CONTROL) == 0) &&
            (job_of(&guests[i])->kind != JOB_NONE || guest_is_ending(&guests[i])))
            return true;
    return false;
}

static enum job_verdict allocate(struct job *job)
{
    struct guest *guest = job->guest;
    if (job->total == job_count_finished())
        return JOB_WAITS; /* nothing was released since the last attempt */
    if (!resources_check(guest))
        return JOB_REFUSED;
    if (!resources_allocate(guest)) {
        job->total = job_count_finished();
        return others_hold(guest) ? JOB_WAITS : JOB_REFUSED;
    }
    guest->end_reason[0] = '\0';
    log_print(LOG_NOTICE, "launch %s: %lu MiB at 0x%lx, ASID %u", guest->config->name, guest->config->memory >> 20,
              guest->memory.base.raw, guest->asid);
    phase_done(job, LAUNCH_ALLOC);
    return next(job);
}

/* ---- memory ---- */

static enum job_verdict set_view(struct job *job)
{
    struct guest *guest = job->guest;
    enum memory_view view = job->state == LAUNCH_CLEAR_VIEW   ? guest_shared_view(guest)
                            : job->state == LAUNCH_PLACE_VIEW ? resources_launch_view(guest)
                                                              : VIEW_GUEST;
    if (!wbinvd_set_view(&job->wbinvd, &guest->memory, view))
        return JOB_WAITS;
    job->step = 0;
    job->offset = job->total = 0;
    return next(job);
}

/* What is received has nothing of the launch program. */
static uint32_t step_count(const struct guest *guest)
{
    return guest->receives ? 0 : guest->config->step_count;
}

/* RAM holds old data. A SEV guest reads zeros through C=0; through C=1 the content is undefined. */
static enum job_verdict clear(struct job *job)
{
    struct guest *guest = job->guest;
    uint64_t left = guest->memory.size - job->offset, piece = left < JOB_PIECE ? left : JOB_PIECE;
    if (left == 0)
        return next(job);
    if (!extent_zero(&guest->memory, job->offset, piece))
        return refuse(guest, "no address space or pool page is left to clear its memory");
    job->offset += piece;
    return JOB_MOVED;
}

/* The next piece of a step's bytes, to `address` and what follows, through `view`. */
static enum job_verdict copy_piece(struct job *job, const struct manifest_step *step, paddr_t address,
                                   enum memory_view view)
{
    struct guest *guest = job->guest;
    uint64_t piece = step->size - job->offset < JOB_PIECE ? step->size - job->offset : JOB_PIECE;
    const uint8_t *bytes = NULL;
    if (step->kind != MANIFEST_STEP_ZERO && (bytes = program_payload(step->payload_offset, step->size)) == NULL)
        return refuse(guest, "the payload of a launch program step is outside the manifest");
    void *window = window_map(paddr_add(address, job->offset), piece, view);
    if (window == NULL)
        return refuse(guest, "no address space is left to fill its memory");
    if (bytes == NULL)
        memset(window, 0, piece);
    else
        memcpy(window, bytes + job->offset, piece);
    if (guest->sev)
        cache_flush(window, piece); /* accesses by the secure processor and under the guest's key are not coherent */
    window_unmap(window, piece);
    npt_mark(&guest->npt, gpaddr(step->gpa + job->offset), piece);
    pages_set_shared(guest, gpaddr(step->gpa + job->offset), piece, step->kind == MANIFEST_STEP_SHARED);
    job->offset += piece;
    job->total += piece;
    return JOB_MOVED;
}

/* Whether this state writes the step. PLACE writes all steps of a plain or host guest that are not zeros, and those of a SEV guest
 * that will be encrypted in place, zeros included. The zeros of clear() are flushed by the change of view, before an access under another key. */
static bool is_placed(const struct job *job, const struct manifest_step *step)
{
    if (job->state == LAUNCH_PLACE_SHARED)
        return step->kind == MANIFEST_STEP_SHARED;
    return job->guest->sev ? step->kind != MANIFEST_STEP_SHARED : step->kind != MANIFEST_STEP_ZERO;
}

static enum job_verdict place(struct job *job)
{
    struct guest *guest = job->guest;
    bool shared = job->state == LAUNCH_PLACE_SHARED, last = shared || !guest->sev;
    for (; job->step < step_count(guest); job->step++, job->offset = 0) {
        const struct manifest_step *step = program_step(guest->config, job->step);
        paddr_t address;
        if (!guest_ram_address(guest, gpaddr(step->gpa), step->size, &address))
            return refuse(guest, "a step of its launch program is outside its memory");
        if (!is_placed(job, step) || job->offset == step->size)
            continue;
        /* Shared pages are plain: the guest maps them with C=0. */
        return copy_piece(job, step, address, shared ? VIEW_PLAIN : guest->memory.view);
    }
    job_next(job, last ? LAUNCH_RECEIVE : LAUNCH_PLATFORM);
    if (last && guest->receives)
        return JOB_MOVED;
    if (!shared)
        log_print(LOG_NOTICE, "launch %s: %lu KiB placed", guest->config->name, job->total >> 10);
    phase_done(job, shared ? LAUNCH_FINISH_CMD : LAUNCH_COPY);
    return JOB_MOVED;
}

/* ---- what the control guest gives ---- */

/* Whether there is a control guest that runs, or is about to. */
static bool has_control(void)
{
    for (uint32_t i = 0, count = guest_count(); i < count; i++)
        if ((guests[i].config->flags & MANIFEST_GUEST_CONTROL) != 0 && !guests[i].stays_ended)
            return true;
    return false;
}

/* Until guest->awaits is 0 again. */
static enum job_verdict await(struct job *job, enum control_state state, const char *what)
{
    struct guest *guest = job->guest;
    if (job->tries == 0) {
        job->tries = 1;
        guest->awaits = state;
        log_print(LOG_NOTICE, "launch %s: waits for %s, by the control guest", guest->config->name, what);
        return JOB_MOVED;
    }
    if (guest->awaits == 0) {
        job->mark_tsc = clock_tsc(); /* nobody's phase */
        return next(job);
    }
    if (!has_control())
        return refuse(guest, "waits for the control guest, which does not run: launch that first");
    return guest->sev && !sev_ready() ? refuse(guest, sev_refusal()) : JOB_WAITS;
}

static enum job_verdict await_session(struct job *job)
{
    bool awaited = job->guest->receives || (job->guest->config->flags & MANIFEST_GUEST_SESSION_AT_LAUNCH) != 0;
    return awaited ? await(job, CONTROL_STATE_SESSION, "its session") : next(job);
}

static enum job_verdict await_secret(struct job *job)
{
    bool awaited = (job->guest->config->flags & MANIFEST_GUEST_REQUIRE_SECRET) != 0;
    return awaited ? await(job, CONTROL_STATE_HELD, "its secret") : next(job);
}

static enum job_verdict await_content(struct job *job)
{
    return job->guest->receives ? await(job, CONTROL_STATE_RECEIVING, "its memory and state") : next(job);
}

/* ---- the secure processor's part ---- */

/* The owner's DH certificate and session; NULL: the manifest has none. False: they are outside the manifest. */
static bool find_session(const struct guest *guest, const uint8_t **dh_cert, const uint8_t **session)
{
    const struct manifest_guest *config = guest->config;
    if (guest->session != NULL) {
        *dh_cert = guest->session->dh_cert;
        *session = guest->session->session;
        return true;
    }
    *dh_cert = *session = NULL;
    if (config->dh_cert_size == 0 && config->session_size == 0)
        return true;
    *dh_cert = program_payload(config->dh_cert_offset, SEV_CERT_SIZE);
    *session = program_payload(config->session_offset, SEV_SESSION_SIZE);
    return *dh_cert != NULL && *session != NULL && config->dh_cert_size == SEV_CERT_SIZE &&
           config->session_size == SEV_SESSION_SIZE;
}

static enum job_verdict await_platform(struct job *job)
{
    const uint8_t *dh_cert, *session;
    if (sev_starting())
        return JOB_WAITS;
    if (!sev_ready())
        return refuse(job->guest, sev_refusal());
    if (!find_session(job->guest, &dh_cert, &session))
        return refuse(job->guest, "its launch session is outside the manifest");
    return next(job);
}

static enum job_verdict failed(struct guest *guest, struct psp_result result)
{
    if (result.error == PSP_DEAD)
        return refuse(guest, sev_refusal());
    psp_result_text(result, guest->end_reason, sizeof(guest->end_reason));
    return JOB_REFUSED;
}

static struct psp_result begin(const struct job *job)
{
    const struct guest *guest = job->guest;
    const uint8_t *dh_cert, *session;
    (void)find_session(guest, &dh_cert, &session);
    return sev_guest_start(sev_psp(), guest->receives ? SEV_CMD_RECEIVE_START : SEV_CMD_LAUNCH_START, guest->sev_policy,
                           dh_cert, session);
}

static enum job_verdict begun(struct job *job, struct psp_result result)
{
    struct guest *guest = job->guest;
    result = sev_guest_start_answer(sev_psp(), result, &guest->sev_handle);
    guest->sev_context = psp_ok(result);
    guest->session = NULL;
    return psp_ok(result) ? next(job) : failed(guest, result);
}

static struct psp_result activate(const struct job *job)
{
    return sev_activate(sev_psp(), job->guest->sev_handle, job->guest->asid);
}

static enum job_verdict activated(struct job *job, struct psp_result result)
{
    struct guest *guest = job->guest;
    guest->sev_active = psp_ok(result) || result.error == PSP_TIMEOUT; /* after a timeout the key may be installed */
    if (!psp_ok(result))
        return failed(guest, result);
    log_print(LOG_NOTICE, "launch %s: handle %u, ACTIVATE on ASID %u", guest->config->name, guest->sev_handle,
              guest->asid);
    phase_done(job, LAUNCH_START_CMD);
    job->step = 0;
    return job_next(job, guest->receives ? LAUNCH_GUEST_VIEW : LAUNCH_ENCRYPT);
}

/* The next run of adjacent private steps, merged: the digest does not depend on command boundaries. False: none is left. */
static bool next_run(struct job *job)
{
    const struct manifest_guest *config = job->guest->config;
    job->total = 0;
    for (; job->step < config->step_count; job->step++) {
        const struct manifest_step *step = program_step(config, job->step);
        if (job->total == 0 && step->kind == MANIFEST_STEP_SHARED)
            continue;
        if (job->total != 0 && (step->kind == MANIFEST_STEP_SHARED || step->gpa != job->offset + job->total))
            break;
        if (job->total == 0)
            job->offset = step->gpa;
        job->total += step->size;
    }
    job->size = job->total;
    return job->size != 0;
}

static enum job_verdict encrypt_or_measure(struct job *job)
{
    struct guest *guest = job->guest;
    if (job->size != 0 || next_run(job))
        return JOB_IDLE;
    log_print(LOG_NOTICE, "launch %s: LAUNCH_UPDATE_DATA, %lu KiB encrypted and measured", guest->config->name,
              guest->report.psp_bytes >> 10);
    phase_done(job, LAUNCH_UPDATE);
    return next(job);
}

static uint32_t update_piece(const struct job *job)
{
    return (uint32_t)(job->size < UPDATE_PIECE ? job->size : UPDATE_PIECE);
}

static struct psp_result encrypt(const struct job *job)
{
    paddr_t address = paddr_add(job->guest->memory.base, job->offset); /* inside: place() has looked at each step */
    psp_addr_t where = {view_firmware_address(address, VIEW_ENCRYPTED)};
    return sev_launch_update_data(sev_psp(), job->guest->sev_handle, where, update_piece(job));
}

static enum job_verdict encrypted(struct job *job, struct psp_result result)
{
    struct guest *guest = job->guest;
    uint32_t piece = update_piece(job);
    guest->sev_memory_given = result.error == PSP_TIMEOUT;
    if (!psp_ok(result))
        return failed(guest, result);
    guest->report.psp_bytes += piece;
    job->offset += piece;
    job->size -= piece;
    uint64_t done = job->total - job->size;
    if (job->total > UPDATE_PROGRESS && (done % UPDATE_PROGRESS == 0 || job->size == 0))
        log_print(LOG_NOTICE, "launch %s: encrypted and measured %lu of %lu MiB", guest->config->name, done >> 20,
                  job->total >> 20);
    return JOB_MOVED;
}

static struct psp_result measure(const struct job *job)
{
    return sev_launch_measure(sev_psp(), job->guest->sev_handle);
}

static enum job_verdict measured(struct job *job, struct psp_result result)
{
    struct guest *guest = job->guest;
    result = sev_launch_measure_answer(sev_psp(), result, &guest->measurement);
    if (!psp_ok(result))
        return failed(guest, result);
    log_print(LOG_NOTICE, "launch %s: LAUNCH_MEASURE", guest->config->name);
    phase_done(job, LAUNCH_MEASURE_CMD);
    return next(job);
}

static enum job_verdict finished(struct job *job, struct psp_result result)
{
    if (!psp_ok(result))
        return failed(job->guest, result);
    log_print(LOG_NOTICE, "launch %s: LAUNCH_FINISH", job->guest->config->name);
    return next(job);
}

/* ---- the end of the launch ---- */

/* The CPU with the fewest vCPUs; among equals the boot CPU last, since it also runs jobs and the console. */
static struct cpu *emptiest_cpu(void)
{
    struct cpu *best = this_cpu();
    uint32_t least = best->assigned + 1;
    for (uint32_t i = 1; i < smp_cpus(); i++) {
        struct cpu *cpu = smp_cpu(i);
        uint32_t assigned = cpu != NULL ? __atomic_load_n(&cpu->assigned, __ATOMIC_RELAXED) : UINT32_MAX;
        if (assigned < least) {
            best = cpu;
            least = assigned;
        }
    }
    return best;
}

/* All vCPUs have a CPU before the first one runs, since it may send IPIs to the others. */
static void schedule(struct guest *guest)
{
    for (uint32_t i = 0; i < guest->config->vcpus; i++) {
        uint16_t wanted = guest->config->cpus[i]; /* checked by resources_check() */
        sched_place(wanted != MANIFEST_CPU_ANY ? smp_cpu(wanted) : emptiest_cpu(), guest->vcpus[i]);
    }
    for (uint32_t i = 0; i < guest->config->vcpus; i++)
        sched_add(guest->vcpus[i]);
}

static enum job_verdict run(struct job *job)
{
    struct guest *guest = job->guest;
    guest->state = GUEST_RUNNING;
    guest->report.phase = LAUNCH_FINISH_CMD;
    guest->launches++;
    guest->started_tsc = clock_tsc();
    job_finish(job);
    if (guest->receives)
        log_print(LOG_NOTICE, "launch %s: received", guest->config->name);
    else
        report_launch(guest);
    schedule(guest);
    return JOB_MOVED;
}

static const struct sev_job_row rows[] = {
    [LAUNCH_PREPARE] = {.step = prepare},
    [LAUNCH_ALLOCATE] = {.step = allocate},
    [LAUNCH_CLEAR_VIEW] = {.step = set_view},
    [LAUNCH_CLEAR] = {.step = clear},
    [LAUNCH_PLACE_VIEW] = {.step = set_view},
    [LAUNCH_PLACE] = {.step = place},
    [LAUNCH_PLATFORM] = {.step = await_platform},
    [LAUNCH_SESSION] = {.step = await_session},
    [LAUNCH_BEGIN] = {.submit = begin, .answered = begun},
    [LAUNCH_ACTIVATE] = {.submit = activate, .answered = activated},
    [LAUNCH_ENCRYPT] = {.step = encrypt_or_measure, .submit = encrypt, .answered = encrypted},
    [LAUNCH_MEASURE] = {.submit = measure, .answered = measured},
    [LAUNCH_HOLD] = {.step = await_secret},
    [LAUNCH_FINISH] = {.command = SEV_CMD_LAUNCH_FINISH, .answered = finished},
    [LAUNCH_GUEST_VIEW] = {.step = set_view},
    [LAUNCH_PLACE_SHARED] = {.step = place},
    [LAUNCH_RECEIVE] = {.step = await_content},
    [LAUNCH_RUN] = {.step = run},
};

enum job_verdict launch_step(struct job *job)
{
    struct guest *guest = job->guest;
    bool ended = guest->end != GUEST_END_NONE && sev_mailbox_owner() != job; /* by the operator */
    enum job_verdict verdict = ended ? JOB_MOVED : sev_job_step(job, &rows[job->state]);
    if (verdict == JOB_REFUSED)
        guest->end = GUEST_END_REFUSED;
    if (verdict == JOB_REFUSED || ended)
        job_begin(job, JOB_END, guest);
    return verdict == JOB_REFUSED ? JOB_MOVED : verdict;
}
