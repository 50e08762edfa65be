/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Certificates and the chip's id, fetched after INIT, kept, and printed as base64 for guest owners. */
#include "hv/control/identity.h"

#include "hv/console/line.h"
#include "hv/console/log.h"
#include "hv/lib/panic.h"
#include "hv/lib/string.h"
#include "hv/mm/page.h"
#include "hv/mm/view.h"

#define CHAIN_PAGES ((SEV_CHAIN_SIZE + PAGE_SIZE - 1) / PAGE_SIZE)
#define LINE_BYTES 48u              /* as base64, with the prefix, less than 80 columns */
#define LINE_CHARACTERS (LINE_BYTES / 3 * 4)
#define LINES_OF(bytes) (((bytes) + LINE_BYTES - 1) / LINE_BYTES + 2)
_Static_assert(IDENTITY_LINES == LINES_OF(SEV_CHAIN_SIZE) + LINES_OF(SEV_CHIP_ID_SIZE) + 1,
               "what identity_show() prints");

struct identity identity;

static struct psp_result take(struct psp *psp, struct psp_result result, const char *what, bool *has)
{
    char text[256];
    *has = psp_ok(result);
    if (psp_ok(result) || psp->dead)
        return result;
    psp_result_text(result, text, sizeof(text));
    log_print(LOG_ERROR, "sev: %s unknown: %s", what, text);
    return (struct psp_result){0};
}

void identity_init(void)
{
    paddr_t pages;
    if (identity.chain != NULL)
        return;
    ASSERT(page_alloc(CHAIN_PAGES, &pages));
    identity.chain = page_va(pages);
}

struct psp_result identity_request_chain(struct psp *psp)
{
    return sev_pdh_cert_export(psp, (psp_addr_t){view_firmware_address(page_pa(identity.chain), VIEW_ENCRYPTED)});
}

struct psp_result identity_take_chain(struct psp *psp, struct psp_result result)
{
    bool before = identity.has_pdh;
    result = take(psp, sev_pdh_cert_export_answer(psp, result), "the platform's certificates are", &identity.has_pdh);
    if (before && identity.has_pdh)
        identity.survival = memcmp(identity.key, identity.chain + SEV_CERT_KEY_AT, sizeof(identity.key)) == 0
                                ? "the PDH survives SHUTDOWN and INIT: sessions made with it stay valid at later starts"
                                : "the PDH does not survive INIT: sessions made before this start cannot be launched";
    memcpy(identity.key, identity.chain + SEV_CERT_KEY_AT, sizeof(identity.key));
    return result;
}

struct psp_result identity_take_id(struct psp *psp, struct psp_result result)
{
    return take(psp, sev_get_id_answer(psp, result, identity.chip), "the chip's id is", &identity.has_chip);
}

/* RFC 4648, with padding. */
static void base64(char text[static LINE_CHARACTERS + 1], const uint8_t *bytes, size_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t at = 0; at < count; at += 3) {
        uint32_t left = (uint32_t)(count - at), group = (uint32_t)bytes[at] << 16;
        group |= (left > 1 ? (uint32_t)bytes[at + 1] << 8 : 0) | (left > 2 ? bytes[at + 2] : 0);
        *text++ = digits[group >> 18];
        *text++ = digits[group >> 12 & 63];
        *text++ = left > 1 ? digits[group >> 6 & 63] : '=';
        *text++ = left > 2 ? digits[group & 63] : '=';
    }
    *text = '\0';
}

static void show_block(const char *what, const uint8_t *bytes, size_t size)
{
    char line[LINE_CHARACTERS + 1];
    line_print("sev pdh: -----BEGIN %s-----", what);
    for (size_t at = 0; at < size; at += LINE_BYTES) {
        base64(line, bytes + at, size - at < LINE_BYTES ? size - at : LINE_BYTES);
        line_print("sev pdh: %s", line);
    }
    line_print("sev pdh: -----END %s-----", what);
}

void identity_show(void)
{
    if (!identity.has_pdh)
        line_print(
            "monitor: the platform's certificates are not known: no guest and no setting needs SEV, or the secure "
            "processor cannot be used, as the log says");
    else
        show_block("SEV CERTIFICATE CHAIN", identity.chain, SEV_CHAIN_SIZE);
    if (identity.has_chip)
        show_block("SEV CHIP ID", identity.chip, SEV_CHIP_ID_SIZE);
    if (identity.has_pdh)
        line_print(
            "monitor: %s",
            identity.survival != NULL
                ? identity.survival
                : "whether the PDH survives INIT is not known: with show-pdh = true in guests.toml it is tested at start");
}
