/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Executes the manifest's launch program. The table is used from hv's own copy only;
 * payload is read where boot/ put it, within the bounds that the copy states and that
 * are checked here once more. A launch succeeds whole, or leaves nothing behind.
 */
#include "hv/control/launch.h"

#include "hv/console/log.h"
#include "hv/console/output.h"
#include "hv/control/identity.h"
#include "hv/control/report.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/smp.h"
#include "hv/lib/string.h"
#include "hv/lib/text.h"
#include "hv/mm/hostmap.h"
#include "hv/monitor/monitor.h"
#include "hv/svm/asid.h"
#include "hv/vm/sched.h"
#include "hv/vm/vcpu.h"

#define COPY_PIECE (UINT64_C(4) << 20)      /* of guest memory that is mapped at a time */
#define REASON_SIZE sizeof(((struct guest *)0)->end_reason)
#define OUTSIDE "a step of its launch program is outside of its memory"

static struct {
    const uint8_t *manifest;    /* a window that stays: relaunches read it again */
    uint64_t size;
    const uint8_t *table;       /* hv's copy of header, guests and steps */
} source;

static uint64_t pages_of(uint64_t bytes)
{
    return bytes / PAGE_SIZE + (bytes % PAGE_SIZE != 0);
}

/* ---- the manifest ---- */

/* Bytes of header, guests and steps, as the header itself says. 0: more than there can be. */
static uint64_t table_size(const struct manifest_header *header, uint64_t limit)
{
    uint64_t size = sizeof *header;
    if (header->guest_count > MANIFEST_MAX_GUESTS || header->step_count > MANIFEST_MAX_STEPS)
        return 0;
    size += header->guest_count * sizeof(struct manifest_guest) + header->step_count * sizeof(struct manifest_step);
    return size <= limit ? size : 0;
}

/* Copies the table, then checks the manifest, then that the copy is what was checked. */
static bool take_table(void)
{
    struct manifest_header header;
    struct manifest_where where = {-1, -1};
    paddr_t copy;
    if (source.size < sizeof header) {
        log_print(LOG_ERROR, "the manifest is shorter than its header: put it into the EFI file again with guest/pack.py");
        return false;
    }
    memcpy(&header, source.manifest, sizeof header);
    uint64_t size = table_size(&header, source.size);
    if (size == 0)
        size = sizeof header;       /* manifest_check() says what is wrong */
    if (!page_alloc(pages_of(size), 1, &copy)) {
        log_print(LOG_ERROR, "no guest is launched: there is no room in hv's memory for the manifest's table of %lu bytes", size);
        return false;
    }
    memcpy(page_va(copy), source.manifest, size);
    enum manifest_error error = manifest_check(source.manifest, source.size, &where);
    if (error != MANIFEST_OK) {
        log_print(LOG_ERROR, "the manifest is refused: %s: %s (guest %d, step %d)", manifest_error_name(error),
                  manifest_error_text(error), where.guest, where.step);
    } else if (memcmp(page_va(copy), &header, sizeof header) != 0 || memcmp(page_va(copy), source.manifest, size) != 0) {
        log_print(LOG_ERROR, "the manifest changed while it was read: no guest is launched; its memory is faulty, or a device wrote to it");
    } else {
        source.table = page_va(copy);
        return true;
    }
    page_free(copy, pages_of(size));
    return false;
}

static bool open_manifest(const struct handoff *handoff)
{
    source.size = handoff->manifest_size;
    if (source.size == 0 || source.size > MANIFEST_MAX_SIZE || handoff->manifest_base % PAGE_SIZE != 0) {
        log_print(LOG_ERROR, "this EFI file has no manifest, so there are no guests to launch: add one with guest/pack.py");
        return false;
    }
    source.manifest = window_map(paddr(handoff->manifest_base), pages_of(source.size) * PAGE_SIZE, VIEW_PLAIN);
    if (source.manifest == NULL) {
        log_print(LOG_ERROR, "no guest is launched: a manifest of %lu MiB is more than hv can map: pack smaller or fewer guests",
                  source.size >> 20);
        return false;
    }
    return take_table();
}

/* Payload [offset, offset+size), or NULL. */
static const uint8_t *payload(uint64_t offset, uint64_t size)
{
    uint64_t end;
    if (__builtin_add_overflow(offset, size, &end) || end > source.size)
        return NULL;
    return source.manifest + offset;
}

/* ---- one launch ---- */

__attribute__((format(printf, 2, 3)))
static bool refuse(struct guest *guest, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    text_format_list(guest->end_reason, REASON_SIZE, format, arguments);
    va_end(arguments);
    return false;
}

static bool refuse_command(struct guest *guest, struct psp_result result)
{
    psp_result_text(result, guest->end_reason, REASON_SIZE);
    return false;
}

/* Cycles since `mark` go to `phase`. */
static void phase_done(struct guest *guest, enum launch_phase phase, uint64_t *mark)
{
    uint64_t now = clock_tsc();
    guest->report.tsc[phase] += now - *mark;
    *mark = now;
}

static bool check_platform(struct guest *guest)
{
    const struct manifest_guest *config = guest->config;
    for (uint32_t i = 0; i < config->vcpus; i++) {
        if (config->cpus[i] != MANIFEST_CPU_ANY && smp_cpu(config->cpus[i]) == NULL)
            return refuse(guest, "wants its vCPU %u on CPU %u, which does not run here: change pins in guests.toml", i,
                          config->cpus[i]);
    }
    if (config->encryption == MANIFEST_ENCRYPTION_HOST && hostmap_c_bit() == 0)
        return refuse(guest, "wants encryption = \"host\", but SME is not on: enable SMEE in the BIOS, or set encryption = \"none\"");
    if (!guest->sev)
        return true;
    if (!sev_ready())
        return refuse(guest, "%s", sev_refusal());
    return sev_check_config(config, guest->end_reason, REASON_SIZE);
}

static enum memory_view launch_view(const struct guest *guest)
{
    return guest->config->encryption == MANIFEST_ENCRYPTION_NONE ? VIEW_PLAIN : VIEW_ENCRYPTED;
}

/* Everything of hv's own that the guest needs, before a byte is copied. */
static bool allocate(struct guest *guest)
{
    const struct manifest_guest *config = guest->config;
    struct memory_stats stats;
    memory_stats(&stats);
    uint64_t pool_before = stats.pool_free;

    guest->asid = asid_alloc(guest->sev ? ASID_SEV : ASID_PLAIN);
    if (guest->asid == 0)
        return refuse(guest, "no ASID is free for %s guest", guest->sev ? "another encrypted" : "another plain");
    if (!extent_alloc(config->memory, &guest->memory)) {
        guest->memory = (struct extent){0};
        return refuse(guest, "wants %lu MiB in one piece; %lu MiB are free in all", config->memory >> 20,
                      stats.extent_free >> 20);
    }
    if (!npt_create(&guest->npt)) {
        guest->npt = (struct npt){0};
        return refuse(guest, "the hypervisor's own memory has no page left for its nested page tables: run fewer guests at a time");
    }
    if (!npt_map(&guest->npt, gpaddr(0), guest->memory.base, config->memory,
                 guest->sev ? VIEW_GUEST : launch_view(guest)))
        return refuse(guest, "the hypervisor's own memory has too few pages left for its nested page tables: run fewer guests at a time");
    for (uint32_t i = 0; i < config->vcpus; i++) {
        if (!vcpu_create(guest, i, &config->registers, &guest->vcpus[i])) {
            guest->vcpus[i] = NULL;
            return refuse(guest, "the hypervisor's own memory has no pages left for its vCPU %u: give it fewer vCPUs, or run fewer guests at a time", i);
        }
    }
    memory_stats(&stats);
    guest->report.table_pages = guest->npt.pages;
    guest->report.hv_pages = pool_before - stats.pool_free - guest->npt.pages;
    return true;
}

/* Writes one step's bytes through `view`. */
static bool copy_step(struct guest *guest, const struct manifest_step *step, enum memory_view view)
{
    const uint8_t *bytes = NULL;
    paddr_t address;
    if (!guest_ram_address(guest, gpaddr(step->gpa), step->size, &address))
        return refuse(guest, OUTSIDE);
    if (step->kind != MANIFEST_STEP_ZERO && (bytes = payload(step->payload_offset, step->size)) == NULL)
        return refuse(guest, "a step's payload is outside of the manifest");
    for (uint64_t done = 0; done < step->size;) {
        uint64_t piece = step->size - done < COPY_PIECE ? step->size - done : COPY_PIECE;
        void *window = window_map(paddr_add(address, done), piece, view);
        if (window == NULL)
            return refuse(guest, "no address space is left to fill its memory");
        if (bytes == NULL)
            memset(window, 0, piece);
        else
            memcpy(window, bytes + done, piece);
        if (guest->sev)
            cache_flush(window, piece);     /* the firmware and the guest's key go past the cache */
        window_unmap(window, piece);
        done += piece;
        sched_breathe(false);
    }
    return true;
}

static const struct manifest_step *step_of(const struct guest *guest, uint32_t i)
{
    return manifest_step(source.table, guest->config->first_step + i);
}

static bool zero(struct guest *guest, uint64_t start, uint64_t end)
{
    return start >= end || extent_zero(&guest->memory, start, end - start) ||
           refuse(guest, "no address space or pool page is left to clear its memory");
}

/* RAM holds what was there before this machine's start, or its last owner's: whatever the launch program does not
 * write is zero, as the nested tables show it: under SEV, to a guest that reads it as shared. (As private it is
 * undefined.) ZERO steps of a SEV guest are written with the others, to be encrypted in place. */
static bool zero_rest(struct guest *guest)
{
    uint64_t done = 0;      /* all below is zero, or some step's */
    for (uint32_t i = 0; i < guest->config->step_count; i++) {
        const struct manifest_step *step = step_of(guest, i);
        paddr_t address;
        if (!guest_ram_address(guest, gpaddr(step->gpa), step->size, &address))
            return refuse(guest, OUTSIDE);
        if (!guest->sev && step->kind == MANIFEST_STEP_ZERO)
            continue;
        if (!zero(guest, done, step->gpa))
            return false;
        if (done < step->gpa + step->size)
            done = step->gpa + step->size;
    }
    return zero(guest, done, guest->memory.size);
}

/* none, host: all that the guest starts with. sev: what will be encrypted in place, and the zeros around it, which
 * the change of view flushes before anybody looks at the memory under another key. */
static bool fill_memory(struct guest *guest)
{
    uint64_t bytes = 0;
    extent_set_view(&guest->memory, guest_shared_view(guest));
    if (!zero_rest(guest))
        return false;
    extent_set_view(&guest->memory, launch_view(guest));
    for (uint32_t i = 0; i < guest->config->step_count; i++) {
        const struct manifest_step *step = step_of(guest, i);
        if (guest->sev ? step->kind == MANIFEST_STEP_SHARED : step->kind == MANIFEST_STEP_ZERO)
            continue;
        if (!copy_step(guest, step, guest->memory.view))
            return false;
        bytes += step->size;
    }
    log_print(LOG_NOTICE, "launch %s: %lu KiB placed", guest->config->name, bytes >> 10);
    return true;
}

/* The private steps in their order; neighbours in one go: the digest knows no borders. */
static bool encrypt_memory(struct guest *guest)
{
    for (uint32_t i = 0; i < guest->config->step_count;) {
        const struct manifest_step *step = step_of(guest, i++);
        if (step->kind == MANIFEST_STEP_SHARED)
            continue;
        uint64_t start = step->gpa, size = step->size;
        for (; i < guest->config->step_count; i++) {
            step = step_of(guest, i);
            if (step->kind == MANIFEST_STEP_SHARED || step->gpa != start + size)
                break;
            size += step->size;
        }
        struct psp_result result = sev_guest_update(guest, gpaddr(start), size);
        if (!psp_ok(result))
            return refuse_command(guest, result);
    }
    log_print(LOG_NOTICE, "launch %s: LAUNCH_UPDATE_DATA, %lu KiB encrypted and measured", guest->config->name,
              guest->report.psp_bytes >> 10);
    return true;
}

/* What the guest finds readable for hv, as its page tables expect it: plain. */
static bool fill_shared(struct guest *guest)
{
    for (uint32_t i = 0; i < guest->config->step_count; i++) {
        const struct manifest_step *step = step_of(guest, i);
        if (step->kind == MANIFEST_STEP_SHARED && !copy_step(guest, step, VIEW_PLAIN))
            return false;
    }
    return true;
}

static bool launch_sev(struct guest *guest, uint64_t *mark)
{
    const struct manifest_guest *config = guest->config;
    const uint8_t *dh_cert = NULL, *session = NULL;
    if (config->dh_cert_size != 0 || config->session_size != 0) {
        dh_cert = payload(config->dh_cert_offset, SEV_CERT_SIZE);
        session = payload(config->session_offset, SEV_SESSION_SIZE);
        if (dh_cert == NULL || session == NULL || config->dh_cert_size != SEV_CERT_SIZE ||
            config->session_size != SEV_SESSION_SIZE)
            return refuse(guest, "its launch session is outside of the manifest");
    }
    struct psp_result result = sev_guest_begin(guest, dh_cert, session);
    if (!psp_ok(result))
        return refuse_command(guest, result);
    log_print(LOG_NOTICE, "launch %s: LAUNCH_START gave handle %u, ACTIVATE on ASID %u", config->name,
              guest->sev_handle, guest->asid);
    phase_done(guest, LAUNCH_START_CMD, mark);

    if (!encrypt_memory(guest))
        return false;
    phase_done(guest, LAUNCH_UPDATE, mark);

    result = sev_guest_measure(guest);
    if (!psp_ok(result))
        return refuse_command(guest, result);
    log_print(LOG_NOTICE, "launch %s: LAUNCH_MEASURE", config->name);
    phase_done(guest, LAUNCH_MEASURE_CMD, mark);

    result = sev_guest_finish(guest);
    if (!psp_ok(result))
        return refuse_command(guest, result);
    log_print(LOG_NOTICE, "launch %s: LAUNCH_FINISH", config->name);
    extent_set_view(&guest->memory, VIEW_GUEST);
    if (!fill_shared(guest))
        return false;
    phase_done(guest, LAUNCH_FINISH_CMD, mark);
    return true;
}

static bool run_program(struct guest *guest)
{
    uint64_t mark = clock_tsc();
    if (!check_platform(guest) || !allocate(guest))
        return false;
    log_print(LOG_NOTICE, "launch %s: %lu MiB at 0x%lx, ASID %u", guest->config->name, guest->config->memory >> 20,
              guest->memory.base.raw, guest->asid);
    phase_done(guest, LAUNCH_ALLOC, &mark);
    if (!fill_memory(guest))
        return false;
    phase_done(guest, LAUNCH_COPY, &mark);
    return !guest->sev || launch_sev(guest, &mark);
}

/* The CPU with the fewest vCPUs. The boot CPU has launches and the console to do, so it comes last among equals. */
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

/* All vCPUs have their CPUs before the first of them runs, and sends to the others. */
static void schedule(struct guest *guest)
{
    for (uint32_t i = 0; i < guest->config->vcpus; i++) {
        uint16_t wanted = guest->config->cpus[i];       /* check_platform() saw it */
        sched_place(wanted != MANIFEST_CPU_ANY ? smp_cpu(wanted) : emptiest_cpu(), guest->vcpus[i]);
    }
    for (uint32_t i = 0; i < guest->config->vcpus; i++)
        sched_add(guest->vcpus[i]);
}

bool launch_guest(struct guest *guest)
{
    uint64_t commands = sev_commands();
    guest->state = GUEST_LAUNCHING;
    guest->end = GUEST_END_NONE;
    guest->end_reason[0] = '\0';
    guest->stranded = 0;
    guest->bus_pages = 0;
    guest->sev = guest->config->encryption == MANIFEST_ENCRYPTION_SEV;
    guest->report = (struct launch_report){0};
    guest->measurement = (struct sev_measurement){0};
    vuart_reset(&guest->uart, &guest->output);

    if (!run_program(guest)) {
        guest_release(guest);
        guest->state = GUEST_REFUSED;
        guest->end = GUEST_END_REFUSED;
        log_print(LOG_ERROR, "%s is refused: %s", guest->config->name, guest->end_reason);
        monitor_guest_ended(guest->index, true);
        return false;
    }
    guest->report.commands = sev_commands() - commands;
    guest->state = GUEST_RUNNING;
    guest->launches++;
    guest->started_tsc = clock_tsc();
    report_launch(guest);
    schedule(guest);
    return true;
}

static void start_sev(const struct handoff *handoff, bool has_session)
{
    const struct manifest_header *header = (const void *)source.table;
    bool show = (header->flags & MANIFEST_SHOW_PDH) != 0;
    const uint8_t *version = header->sev_firmware_version;
    paddr_t image = paddr_add(paddr(handoff->manifest_base), header->payload_offset);
    struct sev_wishes wishes = {
        .image = {hostmap_firmware_address(image, VIEW_PLAIN)},
        .image_size = header->sev_firmware_size,
        .image_version = SEV_VERSION(version[2], version[1], version[0]),
        .pdh = show || has_session,
    };
    sev_start(handoff, &wishes);
    if (show)
        identity_show();
}

void guest_launch_all(const struct handoff *handoff)
{
    bool has_session = false;
    if (!open_manifest(handoff))
        return;
    const struct manifest_header *header = (const void *)source.table;
    uint32_t count = header->guest_count;
    bool wants_sev = (header->flags & MANIFEST_SHOW_PDH) != 0;
    for (uint32_t i = 0; i < count; i++) {
        guests[i].index = i;
        guests[i].config = manifest_guest(source.table, i);
        guests[i].restarts_left = guests[i].config->restarts;
        wants_sev |= guests[i].config->encryption == MANIFEST_ENCRYPTION_SEV;
        has_session |= guests[i].config->session_size != 0;
        paddr_t history, input;
        bool keeps = page_alloc(pages_of(OUTPUT_HISTORY), 1, &history);
        output_init(&guests[i].output, i, guests[i].config->name, keeps ? page_va(history) : NULL);
        if (page_alloc(pages_of(VUART_INPUT), 1, &input))
            guests[i].uart.input = page_va(input);
    }
    log_print(LOG_NOTICE, "the manifest has %u guests", count);
    if (wants_sev)
        start_sev(handoff, has_session);
    guest_resources_mark();
    for (uint32_t i = 0; i < count; i++) {
        if (!launch_guest(&guests[i]))
            guest_resources_check();
    }
}
