/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Executes the manifest's launch program. All launches of the manifest begin at the same time, and allocate memory and
 * ASIDs in the manifest's order; copying one overlaps with the secure processor's work for another.
 */
#include "hv/control/launch.h"

#include "hv/console/log.h"
#include "hv/control/control.h"
#include "hv/control/program.h"
#include "hv/control/release.h"
#include "hv/control/report.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/lib/string.h"
#include "hv/lib/text.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"
#include "hv/svm/asid.h"
#include "hv/vm/pages.h"
#include "hv/vm/sched.h"
#include "hv/vm/vcpu_start.h"

/* Bytes of one LAUNCH_UPDATE_DATA: far below the timeout at the few MiB/s of older parts, and other guests' commands are not
 * delayed for long. And bytes between two progress messages. */
#define UPDATE_PIECE (UINT64_C(1) << 20)
#define UPDATE_PROGRESS (UINT64_C(16) << 20)
#define REASON_SIZE sizeof(((struct guest *)0)->end_reason)
#define OUTSIDE "a step of its launch program is outside its memory"

/* clang-format off */
enum launch_state {
    LAUNCH_PREPARE,
    LAUNCH_ALLOCATE,
    LAUNCH_CLEAR_VIEW, LAUNCH_CLEAR,    /* memory that the launch program does not write */
    LAUNCH_PLACE_VIEW, LAUNCH_PLACE,    /* memory that it writes */
    LAUNCH_PLATFORM,                    /* waits for the secure processor's bring-up */
    LAUNCH_SESSION, LAUNCH_HOLD,        /* wait for the control guest: its session, its secret */
    LAUNCH_BEGIN, LAUNCH_ACTIVATE, LAUNCH_ENCRYPT, LAUNCH_MEASURE, LAUNCH_FINISH,
    LAUNCH_GUEST_VIEW, LAUNCH_PLACE_SHARED,
    LAUNCH_RECEIVE, LAUNCH_RUN,         /* instead: waits for the control guest to fill it */
};
/* clang-format on */

__attribute__((format(printf, 2, 3))) static bool refuse(struct guest *guest, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_format_list(guest->end_reason, REASON_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

static bool refuse_command(struct guest *guest, struct psp_result result)
{
    if (result.error == PSP_DEAD)
        return refuse(guest, "%s", sev_refusal());
    psp_result_text(result, guest->end_reason, REASON_SIZE);
    return false;
}

/* The reason is in guest->end_reason. */
static enum job_verdict refused(struct guest *guest)
{
    guest->end = GUEST_END_REFUSED;
    job_begin(job_of(guest), JOB_END, guest);
    return JOB_MOVED;
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
    guest->session = NULL;
    guest->sev = guest->config->encryption == MANIFEST_ENCRYPTION_SEV;
    guest->report = (struct launch_report){0};
    vuart_reset(&guest->uart, &guest->output);
    job->mark_tsc = clock_tsc();
    job->total = UINT64_MAX; /* no allocation has failed yet */
    job_next(job, LAUNCH_ALLOCATE);
    return JOB_MOVED;
}

/* ---- resources ---- */

static bool check_platform(struct guest *guest)
{
    const struct manifest_guest *config = guest->config;
    for (uint32_t i = 0; i < config->vcpus; i++) {
        if (config->cpus[i] != MANIFEST_CPU_ANY && smp_cpu(config->cpus[i]) == NULL)
            return refuse(guest,
                          "pins vCPU %u to CPU %u, which does not run on this machine: change pins in guests.toml", i,
                          config->cpus[i]);
    }
    if (config->encryption == MANIFEST_ENCRYPTION_HOST && view_c_bit() == 0)
        return refuse(guest, "has encryption = \"host\", but SME is off: enable SMEE in the BIOS, or set encryption = "
                             "\"none\"");
    if (!guest->sev)
        return true;
    if (!sev_ready() && !sev_starting())
        return refuse(guest, "%s", sev_refusal());
    return sev_check_config(config, guest->end_reason, REASON_SIZE);
}

static enum memory_view launch_view(const struct guest *guest)
{
    return guest->config->encryption == MANIFEST_ENCRYPTION_NONE ? VIEW_PLAIN : VIEW_ENCRYPTED;
}

#define NO_PAGES \
    "the hypervisor's own memory has too few pages left for its %s: run fewer guests at a time, or with fewer vCPUs"

/* All resources of the guest; false: some may be allocated, see release_unused(). */
static bool allocate(struct guest *guest)
{
    const struct manifest_guest *config = guest->config;
    struct memory_stats stats;
    memory_stats(&stats);
    uint64_t pool_before = page_free_count();

    guest->asid = asid_alloc(guest->sev ? ASID_SEV : ASID_PLAIN);
    if (guest->asid == 0)
        return refuse(guest, "no ASID is free for %s guest", guest->sev ? "another encrypted" : "another plain");
    if (!extent_alloc(config->memory, &guest->memory))
        return refuse(guest, "needs %lu MiB of contiguous memory; %lu MiB are free in total", config->memory >> 20,
                      stats.extent_free >> 20);
    if (!npt_create(&guest->npt) || !npt_map(&guest->npt, gpaddr(0), guest->memory.base, config->memory,
                                             guest->sev ? VIEW_GUEST : launch_view(guest)))
        return refuse(guest, NO_PAGES, "nested page tables");
    if ((config->flags & MANIFEST_GUEST_SNAPSHOT) != 0 && !npt_split(&guest->npt, gpaddr(0), config->memory))
        return refuse(guest, NO_PAGES, "nested page tables of 4 KiB");
    if (!pages_create(guest))
        return refuse(guest, NO_PAGES, "list of shared pages");
    if ((config->flags & MANIFEST_GUEST_CONTROL) != 0 && !control_open(guest))
        return refuse(guest, "needs 2 MiB more, for the window of the control interface");
    for (uint32_t i = 0; i < config->vcpus; i++) {
        if (!vcpu_create(guest, i, &config->registers, &guest->vcpus[i]))
            return refuse(guest, NO_PAGES, "vCPUs");
    }
    guest->report.table_pages = guest->npt.pages;
    guest->report.hv_pages = pool_before - page_free_count() - guest->npt.pages;
    return true;
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

static enum job_verdict allocate_step(struct job *job)
{
    struct guest *guest = job->guest;
    if (job->total == job_count_finished())
        return JOB_WAITS; /* nothing was released since the last attempt */
    if (!check_platform(guest))
        return refused(guest);
    if (!allocate(guest)) {
        release_unused(guest);
        job->total = job_count_finished();
        return others_hold(guest) ? JOB_WAITS : refused(guest);
    }
    guest->end_reason[0] = '\0';
    log_print(LOG_NOTICE, "launch %s: %lu MiB at 0x%lx, ASID %u", guest->config->name, guest->config->memory >> 20,
              guest->memory.base.raw, guest->asid);
    phase_done(job, LAUNCH_ALLOC);
    job_next(job, LAUNCH_CLEAR_VIEW);
    return JOB_MOVED;
}

/* ---- memory ---- */

static enum job_verdict set_view(struct job *job, enum memory_view view, enum launch_state next)
{
    if (!wbinvd_set_view(&job->wbinvd, &job->guest->memory, view))
        return JOB_WAITS;
    job->step = 0;
    job->offset = job->total = 0;
    job_next(job, next);
    return JOB_MOVED;
}

/* What is received has nothing of the launch program. */
static uint32_t step_count(const struct guest *guest)
{
    return guest->receives ? 0 : guest->config->step_count;
}

/* Zeroes all memory that the launch program does not write, since RAM holds old data. A SEV guest reads zeros through C=0;
 * through C=1 the content is undefined. ZERO steps of a SEV guest are not skipped here: they are written by place(), to be
 * encrypted in place. Invariant: all memory below job->offset is zero or belongs to a step. */
static enum job_verdict clear(struct job *job)
{
    struct guest *guest = job->guest;
    uint32_t steps = step_count(guest);
    for (; job->step <= steps; job->step++) {
        const struct manifest_step *step = job->step < steps ? program_step(guest->config, job->step) : NULL;
        uint64_t end = step != NULL ? step->gpa : guest->memory.size;
        paddr_t address;
        if (step != NULL && !guest_ram_address(guest, gpaddr(step->gpa), step->size, &address)) {
            refuse(guest, OUTSIDE);
            return refused(guest);
        }
        if (step != NULL && !guest->sev && step->kind == MANIFEST_STEP_ZERO)
            continue;
        if (job->offset < end) {
            uint64_t piece = JOB_PIECE - (job->offset & (JOB_PIECE - 1));
            piece = piece < end - job->offset ? piece : end - job->offset;
            if (!extent_zero(&guest->memory, job->offset, piece)) {
                refuse(guest, "no address space or pool page is left to clear its memory");
                return refused(guest);
            }
            job->offset += piece;
            return JOB_MOVED;
        }
        if (step != NULL && job->offset < step->gpa + step->size)
            job->offset = step->gpa + step->size;
    }
    job_next(job, LAUNCH_PLACE_VIEW);
    return JOB_MOVED;
}

/* The next piece of a step's bytes, through `view`. */
static bool copy_piece(struct job *job, const struct manifest_step *step, enum memory_view view)
{
    struct guest *guest = job->guest;
    uint64_t piece = step->size - job->offset < JOB_PIECE ? step->size - job->offset : JOB_PIECE;
    const uint8_t *bytes = NULL;
    paddr_t address;
    if (!guest_ram_address(guest, gpaddr(step->gpa), step->size, &address))
        return refuse(guest, OUTSIDE);
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
    return true;
}

/* Whether this state writes the step. PLACE writes all steps of a plain or host guest, and those of a SEV guest that will be
 * encrypted in place. The zeros of clear() are flushed by the change of view, before an access under another key. */
static bool is_placed(const struct job *job, const struct manifest_step *step)
{
    if (job->state == LAUNCH_PLACE_SHARED)
        return step->kind == MANIFEST_STEP_SHARED;
    return job->guest->sev ? step->kind != MANIFEST_STEP_SHARED : step->kind != MANIFEST_STEP_ZERO;
}

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
        uint16_t wanted = guest->config->cpus[i]; /* checked by check_platform() */
        sched_place(wanted != MANIFEST_CPU_ANY ? smp_cpu(wanted) : emptiest_cpu(), guest->vcpus[i]);
    }
    for (uint32_t i = 0; i < guest->config->vcpus; i++)
        sched_add(guest->vcpus[i]);
}

static enum job_verdict await(struct job *job, enum launch_state state, enum control_state awaited, const char *what)
{
    job->guest->awaits = awaited;
    job_next(job, state);
    log_print(LOG_NOTICE, "launch %s: waits for %s, by the control guest", job->guest->config->name, what);
    return JOB_MOVED;
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

static enum job_verdict place(struct job *job)
{
    struct guest *guest = job->guest;
    bool shared = job->state == LAUNCH_PLACE_SHARED;
    for (; job->step < step_count(guest); job->step++, job->offset = 0) {
        const struct manifest_step *step = program_step(guest->config, job->step);
        if (!is_placed(job, step) || job->offset == step->size)
            continue;
        /* Shared pages are plain: the guest maps them with C=0. */
        return copy_piece(job, step, shared ? VIEW_PLAIN : guest->memory.view) ? JOB_MOVED : refused(guest);
    }
    if (guest->receives && (shared || !guest->sev))
        return await(job, LAUNCH_RECEIVE, CONTROL_STATE_RECEIVING, "its memory and state");
    if (shared) {
        phase_done(job, LAUNCH_FINISH_CMD);
        return run(job);
    }
    log_print(LOG_NOTICE, "launch %s: %lu KiB placed", guest->config->name, job->total >> 10);
    phase_done(job, LAUNCH_COPY);
    if (!guest->sev)
        return run(job);
    job_next(job, LAUNCH_PLATFORM);
    return JOB_MOVED;
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

/* Whether there is a control guest that runs, or is about to. */
static bool has_control(void)
{
    for (uint32_t i = 0, count = guest_count(); i < count; i++)
        if ((guests[i].config->flags & MANIFEST_GUEST_CONTROL) != 0 && !guests[i].stays_ended)
            return true;
    return false;
}

static enum job_verdict go_on(struct job *job, enum launch_state next)
{
    bool control = has_control();
    if (job->guest->awaits != 0 && control && (sev_ready() || !job->guest->sev))
        return JOB_WAITS;
    if (job->guest->awaits != 0) {
        refuse(job->guest, "%s",
               control ? sev_refusal() : "waits for the control guest, which does not run: launch that first");
        return refused(job->guest);
    }
    job->mark_tsc = clock_tsc(); /* nobody's phase */
    job_next(job, next);
    return JOB_MOVED;
}

static enum job_verdict await_platform(struct job *job)
{
    const uint8_t *dh_cert, *session;
    if (sev_starting())
        return JOB_WAITS;
    job_next(job, LAUNCH_BEGIN);
    if (!sev_ready())
        refuse(job->guest, "%s", sev_refusal());
    else if (!find_session(job->guest, &dh_cert, &session))
        refuse(job->guest, "its launch session is outside the manifest");
    else if (job->guest->receives || (job->guest->config->flags & MANIFEST_GUEST_SESSION_AT_LAUNCH) != 0)
        return await(job, LAUNCH_SESSION, CONTROL_STATE_SESSION, "its session");
    else
        return JOB_MOVED;
    return refused(job->guest);
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

static void encrypt_or_measure(struct job *job)
{
    struct guest *guest = job->guest;
    if (next_run(job))
        return;
    log_print(LOG_NOTICE, "launch %s: LAUNCH_UPDATE_DATA, %lu KiB encrypted and measured", guest->config->name,
              guest->report.psp_bytes >> 10);
    phase_done(job, LAUNCH_UPDATE);
    job_next(job, LAUNCH_MEASURE);
}

static uint32_t update_piece(const struct job *job)
{
    return (uint32_t)(job->size < UPDATE_PIECE ? job->size : UPDATE_PIECE);
}

static struct psp_result submit_update(const struct job *job)
{
    paddr_t address;
    if (!guest_ram_address(job->guest, gpaddr(job->offset), job->size, &address))
        return (struct psp_result){.error = PSP_LENGTH, .command = SEV_CMD_LAUNCH_UPDATE_DATA};
    psp_addr_t where = {view_firmware_address(address, VIEW_ENCRYPTED)};
    return sev_launch_update_data(sev_psp(), job->guest->sev_handle, where, update_piece(job));
}

static struct psp_result submit(const struct job *job)
{
    const struct guest *guest = job->guest;
    const uint8_t *dh_cert, *session;
    switch (job->state) {
    case LAUNCH_BEGIN:
        (void)find_session(guest, &dh_cert, &session);
        return sev_guest_start(sev_psp(), guest->receives ? SEV_CMD_RECEIVE_START : SEV_CMD_LAUNCH_START,
                               guest->sev_policy, dh_cert, session);
    case LAUNCH_ACTIVATE:
        return sev_activate(sev_psp(), guest->sev_handle, guest->asid);
    case LAUNCH_ENCRYPT:
        return submit_update(job);
    case LAUNCH_MEASURE:
        return sev_launch_measure(sev_psp(), guest->sev_handle);
    default:
        return sev_command(sev_psp(), SEV_CMD_LAUNCH_FINISH, guest->sev_handle);
    }
}

static void encrypted(struct job *job)
{
    struct guest *guest = job->guest;
    uint32_t piece = update_piece(job);
    guest->report.psp_bytes += piece;
    job->offset += piece;
    job->size -= piece;
    uint64_t done = job->total - job->size;
    if (job->total > UPDATE_PROGRESS && (done % UPDATE_PROGRESS == 0 || job->size == 0))
        log_print(LOG_NOTICE, "launch %s: encrypted and measured %lu of %lu MiB", guest->config->name, done >> 20,
                  job->total >> 20);
    if (job->size == 0)
        encrypt_or_measure(job);
}

/* Handles the command's result, a timeout included, and sets the next state. */
static struct psp_result answered(struct job *job, struct psp_result result)
{
    struct guest *guest = job->guest;
    const char *name = guest->config->name;
    bool silent = result.error == PSP_TIMEOUT;
    switch (job->state) {
    case LAUNCH_BEGIN:
        result = sev_guest_start_answer(sev_psp(), result, &guest->sev_handle);
        guest->sev_context = psp_ok(result);
        guest->session = NULL;
        job_next(job, LAUNCH_ACTIVATE);
        break;
    case LAUNCH_ACTIVATE:
        guest->sev_active = psp_ok(result) || silent; /* after a timeout the key may be installed */
        if (!psp_ok(result))
            break;
        log_print(LOG_NOTICE, "launch %s: handle %u, ACTIVATE on ASID %u", name, guest->sev_handle, guest->asid);
        phase_done(job, LAUNCH_START_CMD);
        job_next(job, guest->receives ? LAUNCH_GUEST_VIEW : LAUNCH_ENCRYPT);
        job->step = 0;
        if (!guest->receives)
            encrypt_or_measure(job);
        break;
    case LAUNCH_ENCRYPT:
        guest->sev_memory_given = silent;
        if (psp_ok(result))
            encrypted(job);
        break;
    case LAUNCH_MEASURE:
        result = sev_launch_measure_answer(sev_psp(), result, &guest->measurement);
        if (!psp_ok(result))
            break;
        log_print(LOG_NOTICE, "launch %s: LAUNCH_MEASURE", name);
        phase_done(job, LAUNCH_MEASURE_CMD);
        job_next(job, LAUNCH_FINISH);
        if ((guest->config->flags & MANIFEST_GUEST_REQUIRE_SECRET) != 0)
            (void)await(job, LAUNCH_HOLD, CONTROL_STATE_HELD, "its secret");
        break;
    default:
        if (!psp_ok(result))
            break;
        log_print(LOG_NOTICE, "launch %s: LAUNCH_FINISH", name);
        job_next(job, LAUNCH_GUEST_VIEW);
        break;
    }
    return result;
}

static enum job_verdict command(struct job *job)
{
    struct psp_result result;
    enum job_verdict verdict = sev_mailbox(job, &result);
    if (verdict == JOB_IDLE) {
        result = submit(job);
        if (sev_submitted(job, result))
            return JOB_MOVED;
    } else if (verdict != JOB_MOVED) {
        return verdict;
    }
    result = answered(job, result);
    if (psp_ok(result))
        return JOB_MOVED;
    refuse_command(job->guest, result);
    return refused(job->guest);
}

enum job_verdict launch_step(struct job *job)
{
    struct guest *guest = job->guest;
    if (guest->end != GUEST_END_NONE && sev_mailbox_owner() != job) {
        job_begin(job, JOB_END, guest); /* by the operator */
        return JOB_MOVED;
    }
    switch ((enum launch_state)job->state) {
    case LAUNCH_PREPARE:
        return prepare(job);
    case LAUNCH_ALLOCATE:
        return allocate_step(job);
    case LAUNCH_CLEAR_VIEW:
        return set_view(job, guest_shared_view(guest), LAUNCH_CLEAR);
    case LAUNCH_CLEAR:
        return clear(job);
    case LAUNCH_PLACE_VIEW:
        return set_view(job, launch_view(guest), LAUNCH_PLACE);
    case LAUNCH_GUEST_VIEW:
        return set_view(job, VIEW_GUEST, LAUNCH_PLACE_SHARED);
    case LAUNCH_PLACE:
    case LAUNCH_PLACE_SHARED:
        return place(job);
    case LAUNCH_PLATFORM:
        return await_platform(job);
    case LAUNCH_SESSION:
        return go_on(job, LAUNCH_BEGIN);
    case LAUNCH_HOLD:
        return go_on(job, LAUNCH_FINISH);
    case LAUNCH_RECEIVE:
        return go_on(job, LAUNCH_RUN);
    case LAUNCH_RUN:
        return run(job);
    case LAUNCH_BEGIN:
    case LAUNCH_ACTIVATE:
    case LAUNCH_ENCRYPT:
    case LAUNCH_MEASURE:
    case LAUNCH_FINISH:
    default:
        return command(job);
    }
}
