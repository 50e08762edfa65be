/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The platform job (DOWNLOAD_FIRMWARE, INIT, DF_FLUSH, certificates), and who owns the outstanding command. */
#include "hv/control/sev.h"

#include "hv/console/log.h"
#include "hv/control/identity.h"
#include "hv/control/program.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/pci.h"
#include "hv/lib/text.h"
#include "hv/lib/width.h"
#include "hv/lib/x86.h"
#include "hv/mm/page.h"
#include "hv/vm/guest.h"

#define C_BIT_POSITION(ebx) ((ebx) & 0x3fu)
#define PHYS_BITS_REDUCTION(ebx) ((ebx) >> 6 & 0x3fu)

static struct psp psp;
static bool ready;
static char refusal[SEV_TEXT] = "the secure processor was not started";
static struct job *mailbox_owner;   /* the job whose command is outstanding; NULL: none */

/* Bring-up of the platform, from any state that earlier software left it in to INIT. A state's low byte is the command that is
 * sent in it. */
#define STATE(command, purpose) (SEV_CMD_##command | (purpose) << 8)
/* clang-format off */
enum platform_state {
    PLATFORM_ATTACH,                                /* psp_attach() has sent its command */
    PLATFORM_LEFT = STATE(SHUTDOWN, 0),             /* as it was left initialised */
    PLATFORM_DOWNLOAD = SEV_CMD_DOWNLOAD_FIRMWARE,
    PLATFORM_DOWNLOADED = STATE(PLATFORM_STATUS, 0),
    PLATFORM_INIT = SEV_CMD_INIT,
    PLATFORM_DF_FLUSH = SEV_CMD_DF_FLUSH,
    PLATFORM_STATUS = STATE(PLATFORM_STATUS, 1),
    PLATFORM_CHAIN = SEV_CMD_PDH_CERT_EXPORT,
    PLATFORM_ID = SEV_CMD_GET_ID,
    PLATFORM_REINIT = STATE(SHUTDOWN, 1),           /* then INIT again */
    PLATFORM_UNDO = STATE(SHUTDOWN, 2),             /* after a failed DF_FLUSH */
    PLATFORM_DOWN = STATE(PLATFORM_STATUS, 2),      /* after what the control guest did in UNINIT, or to come there */
    PLATFORM_STOP = STATE(SHUTDOWN, 3),             /* before power-off */
};
/* clang-format on */

static struct {
    struct job job;
    psp_addr_t image; /* the manifest's SEV firmware */
    uint32_t image_size, image_version; /* 0: none; its SEV_VERSION(), as the manifest says */
    bool pdh, show; /* test whether the PDH survives INIT; print the platform's certificates */
    uint32_t version_before; /* SEV firmware before DOWNLOAD_FIRMWARE */
    struct psp_result result; /* of DOWNLOAD_FIRMWARE, of DF_FLUSH */
    bool wbinvd_first; /* WBINVD on every CPU before the state's command */
    bool init_reset, init_flushed; /* INIT was repeated after SECURE_DATA_INVALID, after WBINVD_REQUIRED */
    bool second; /* after PLATFORM_REINIT */
    uint8_t *nv; /* INIT_EX's persistent data; NULL: never used */
} platform;

/* ---- the mailbox ---- */

static void refuse(const char *where, struct psp_result result)
{
    char text[SEV_TEXT];
    psp_result_text(result, text, sizeof(text));
    text_format(refusal, sizeof(refusal), "%s%s", where, text);
    ready = false;
}

struct psp *sev_psp(void)
{
    return &psp;
}

struct job *sev_mailbox_owner(void)
{
    return mailbox_owner;
}

enum job_verdict sev_mailbox(const struct job *job, struct psp_result *result)
{
    if (mailbox_owner == NULL)
        return JOB_IDLE;
    if (mailbox_owner != job)
        return JOB_WANTS_MAILBOX;
    if (!psp_poll(&psp, result))
        return JOB_WAITS;
    mailbox_owner = NULL;
    if (result->error == PSP_TIMEOUT && job != &platform.job)
        refuse("an earlier command failed: ", *result);
    return JOB_MOVED;
}

bool sev_submitted(struct job *job, struct psp_result result)
{
    if (!psp_ok(result))
        return false;
    mailbox_owner = job;
    if (job->guest != NULL)
        job->guest->report.commands++;
    return true;
}

enum job_verdict sev_job_step(struct job *job, const struct sev_job_row *row)
{
    struct psp_result result;
    enum job_verdict verdict = row->step != NULL ? row->step(job) : JOB_IDLE;
    if (verdict != JOB_IDLE)
        return verdict;
    verdict = sev_mailbox(job, &result);
    if (verdict == JOB_IDLE) {
        result = row->command == 0 ? row->submit(job)
                                   : sev_command(&psp, row->command, job->guest != NULL ? job->guest->sev_handle : 0);
        if (sev_submitted(job, result))
            return JOB_MOVED;
    } else if (verdict != JOB_MOVED) {
        return verdict;
    }
    return row->answered(job, result);
}

void sev_log_failure(const char *what, struct psp_result result)
{
    char text[SEV_TEXT];
    psp_result_text(result, text, sizeof(text));
    log_print(LOG_ERROR, "%s: %s", what, text);
}

/* ---- the platform ---- */

static void log_platform(void)
{
    char text[40] = "unknown", name[PCI_NAME];
    for (unsigned i = 0; identity.has_chip && i < 8; i++)
        text_format(text + 2 * i, sizeof(text) - 2 * i, "%02x", identity.chip[i]);
    log_print(LOG_NOTICE, "sev: AMD secure processor 1022:%04x at %s, API %u.%u build %u, state %s, %s, chip %s",
              psp.location.device_id, pci_name(psp.location.function.sbdf, name), psp.status.api_major,
              psp.status.api_minor, psp.status.build, sev_state_name(psp.status.state),
              (psp.status.owner & SEV_OWNER_EXTERNAL) != 0 ? "externally owned" : "self-owned", text);
}

static const char *version_text(uint32_t version, char text[static 24])
{
    text_format(text, 24, "%u.%u build %u", version >> 16, version >> 8 & 0xff, version & 0xff);
    return text;
}

static void next(enum platform_state state, bool wbinvd_first)
{
    job_next(&platform.job, state);
    platform.wbinvd_first = wbinvd_first;
}

/* The bring-up is complete or has failed; launches that wait for it go on. */
static void bring_up_done(bool is_ready)
{
    job_finish(&platform.job);
    ready = is_ready;
    if (!is_ready && psp.registers != NULL)
        psp_detach(&psp);
    if (is_ready)
        log_platform();
    else
        log_print(LOG_ERROR, "sev: encrypted guests are refused: %s", refusal);
    if (platform.show)
        identity_show();
}

static void init(void)
{
    log_print(LOG_NOTICE, "sev: INIT");
    platform.init_reset = platform.init_flushed = false;
    next(PLATFORM_INIT, false);
}

static void load_firmware(void)
{
    char old[24], new[24];
    uint32_t offered = platform.image_version;
    platform.version_before = sev_version_of(&psp.status);
    if (platform.image_size != 0 && offered > platform.version_before) {
        next(PLATFORM_DOWNLOAD, false);
        return;
    }
    if (platform.image_size != 0)
        log_print(LOG_NOTICE, "sev: SEV firmware %s is running; the manifest's is %s, which is not newer: not loaded",
                  version_text(platform.version_before, old), version_text(offered, new));
    init();
}

static void attached(void)
{
    if (psp.status.state == SEV_PLATFORM_UNINIT) {
        load_firmware();
        return;
    }
    log_print(LOG_NOTICE, "sev: the platform was left in state %s: SHUTDOWN first", sev_state_name(psp.status.state));
    next(PLATFORM_LEFT, false);
}

/* Before 1.50 it has to be loaded twice to be committed (Linux, sev_update_firmware()). */
static void loaded(struct psp_result result)
{
    bool once_more = psp_ok(result) && platform.job.tries++ == 0 && platform.version_before < SEV_VERSION(1, 50, 0);
    platform.result = result;
    if (!once_more)
        next(PLATFORM_DOWNLOADED, false);
}

/* After DOWNLOAD_FIRMWARE: go on with what is running, whether it was loaded or not. */
static void firmware_known(struct psp_result status)
{
    char old[24], new[24], text[SEV_TEXT];
    struct psp_result result = psp_ok(status) ? platform.result : status;
    version_text(sev_version_of(&psp.status), new);
    if (psp_ok(result)) {
        log_print(LOG_NOTICE, "sev: DOWNLOAD_FIRMWARE: SEV firmware was %s, is %s now",
                  version_text(platform.version_before, old), new);
    } else {
        psp_result_text(result, text, sizeof(text));
        log_print(LOG_ERROR, "sev: SEV firmware %s was not loaded: %s", version_text(platform.image_version, old),
                  text);
        log_print(LOG_NOTICE, "sev: continuing with SEV firmware %s", new);
    }
    init();
}

/* Whether to repeat INIT: once for each reason. Some boards require WBINVD of all CPUs first (AMDESE/AMDSEV 202). */
static bool init_again(struct psp_result result)
{
    if (result.error != PSP_FIRMWARE)
        return false;
    if (result.status == SEV_STATUS_SECURE_DATA_INVALID && !platform.init_reset) {
        log_print(LOG_ERROR, "sev: INIT: the SEV firmware has reset its damaged persistent data: INIT is repeated");
        platform.init_reset = true;
        return true;
    }
    if (result.status == SEV_STATUS_WBINVD_REQUIRED && !platform.init_flushed) {
        log_print(LOG_ERROR, "sev: INIT: the SEV firmware requires WBINVD on every CPU first: INIT is repeated");
        platform.init_flushed = platform.wbinvd_first = true;
        return true;
    }
    return false;
}

/* No document says whether the PDH survives INIT, so INIT is done twice, and the PDHs are compared. Only if sessions are
 * used: INIT takes seconds on a large machine. */
static void identified(void)
{
    if (!platform.second && platform.pdh && identity.has_pdh) {
        platform.second = true;
        next(PLATFORM_REINIT, false);
        return;
    }
    if (platform.second && identity.has_pdh)
        log_print(LOG_NOTICE, "sev: %s", identity.survival);
    bring_up_done(true);
}

static struct psp_result submit(const struct job *job)
{
    switch (job->state) {
    case PLATFORM_DOWNLOAD:
        return sev_download_firmware(&psp, platform.image, platform.image_size);
    case PLATFORM_CHAIN:
        return identity_request_chain(&psp);
    case PLATFORM_ID:
        return sev_get_id(&psp);
    default:
        return sev_command(&psp, (uint8_t)job->state, 0);
    }
}

static enum job_verdict flush_first(struct job *job)
{
    if (mailbox_owner == NULL && platform.wbinvd_first) {
        if (!wbinvd_all(&job->wbinvd))
            return JOB_WAITS;
        platform.wbinvd_first = false;
    }
    return JOB_IDLE;
}

static struct psp_result checked(enum platform_state state, struct psp_result result)
{
    if ((uint8_t)state == SEV_CMD_PLATFORM_STATUS)
        return sev_platform_status_answer(&psp, result);
    if (state == PLATFORM_CHAIN)
        return identity_take_chain(&psp, result);
    if (state == PLATFORM_ID)
        return identity_take_id(&psp, result);
    return state == PLATFORM_UNDO ? platform.result : result;
}

static enum job_verdict answered(struct job *job, struct psp_result result)
{
    enum platform_state state = job->state;
    bool optional = state == PLATFORM_DOWNLOAD || state == PLATFORM_DOWNLOADED || state == PLATFORM_DF_FLUSH;
    result = checked(state, result);
    if (state == PLATFORM_INIT && init_again(result))
        return JOB_MOVED;
    if (state != PLATFORM_STOP && !psp_ok(result) && (psp.dead || !optional)) {
        refuse(state == PLATFORM_ATTACH ? "the secure processor cannot be used: " : "", result);
        bring_up_done(false);
        return JOB_MOVED;
    }
    switch (state) {
    case PLATFORM_ATTACH:
        attached();
        break;
    case PLATFORM_LEFT:
        load_firmware();
        platform.wbinvd_first = true;
        break;
    case PLATFORM_DOWNLOAD:
        loaded(result);
        break;
    case PLATFORM_DOWNLOADED:
        firmware_known(result);
        break;
    case PLATFORM_INIT: /* leaves every ASID dirty on every core */
        next(PLATFORM_DF_FLUSH, true);
        break;
    case PLATFORM_DF_FLUSH:
        platform.result = result;
        next(psp_ok(result) ? PLATFORM_STATUS : PLATFORM_UNDO, false);
        break;
    case PLATFORM_STATUS:
        next(PLATFORM_CHAIN, false);
        break;
    case PLATFORM_CHAIN:
        next(PLATFORM_ID, false);
        break;
    case PLATFORM_ID:
        identified();
        break;
    case PLATFORM_REINIT:
        init();
        platform.wbinvd_first = true;
        break;
    case PLATFORM_STOP:
        if (!psp_ok(result))
            sev_log_failure("sev", result);
        psp_detach(&psp);
        job_finish(job);
        break;
    case PLATFORM_UNDO: /* never here */
    case PLATFORM_DOWN:
        job_finish(job);
        break;
    }
    return JOB_MOVED;
}

enum job_verdict sev_step(struct job *job)
{
    static const struct sev_job_row row = {.step = flush_first, .submit = submit, .answered = answered};
    return sev_job_step(job, &row);
}

struct job *sev_job(void)
{
    return &platform.job;
}

void sev_start(const struct handoff *handoff, bool sessions)
{
    const struct manifest_header *header = program_header();
    const uint8_t *version = header->sev_firmware_version;
    paddr_t image = paddr_add(paddr(handoff->manifest_base), header->payload_offset);
    psp_addr_t address;
    platform.image = (psp_addr_t){view_firmware_address(image, VIEW_PLAIN)};
    platform.image_size = header->sev_firmware_size;
    platform.image_version = SEV_VERSION(version[2], version[1], version[0]);
    platform.show = (header->flags & MANIFEST_SHOW_PDH) != 0;
    platform.pdh = platform.show || sessions;
    if (handoff->sev_usable == 0) { /* main.c has logged it */
        text_format(refusal, sizeof(refusal), "%s", handoff->sev_refusal);
        if (platform.show)
            identity_show();
        return;
    }
    (void)psp_platform_command_page(&address);
    (void)psp_platform_data_page(&address);
    identity_init();
    job_begin(&platform.job, JOB_PLATFORM, NULL);
    struct psp_result result = psp_attach(&psp, &handoff->psp);
    if (!sev_submitted(&platform.job, result))
        answered(&platform.job, result);
}

uint64_t sev_pool_pages(void)
{
    return platform.nv != NULL ? SEV_NV_SIZE / PAGE_SIZE : 0;
}

bool sev_starting(void)
{
    return platform.job.kind != JOB_NONE || (psp.outstanding != NULL && psp.outstanding->class == PSP_PLATFORM_IDLE);
}

bool sev_ready(void)
{
    return ready && !psp.dead;
}

const char *sev_refusal(void)
{
    return refusal;
}

void sev_changed(uint8_t command)
{
    bool down = psp.status.state == SEV_PLATFORM_UNINIT, whole = psp_command_row(command)->class == PSP_PLATFORM_IDLE;
    log_print(LOG_NOTICE, "sev: %s by the control guest", sev_command_name(command));
    identity.has_pdh = false;
    job_begin(&platform.job, JOB_PLATFORM, NULL);
    platform.show = platform.pdh = platform.second = false; /* one INIT, and what comes with it once */
    next(down ? PLATFORM_DOWN : whole ? PLATFORM_DF_FLUSH : PLATFORM_STATUS, whole);
    if (!down)
        return;
    ready = false;
    text_format(refusal, sizeof(refusal),
                "the control guest has shut the SEV platform down: it must send INIT or INIT_EX");
}

uint8_t *sev_nv(bool take)
{
    paddr_t pages;
    if (take && platform.nv == NULL && page_alloc(SEV_NV_SIZE / PAGE_SIZE, &pages))
        platform.nv = page_va(pages);
    return platform.nv;
}

void sev_stop(void)
{
    if (!ready)
        return;
    ready = false;
    text_format(refusal, sizeof(refusal), "no guest was left, so the SEV platform is shut down");
    log_print(LOG_NOTICE, "sev: SHUTDOWN (Ctrl-] q powers off without its answer)");
    job_begin(&platform.job, JOB_PLATFORM, NULL);
    next(PLATFORM_STOP, true);
}

bool sev_abandon_stop(void)
{
    if (platform.job.kind == JOB_NONE || platform.job.state != PLATFORM_STOP)
        return false;
    mailbox_owner = NULL;
    psp_detach(&psp);
    psp = (struct psp){.dead = true}; /* it may still answer */
    job_finish(&platform.job);
    return true;
}

bool sev_check_config(const struct manifest_guest *config, char *text, size_t size)
{
    uint32_t ebx = this_cpu()->features.encryption.ebx, position = C_BIT_POSITION(ebx);
    uint32_t width = this_cpu()->features.phys_bits;
    if (config->cbitpos != position) {
        text_format(text, size, "was packed for C-bit %u, this CPU has it at %u: set cbitpos = %u in guests.toml",
                    config->cbitpos, position, position);
        return false;
    }
    /* The guest's physical addresses must lie below the C-bit, its memory included. */
    if (!width_fits(width - PHYS_BITS_REDUCTION(ebx), config->reduced_phys_bits, position, config->memory)) {
        text_format(text, size,
                    "was packed for %u bits less than the %u of an address: set reduced-phys-bits = %u in guests.toml",
                    config->reduced_phys_bits, width, PHYS_BITS_REDUCTION(ebx));
        return false;
    }
    return true;
}
