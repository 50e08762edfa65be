/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "hv/control/sev.h"

#include "hv/console/log.h"
#include "hv/control/identity.h"
#include "hv/cpu/cpu.h"
#include "hv/lib/pci.h"
#include "hv/lib/text.h"
#include "hv/lib/width.h"
#include "hv/lib/x86.h"
#include "hv/mm/hostmap.h"
#include "hv/vm/guest.h"

#define CPUID_ENCRYPTED_MEMORY 0x8000001fu
#define C_BIT_POSITION(ebx) ((ebx) & 0x3fu)
#define PHYS_BITS_REDUCTION(ebx) ((ebx) >> 6 & 0x3fu)
#define CPUID_ADDRESS_SIZES 0x80000008u
#define PHYS_BITS(eax) ((eax) & 0xffu)

/* Between two lines of progress; a multiple of what the driver sends at once. */
#define UPDATE_PIECE (UINT64_C(16) << 20)
#define SEV_TEXT 256u

static struct psp psp;
static bool started, ready;
static char refusal[SEV_TEXT] = "the secure processor was not started";

/* ---- the platform ---- */

static void refuse(const char *where, struct psp_result result)
{
    char text[SEV_TEXT];
    psp_result_text(result, text, sizeof text);
    text_format(refusal, sizeof refusal, "%s%s", where, text);
    ready = false;
}

static const char *state_name(uint8_t state)
{
    switch (state) {
    case SEV_PLATFORM_UNINIT:
        return "UNINIT";
    case SEV_PLATFORM_INIT:
        return "INIT";
    case SEV_PLATFORM_WORKING:
        return "WORKING";
    default:
        return "unknown";
    }
}

static void log_platform(void)
{
    const uint8_t *id = identity_chip();
    char text[40] = "unknown", name[PCI_NAME];
    for (unsigned i = 0; id != NULL && i < 8; i++)
        text_format(text + 2 * i, sizeof text - 2 * i, "%02x", id[i]);
    log_print(LOG_NOTICE, "sev: AMD secure processor 1022:%04x at %s, API %u.%u build %u, state %s, %s, chip %s",
              psp.location.device_id, pci_name(psp.location.function.sbdf, name),
              psp.status.api_major, psp.status.api_minor, psp.status.build, state_name(psp.status.state),
              (psp.status.owner & SEV_OWNER_EXTERNAL) != 0 ? "externally owned" : "self-owned", text);
    const char *fault = sev_version_fault(sev_version_of(&psp.status));
    if (fault != NULL)
        log_print(LOG_ERROR, "sev: this firmware is too old (%s): update the BIOS, or name a newer file as sev-firmware in guests.toml",
                  fault);
}

static const char *version_text(uint32_t version, char text[static 24])
{
    text_format(text, 24, "%u.%u build %u", version >> 16, version >> 8 & 0xff, version & 0xff);
    return text;
}

/* Whatever the firmware says to it, what runs goes on; only a device that does not answer is an error. */
static struct psp_result load_firmware(const struct sev_wishes *wishes)
{
    char old[24], new[24], text[SEV_TEXT];
    if (wishes->image_size == 0)
        return (struct psp_result){0};
    uint32_t before = sev_version_of(&psp.status), offered = wishes->image_version;
    version_text(before, old);
    if (offered <= before) {
        log_print(LOG_NOTICE, "sev: firmware %s runs; the manifest's is %s, which is not newer: not loaded", old, version_text(offered, new));
        return (struct psp_result){0};
    }
    struct psp_result result = sev_download_firmware(&psp, wishes->image, wishes->image_size);
    if (psp_ok(result)) {
        log_print(LOG_NOTICE, "sev: DOWNLOAD_FIRMWARE: %s ran, %s runs now", old, version_text(sev_version_of(&psp.status), new));
        return result;
    }
    psp_result_text(result, text, sizeof text);
    log_print(LOG_ERROR, "sev: firmware %s was not loaded: %s", version_text(offered, new), text);
    if (psp.dead)
        return result;
    log_print(LOG_NOTICE, "sev: going on with firmware %s", version_text(sev_version_of(&psp.status), new));
    return (struct psp_result){0};
}

/* INIT, and what is known then only. */
static struct psp_result initialise(bool *same_pdh)
{
    log_print(LOG_NOTICE, "sev: INIT");
    struct psp_result result = sev_init(&psp);
    if (psp_ok(result))
        result = sev_platform_status(&psp);
    return psp_ok(result) ? identity_take(&psp, same_pdh) : result;
}

/* No document says whether INIT keeps the PDH. Seen by doing it twice, before there are guests;
 * only if it matters, since an INIT takes seconds on a large machine. */
static struct psp_result see_whether_the_pdh_lasts(void)
{
    bool same;
    struct psp_result result = sev_shutdown(&psp);
    if (psp_ok(result))
        result = initialise(&same);
    if (psp_ok(result) && identity_has_pdh())
        log_print(LOG_NOTICE, same ? "sev: the PDH outlives SHUTDOWN and INIT: a session made with it can be launched at later starts too"
                                   : "sev: the PDH does not outlive INIT: no session that was made before this start can be launched");
    return result;
}

/* From any state that somebody before us left to INIT. */
static struct psp_result bring_up(const struct sev_wishes *wishes)
{
    struct psp_result result = {0};
    bool same;
    if (psp.status.state != SEV_PLATFORM_UNINIT) {
        log_print(LOG_NOTICE, "sev: the platform was left in state %s: SHUTDOWN first", state_name(psp.status.state));
        result = sev_shutdown(&psp);
    }
    if (psp_ok(result))
        result = load_firmware(wishes);
    if (psp_ok(result))
        result = initialise(&same);
    return psp_ok(result) && wishes->pdh && identity_has_pdh() ? see_whether_the_pdh_lasts() : result;
}

static bool start(const struct handoff *handoff, const struct sev_wishes *wishes)
{
    /* Where the preflight has found it. */
    const struct handoff_psp *found = &handoff->psp;
    const struct psp_location location = {
        .function = {found->sbdf, found->ecam}, .device_id = (uint16_t)found->device_id, .bar = found->bar, .bar_size = found->bar_size,
    };
    if (handoff->sev_usable == 0) {
        text_format(refusal, sizeof refusal, "%s", handoff->sev_refusal);
        return false;
    }
    struct psp_result result = psp_attach(&psp, &location);
    if (!psp_ok(result)) {
        refuse("the secure processor is of no use: ", result);
        return false;
    }
    result = bring_up(wishes);
    if (!psp_ok(result)) {
        refuse("", result);
        psp_detach(&psp);
        return false;
    }
    log_platform();
    return true;
}

void sev_start(const struct handoff *handoff, const struct sev_wishes *wishes)
{
    if (started)
        return;
    started = true;
    ready = start(handoff, wishes);
    if (!ready && handoff->sev_usable != 0)     /* else it was said already */
        log_print(LOG_ERROR, "sev: encrypted guests are refused: %s", refusal);
}

bool sev_ready(void)
{
    return ready && !psp.dead;
}

const char *sev_refusal(void)
{
    return refusal;
}

void sev_stop(void)
{
    if (!ready)
        return;
    ready = false;
    struct psp_result result = sev_shutdown(&psp);
    if (psp_ok(result)) {
        log_print(LOG_NOTICE, "sev: SHUTDOWN");
    } else {
        char text[SEV_TEXT];
        psp_result_text(result, text, sizeof text);
        log_print(LOG_ERROR, "sev: %s", text);
    }
    psp_detach(&psp);
}

uint64_t sev_commands(void)
{
    return psp.commands;
}

struct sev_platform_status sev_version(void)
{
    return psp.status;
}

bool sev_check_config(const struct manifest_guest *config, char *text, size_t size)
{
    uint32_t ebx = cpuid(CPUID_ENCRYPTED_MEMORY, 0).ebx, position = C_BIT_POSITION(ebx);
    uint32_t width = PHYS_BITS(cpuid(CPUID_ADDRESS_SIZES, 0).eax);
    if (config->cbitpos != position) {
        text_format(text, size, "was packed for C-bit %u, this CPU has it at %u: set cbitpos = %u in guests.toml",
                    config->cbitpos, position, position);
        return false;
    }
    /* The guest believes in addresses below the C-bit only, and its memory is among them. */
    if (!width_fits(width - PHYS_BITS_REDUCTION(ebx), config->reduced_phys_bits, position, config->memory)) {
        text_format(text, size, "was packed for %u bits less than the %u of an address: set reduced-phys-bits = %u in guests.toml",
                    config->reduced_phys_bits, width, PHYS_BITS_REDUCTION(ebx));
        return false;
    }
    return true;
}

/* ---- one guest ---- */

/* A command without an answer: the device is given up, and says so to all who follow. */
static bool unanswered(struct psp_result result)
{
    if (result.error == PSP_TIMEOUT)
        refuse("the secure processor is given up: ", result);
    return result.error == PSP_TIMEOUT;
}

struct psp_result sev_guest_begin(struct guest *guest, const void *dh_cert, const void *session)
{
    struct psp_result result = sev_launch_start(&psp, guest->config->sev_policy, dh_cert, session, &guest->sev_handle);
    if (!psp_ok(result)) {
        unanswered(result);
        return result;
    }
    guest->sev_context = true;
    result = sev_activate(&psp, guest->sev_handle, guest->asid);
    /* Without an answer the key may be in the ASID's slot. */
    guest->sev_active = psp_ok(result) || unanswered(result);
    return result;
}

struct psp_result sev_guest_update(struct guest *guest, gpaddr_t gpa, uint64_t size)
{
    struct psp_result result = {.error = PSP_LENGTH, .command = SEV_CMD_LAUNCH_UPDATE_DATA};
    paddr_t address;
    if (!guest_ram_address(guest, gpa, size, &address))
        return result;
    for (uint64_t done = 0; done < size;) {
        uint64_t piece = size - done < UPDATE_PIECE ? size - done : UPDATE_PIECE;
        psp_addr_t where = {hostmap_firmware_address(paddr_add(address, done), VIEW_ENCRYPTED)};
        result = sev_launch_update_data(&psp, guest->sev_handle, where, (uint32_t)piece);
        if (!psp_ok(result)) {
            guest->sev_memory_given = unanswered(result);
            return result;
        }
        done += piece;
        guest->report.psp_bytes += piece;
        if (size > UPDATE_PIECE)
            log_print(LOG_NOTICE, "launch %s: encrypted and measured %lu of %lu MiB", guest->config->name, done >> 20,
                      size >> 20);
    }
    return result;
}

struct psp_result sev_guest_measure(struct guest *guest)
{
    struct psp_result result = sev_launch_measure(&psp, guest->sev_handle, &guest->measurement);
    unanswered(result);
    return result;
}

struct psp_result sev_guest_finish(struct guest *guest)
{
    struct psp_result result = sev_launch_finish(&psp, guest->sev_handle);
    unanswered(result);
    return result;
}

static bool answered_with(struct psp_result result, enum sev_status status)
{
    return result.error == PSP_FIRMWARE && result.status == status;
}

static void log_failure(const struct guest *guest, struct psp_result result)
{
    char text[SEV_TEXT];
    unanswered(result);
    psp_result_text(result, text, sizeof text);
    log_print(LOG_ERROR, "%s: %s", guest->config->name, text);
}

/* A command that the firmware refused is retried once, since a failure leaks the ASID. After no answer none is sent. */
#define ATTEMPTS 2

/* Takes the key out of the ASID's slot. */
static bool deactivate(const struct guest *guest)
{
    struct psp_result result = {.error = PSP_FIRMWARE};
    for (int i = 0; i < ATTEMPTS && result.error == PSP_FIRMWARE; i++) {
        result = sev_deactivate(&psp, guest->sev_handle);
        if (psp_ok(result) || answered_with(result, SEV_STATUS_INACTIVE))
            return true;
        log_failure(guest, result);
    }
    return false;
}

/* No line of the guest's is in a cache or in the fabric afterwards. */
static bool flush(const struct guest *guest)
{
    struct psp_result result = {.error = PSP_FIRMWARE};
    for (int i = 0; i < ATTEMPTS && result.error == PSP_FIRMWARE; i++) {
        cpu_wbinvd_all();
        result = sev_df_flush(&psp);
        if (psp_ok(result))
            return true;
        log_failure(guest, result);
    }
    return false;
}

/* ACTIVE is for the caller to resolve. */
static struct psp_result decommission(const struct guest *guest)
{
    struct psp_result result = {.error = PSP_FIRMWARE};
    for (int i = 0; i < ATTEMPTS && result.error == PSP_FIRMWARE; i++) {
        result = sev_decommission(&psp, guest->sev_handle);
        if (answered_with(result, SEV_STATUS_ACTIVE))
            break;
        if (!psp_ok(result))
            log_failure(guest, result);
    }
    return result;
}

bool sev_guest_end(struct guest *guest)
{
    bool clean = true;
    if (!guest->sev_context)
        return true;
    if (guest->sev_active) {
        clean = deactivate(guest);
        clean = flush(guest) && clean;  /* WBINVD in any case: the pages go back */
    }
    if (answered_with(decommission(guest), SEV_STATUS_ACTIVE)) {
        /* ACTIVATE had been refused in words only, or DEACTIVATE been executed in words only. */
        clean = deactivate(guest) && flush(guest);
        struct psp_result result = decommission(guest);
        if (answered_with(result, SEV_STATUS_ACTIVE)) {
            log_failure(guest, result);
            clean = false;              /* the firmware keeps the guest and, as it says, its ASID */
        }
    }
    guest->sev_context = guest->sev_active = false;
    return clean;
}
