/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The SEV firmware's answers in the operator's words. Where a status has a known
 * cause on real machines, the remedy says what to change.
 */
#include "psp/internal.h"

#include "hv/lib/text.h"

struct sentence {
    uint16_t status;
    const char *name;
    const char *text;
};

static const struct sentence sentences[] = {
#define SEV_STATUS(name, number, text) {number, #name, text},
    SEV_STATUSES
#undef SEV_STATUS
};

#define ANY_COMMAND 0
#define ANY_STATUS UINT16_MAX     /* but SUCCESS */
/* Above all that documents name: boards have answered 0x8003, 0x8004, 0x9000 (AMDESE/AMDSEV issues 32, 36, 105, 246,
 * AMDESE/sev-tool 6, 66). */
#define UNDOCUMENTED 0x100u
#define REMEDY_OFF_AND_ON "Switch the machine off and on; if it stays, update the BIOS"

/* First match counts: what is more special stands first. */
static const struct remedy {
    uint8_t command;
    uint16_t status;
    const char *remedy;
} remedies[] = {
    {SEV_CMD_INIT, SEV_STATUS_HWERROR_PLATFORM, "Enable SMEE (secure memory encryption) in the BIOS."},
    {SEV_CMD_INIT, SEV_STATUS_INVALID_PLATFORM_STATE,
     "Disable SEV-SNP in the BIOS or update the BIOS; if SEV was in use before, reset the machine."},
    {SEV_CMD_INIT, SEV_STATUS_SECURE_DATA_INVALID,
     "If it happens again: update the BIOS; its flash may be worn or locked."},
    {SEV_CMD_INIT, SEV_STATUS_WBINVD_REQUIRED,
     "Also after WBINVD on every CPU: update the BIOS for newer SEV firmware."},
    {SEV_CMD_INIT, 0x8003, "Update the BIOS: SEV firmware older than 0.16 build 10."},
    {SEV_CMD_INIT, 0x8004, "Update the BIOS: SEV firmware older than 0.16 build 10."},
    {SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_BAD_SIGNATURE,
     "The file is damaged, or for another family of processors: take AMD's for this one."},
    {SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_INVALID_PLATFORM_STATE, "SEV or SEV-SNP is in use: reset the machine."},
    {SEV_CMD_DOWNLOAD_FIRMWARE, SEV_STATUS_INVALID_LENGTH, "The file is not whole, or too large for this part."},
    {SEV_CMD_ACTIVATE, SEV_STATUS_INVALID_ASID,
     "SEV-ES guests need ASIDs below the limit set in the BIOS (SEV-ES ASID space limit), others from it on."},
    {SEV_CMD_LAUNCH_START, SEV_STATUS_INVALID_LENGTH,
     "The session needs a 2084-byte certificate and a 128-byte launch blob."},
    {SEV_CMD_LAUNCH_START, SEV_STATUS_INVALID_CERTIFICATE,
     "The owner's certificate is no SEV certificate: make the session again."},
    {SEV_CMD_LAUNCH_START, SEV_STATUS_BAD_MEASUREMENT,
     "The session is for another policy or platform: make it again with this platform's PDH."},
    {SEV_CMD_LAUNCH_START, SEV_STATUS_POLICY_FAILURE,
     "The policy wants a newer SEV API: update the BIOS, or lower the policy's version."},
    {SEV_CMD_LAUNCH_START, SEV_STATUS_UNSUPPORTED, "The policy wants a feature, such as SEV-ES, that is not there."},
    {SEV_CMD_LAUNCH_START, SEV_STATUS_RESOURCE_LIMIT, "End another encrypted guest first."},
    {SEV_CMD_LAUNCH_SECRET, SEV_STATUS_BAD_MEASUREMENT,
     "It was built for another launch or session, or is damaged: build it anew."},
    {SEV_CMD_PEK_CERT_IMPORT, SEV_STATUS_ALREADY_OWNED, "PLATFORM_RESET gives up the present owner."},
    {SEV_CMD_SEND_START, SEV_STATUS_INVALID_CERTIFICATE,
     "The target's PDH, PEK, OCA and CEK must be signed up to AMD's root."},
    {SEV_CMD_SEND_START, SEV_STATUS_POLICY_FAILURE, "Its policy's DOMAIN wants a target of the same owner's."},
    {SEV_CMD_RECEIVE_START, SEV_STATUS_BAD_MEASUREMENT,
     "It was sent to another platform, or to a PDH that this one no longer has."},
    {SEV_CMD_RECEIVE_UPDATE_DATA, SEV_STATUS_BAD_MEASUREMENT, "The packet is damaged, or of another session."},
    {ANY_COMMAND, SEV_STATUS_WBINVD_REQUIRED,
     "WBINVD is needed on every core, parked ones too, with no DEACTIVATE before DF_FLUSH."},
    {ANY_COMMAND, SEV_STATUS_DF_FLUSH_REQUIRED, "WBINVD on every core and DF_FLUSH must come first."},
    {ANY_COMMAND, SEV_STATUS_HWERROR_UNSAFE, "Switch the machine off, and trust no guest on it."},
    {ANY_COMMAND, SEV_STATUS_HWERROR_PLATFORM, REMEDY_OFF_AND_ON "."},
    {ANY_COMMAND, SEV_STATUS_INVALID_COMMAND, "Update the BIOS for newer SEV firmware."},
    {ANY_COMMAND, SEV_STATUS_UNSUPPORTED, "Update the BIOS for newer SEV firmware."},
    {ANY_COMMAND, SEV_STATUS_BAD_SVN, "Use a newer firmware image."},
    {ANY_COMMAND, SEV_STATUS_BAD_VERSION, "Use a newer firmware image."},
    {ANY_COMMAND, 0x9000, "Update the BIOS, load its defaults, then enable SMEE; switch the machine off and on."},
    {ANY_COMMAND, UNDOCUMENTED, "Update the BIOS for newer SEV firmware; enable SMEE; switch the machine off and on."},
    {ANY_COMMAND, SEV_STATUS_RING_BUFFER_EXIT, "It was not executed: try again."},
    /* Whatever these two answer, no encrypted guest runs then. */
    {SEV_CMD_PLATFORM_STATUS, ANY_STATUS, REMEDY_OFF_AND_ON "."},
    {SEV_CMD_INIT, ANY_STATUS, "Update the BIOS for newer SEV firmware; switch the machine off and on."},
};

static const struct sentence *find(uint16_t status)
{
    static const struct sentence unknown = {0, "unknown status", "no document names this status"};
    static const struct sentence undocumented = {UNDOCUMENTED, "undocumented status",
                                                 "no document names it; boards with an old BIOS answered such"};

    for (unsigned i = 0; i < sizeof(sentences) / sizeof(*sentences); i++) {
        if (sentences[i].status == status)
            return &sentences[i];
    }
    return status >= UNDOCUMENTED ? &undocumented : &unknown;
}

const char *sev_status_remedy(uint8_t command, uint16_t status)
{
    for (unsigned i = 0; i < sizeof(remedies) / sizeof(*remedies); i++) {
        const struct remedy *r = &remedies[i];
        bool is_for = r->status == status || (r->status == ANY_STATUS && status != SEV_STATUS_SUCCESS) ||
                      (r->status == UNDOCUMENTED && status > UNDOCUMENTED);

        if (is_for && (r->command == command || r->command == ANY_COMMAND))
            return r->remedy;
    }
    return "";
}

const char *sev_version_fault(uint16_t device_id, uint32_t version)
{
    /* INIT answers 0x8003 or 0x8004: AMDESE/AMDSEV issues 32 and 36, sev-tool issue 6. */
    if (version < SEV_VERSION(0, 16, 10))
        return "below 0.16 build 10 INIT is known to fail";
    /* AMD mended it in 0.17 build 22. */
    if (version <= SEV_VERSION(0, 17, 11))
        return "CVE-2019-9836: up to 0.17 build 11 it discloses its private PDH key";
    /* AMD-SB-3003, and which version mends it, by the change log of Debian's amd64-microcode 3.20240820.1: Rome, Milan; Genoa,
     * Bergamo. Naples' and Turin's is not named there. */
    if ((device_id == 0x1486 &&
         (version < SEV_VERSION(0, 25, 0) ? version < SEV_VERSION(0, 24, 20) : version < SEV_VERSION(1, 55, 21))) ||
        (device_id == 0x14ca && version < SEV_VERSION(1, 55, 37)))
        return "CVE-2023-31356 (AMD-SB-3003): guests' memory can be corrupted";
    return NULL;
}

const char *psp_error_text(enum psp_error error)
{
    static const char *const texts[] = {
        [PSP_OK] = "done",
        [PSP_NO_DEVICE] = "no AMD Secure Processor with SEV",
        [PSP_NO_SEV] =
            "the Secure Processor is present, but its feature register says that SEV is unsupported or disabled",
        [PSP_UNKNOWN] = "an AMD encryption controller that this version does not know",
        [PSP_BLOCKED] = "the Secure Processor cannot be read: hidden by the BIOS",
        [PSP_NOT_READY] = ("the Secure Processor's mailbox is not ready. " REMEDY_OFF_AND_ON),
        [PSP_TIMEOUT] = "no answer in time; the Secure Processor is not used again. Switch the machine off and on",
        [PSP_DEAD] = "the Secure Processor failed to answer an earlier command",
        [PSP_STATE] = "not possible in this platform state or with this firmware version",
        [PSP_LENGTH] = "wrong length or alignment",
        [PSP_ANSWER] = "the SEV firmware's answer contradicts itself: update the BIOS",
        [PSP_FIRMWARE] = "the SEV firmware refused",
    };

    return error < sizeof(texts) / sizeof(*texts) ? texts[error] : "unknown error";
}

void psp_registers_log(const uint32_t cells[static PSP_CELLS])
{
    char text[160];

    text_format(text, sizeof(text),
                "registers: command 0x%08x, buffer low 0x%08x high 0x%08x, boot loader 0x%08x, feature 0x%08x",
                cells[0], cells[1], cells[2], cells[3], cells[4]);
    psp_platform_log(text);
}

void psp_result_text(struct psp_result result, char *text, size_t size)
{
    const char *name = result.command != 0 ? sev_command_name(result.command) : "",
               *colon = result.command != 0 ? ": " : "";

    if (result.error != PSP_FIRMWARE) {
        text_format(text, size, "%s%s%s", name, colon, psp_error_text(result.error));
        return;
    }

    const struct sentence *sentence = find(result.status);
    const char *remedy = sev_status_remedy(result.command, result.status);

    text_format(text, size, result.status >= UNDOCUMENTED ? "%s%s%s (0x%04x): %s%s%s" : "%s%s%s (0x%02x): %s%s%s", name,
                colon, sentence->name, result.status, sentence->text, *remedy ? ". " : "", remedy);
}
