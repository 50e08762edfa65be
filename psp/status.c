/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The firmware's answers in the operator's words. Where a status has a known
 * cause on real machines, the remedy says what to change.
 */
#include "psp/internal.h"

struct sentence {
    uint16_t status;
    const char *name;
    const char *text;
};

/* SEV API 4.4 */
static const struct sentence sentences[] = {
    { SEV_STATUS_SUCCESS, "SUCCESS", "done" },
    { SEV_STATUS_INVALID_PLATFORM_STATE, "INVALID_PLATFORM_STATE", "not allowed in this platform state" },
    { SEV_STATUS_INVALID_GUEST_STATE, "INVALID_GUEST_STATE", "not allowed in this guest state" },
    { SEV_STATUS_INVALID_CONFIG, "INVALID_CONFIG", "the platform's configuration is invalid" },
    { SEV_STATUS_INVALID_LENGTH, "INVALID_LENGTH", "a buffer has the wrong length" },
    { SEV_STATUS_ALREADY_OWNED, "ALREADY_OWNED", "the platform has an external owner already" },
    { SEV_STATUS_INVALID_CERTIFICATE, "INVALID_CERTIFICATE", "a certificate is malformed or does not verify" },
    { SEV_STATUS_POLICY_FAILURE, "POLICY_FAILURE", "the guest's policy forbids it" },
    { SEV_STATUS_INACTIVE, "INACTIVE", "the guest has no active ASID" },
    { SEV_STATUS_INVALID_ADDRESS, "INVALID_ADDRESS", "an address is misaligned or out of range" },
    { SEV_STATUS_BAD_SIGNATURE, "BAD_SIGNATURE", "a signature does not verify" },
    { SEV_STATUS_BAD_MEASUREMENT, "BAD_MEASUREMENT", "a MAC or digest does not match" },
    { SEV_STATUS_ASID_OWNED, "ASID_OWNED", "another guest has this ASID" },
    { SEV_STATUS_INVALID_ASID, "INVALID_ASID", "the ASID is out of range for this kind of guest" },
    { SEV_STATUS_WBINVD_REQUIRED, "WBINVD_REQUIRED", "a core has not written its caches back" },
    { SEV_STATUS_DF_FLUSH_REQUIRED, "DF_FLUSH_REQUIRED", "the data fabric has not been flushed" },
    { SEV_STATUS_INVALID_GUEST, "INVALID_GUEST", "no guest has this handle" },
    { SEV_STATUS_INVALID_COMMAND, "INVALID_COMMAND", "the firmware does not know the command" },
    { SEV_STATUS_ACTIVE, "ACTIVE", "the guest still has an active ASID" },
    { SEV_STATUS_HWERROR_PLATFORM, "HWERROR_PLATFORM", "hardware error; the platform is safe" },
    { SEV_STATUS_HWERROR_UNSAFE, "HWERROR_UNSAFE", "hardware error; the platform may be unsafe" },
    { SEV_STATUS_UNSUPPORTED, "UNSUPPORTED", "the feature is not supported" },
    { SEV_STATUS_INVALID_PARAM, "INVALID_PARAM", "a parameter or a reserved bit is wrong" },
    { SEV_STATUS_RESOURCE_LIMIT, "RESOURCE_LIMIT", "the firmware is out of resources" },
    { SEV_STATUS_SECURE_DATA_INVALID, "SECURE_DATA_INVALID", "the firmware's persistent data are damaged" },
    { SEV_STATUS_INVALID_PAGE_SIZE, "INVALID_PAGE_SIZE", "the RMP has another size for a page" },
    { SEV_STATUS_INVALID_PAGE_STATE, "INVALID_PAGE_STATE", "the RMP has another state for a page" },
    { SEV_STATUS_INVALID_MDATA_ENTRY, "INVALID_MDATA_ENTRY", "a metadata entry is invalid" },
    { SEV_STATUS_INVALID_PAGE_OWNER, "INVALID_PAGE_OWNER", "the RMP has another owner for a page" },
    { SEV_STATUS_AEAD_OFLOW, "AEAD_OFLOW", "a counter of the authenticated encryption has run out" },
    { SEV_STATUS_RING_BUFFER_EXIT, "RING_BUFFER_EXIT", "the firmware left ring-buffer mode instead" },
    { SEV_STATUS_RMP_INIT_REQUIRED, "RMP_INIT_REQUIRED", "the RMP is not initialised" },
    { SEV_STATUS_BAD_SVN, "BAD_SVN", "the security version is older than the committed one" },
    { SEV_STATUS_BAD_VERSION, "BAD_VERSION", "the version is older than the committed one" },
    { SEV_STATUS_SHUTDOWN_REQUIRED, "SHUTDOWN_REQUIRED", "the platform must be shut down first" },
    { SEV_STATUS_UPDATE_FAILED, "UPDATE_FAILED", "the firmware update failed" },
    { SEV_STATUS_RESTORE_REQUIRED, "RESTORE_REQUIRED", "the firmware must be restored" },
    { SEV_STATUS_RMP_INIT_FAILED, "RMP_INIT_FAILED", "the RMP could not be initialised" },
    { SEV_STATUS_INVALID_KEY, "INVALID_KEY", "a key is invalid" },
    /* In no document: what boards have answered (AMDESE/AMDSEV issues 32, 36, 105, 246, AMDESE/sev-tool 6, 66). */
    { 0x8003, "undocumented status", "no document names it; boards with an old BIOS answered so" },
    { 0x8004, "undocumented status", "no document names it; boards with an old BIOS answered so" },
    { 0x9000, "undocumented status", "no document names it; a board with an early BIOS answered so" },
};

#define ANY_COMMAND 0
#define REMEDY_OFF_AND_ON "Switch the machine off and on; if it stays, update the BIOS"

/* First match counts: rows of a command stand before rows of any. */
static const struct {
    uint8_t command;
    uint16_t status;
    const char *remedy;
} remedies[] = {
    { SEV_CMD_INIT, SEV_STATUS_HWERROR_PLATFORM, "Enable SMEE (secure memory encryption) in the BIOS." },
    { SEV_CMD_INIT, SEV_STATUS_INVALID_PLATFORM_STATE,
      "Disable SEV-SNP in the BIOS or update the BIOS; if SEV was in use before, reset the machine." },
    { SEV_CMD_INIT, SEV_STATUS_SECURE_DATA_INVALID, "Twice in a row: update the BIOS; its flash may be worn or locked." },
    { SEV_CMD_INIT, SEV_STATUS_WBINVD_REQUIRED,
      "Also after WBINVD on every CPU: update the BIOS for newer SEV firmware." },
    { SEV_CMD_INIT, 0x8003, "Update the BIOS: SEV firmware older than 0.16 build 10." },
    { SEV_CMD_INIT, 0x8004, "Update the BIOS: SEV firmware older than 0.16 build 10." },
    { SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_BAD_SIGNATURE,
      "The file is damaged, or for another family of processors: take AMD's for this one." },
    { SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_INVALID_PLATFORM_STATE, "SEV or SEV-SNP is in use: reset the machine." },
    { SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_INVALID_LENGTH, "The file is not whole, or too large for this part." },
    { SEV_CMD_ACTIVATE, SEV_STATUS_INVALID_ASID,
      "SEV-ES guests need ASIDs below the limit set in the BIOS (SEV-ES ASID space limit), others from it on." },
    { SEV_CMD_LAUNCH_START, SEV_STATUS_INVALID_LENGTH,
      "The session needs a 2084-byte certificate and a 128-byte launch blob." },
    { SEV_CMD_LAUNCH_START, SEV_STATUS_INVALID_CERTIFICATE,
      "The owner's certificate is no SEV certificate: make the session again." },
    { SEV_CMD_LAUNCH_START, SEV_STATUS_BAD_MEASUREMENT,
      "The session is for another policy or platform: make it again with this platform's PDH." },
    { SEV_CMD_LAUNCH_START, SEV_STATUS_POLICY_FAILURE,
      "The policy wants a newer SEV API: update the BIOS, or lower the policy's version." },
    { SEV_CMD_LAUNCH_START, SEV_STATUS_UNSUPPORTED, "The policy wants a feature, such as SEV-ES, that is not there." },
    { SEV_CMD_LAUNCH_START, SEV_STATUS_RESOURCE_LIMIT, "End another encrypted guest first." },
    { ANY_COMMAND, SEV_STATUS_WBINVD_REQUIRED,
      "WBINVD is needed on every core, parked ones too, with no DEACTIVATE before DF_FLUSH." },
    { ANY_COMMAND, SEV_STATUS_DF_FLUSH_REQUIRED, "WBINVD on every core and DF_FLUSH must come first." },
    { ANY_COMMAND, SEV_STATUS_HWERROR_UNSAFE, "Switch the machine off, and trust no guest on it." },
    { ANY_COMMAND, SEV_STATUS_HWERROR_PLATFORM, REMEDY_OFF_AND_ON "." },
    { ANY_COMMAND, SEV_STATUS_INVALID_COMMAND, "Update the BIOS for newer SEV firmware." },
    { ANY_COMMAND, SEV_STATUS_UNSUPPORTED, "Update the BIOS for newer SEV firmware." },
    { ANY_COMMAND, SEV_STATUS_BAD_SVN, "Use a newer firmware image." },
    { ANY_COMMAND, SEV_STATUS_BAD_VERSION, "Use a newer firmware image." },
    { ANY_COMMAND, 0x8003, "Update the BIOS for newer SEV firmware; enable SMEE; switch the machine off and on." },
    { ANY_COMMAND, 0x8004, "Update the BIOS for newer SEV firmware; enable SMEE; switch the machine off and on." },
    { ANY_COMMAND, 0x9000, "Update the BIOS, load its defaults, then enable SMEE; switch the machine off and on." },
    { ANY_COMMAND, SEV_STATUS_RING_BUFFER_EXIT, "It was not executed: try again." },
};

static const struct sentence *find(uint16_t status)
{
    static const struct sentence unknown = { 0, "unknown status", "no document names this status" };

    for (unsigned i = 0; i < sizeof sentences / sizeof *sentences; i++) {
        if (sentences[i].status == status)
            return &sentences[i];
    }
    return &unknown;
}

const char *sev_status_name(uint16_t status)
{
    return find(status)->name;
}

const char *sev_status_remedy(uint8_t command, uint16_t status)
{
    for (unsigned i = 0; i < sizeof remedies / sizeof *remedies; i++) {
        if (remedies[i].status == status && (remedies[i].command == command || remedies[i].command == ANY_COMMAND))
            return remedies[i].remedy;
    }
    return command == SEV_CMD_PLATFORM_STATUS && status != SEV_STATUS_SUCCESS ? REMEDY_OFF_AND_ON "." : "";
}

const char *sev_version_fault(uint32_t version)
{
    /* INIT answers 0x8003 or 0x8004: AMDESE/AMDSEV issues 32 and 36, sev-tool issue 6. */
    if (version < SEV_VERSION(0, 16, 10))
        return "below 0.16 build 10 INIT is known to fail";
    /* AMD mended it in 0.17 build 22. */
    if (version <= SEV_VERSION(0, 17, 11))
        return "CVE-2019-9836: up to 0.17 build 11 it gives its PDH key away";
    return NULL;
}

const char *psp_error_text(enum psp_error error)
{
    switch (error) {
    case PSP_OK: return "done";
    case PSP_NO_DEVICE: return "no AMD Secure Processor with SEV";
    case PSP_UNKNOWN: return "an AMD encryption controller that this version does not know";
    case PSP_BLOCKED: return "the Secure Processor cannot be read: hidden by the BIOS";
    case PSP_NOT_READY: return "the Secure Processor's mailbox is not ready. " REMEDY_OFF_AND_ON;
    case PSP_TIMEOUT: return "no answer in time; the Secure Processor is not used again. Switch the machine off and on";
    case PSP_DEAD: return "the Secure Processor failed to answer an earlier command";
    case PSP_STATE: return "not possible in this platform state or with this firmware version";
    case PSP_LENGTH: return "wrong length or alignment";
    case PSP_ANSWER: return "the firmware's answer contradicts itself: update the BIOS";
    case PSP_FIRMWARE: return "the firmware refused";
    }
    return "unknown error";
}

/* Text that is cut where its room ends, always with a final zero. */
struct line {
    char *at;
    unsigned room;              /* bytes left, the zero's included; never 0 */
};

static void line_add(struct line *line, const char *text)
{
    while (*text && line->room > 1) {
        *line->at++ = *text++;
        line->room--;
    }
    *line->at = 0;
}

static void line_add_hex(struct line *line, uint32_t value, unsigned n)
{
    char digits[9];

    for (unsigned i = 0; i < n; i++)
        digits[i] = "0123456789abcdef"[value >> (4 * (n - 1 - i)) & 0xf];
    digits[n] = 0;
    line_add(line, "0x");
    line_add(line, digits);
}

void psp_registers_text(const uint32_t cells[static 5], char *text, unsigned size)
{
    static const char *const names[] = {
        "registers: command ", ", buffer low ", " high ", ", boot loader ", ", feature ",
    };
    struct line line = { .at = text, .room = size };

    for (unsigned i = 0; i < 5; i++) {
        line_add(&line, names[i]);
        line_add_hex(&line, cells[i], 8);
    }
}

void psp_result_text(struct psp_result result, char *text, unsigned size)
{
    struct line line = { .at = text, .room = size };

    if (size == 0)
        return;
    if (result.command != 0) {
        line_add(&line, sev_command_name(result.command));
        line_add(&line, ": ");
    }
    if (result.error != PSP_FIRMWARE) {
        line_add(&line, psp_error_text(result.error));
        return;
    }

    const struct sentence *sentence = find(result.status);
    const char *remedy = sev_status_remedy(result.command, result.status);

    line_add(&line, sentence->name);
    line_add(&line, " (");
    line_add_hex(&line, result.status, result.status > 0xff ? 4 : 2);
    line_add(&line, "): ");
    line_add(&line, sentence->text);
    if (*remedy) {
        line_add(&line, ". ");
        line_add(&line, remedy);
    }
}
