/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * All that the driver knows of each command, in one table, and the one
 * function that sends them. A command has a row when a function in psp/ sends it.
 *
 * The time limits are generous, for a limit that is too short makes a good
 * device dead: 100 s where keys are made, memory is cleared or flash is
 * written, 30 s elsewhere. SEV API 5 and 6; versions as drivers gate them.
 */
#include "psp/internal.h"

enum {
    UNINIT = 1 << SEV_PLATFORM_UNINIT,
    INIT = 1 << SEV_PLATFORM_INIT,
    WORKING = 1 << SEV_PLATFORM_WORKING,
    UP = INIT | WORKING,
    ANY = UNINIT | INIT | WORKING,
    TO_UNINIT = SEV_PLATFORM_UNINIT,
    TO_INIT = SEV_PLATFORM_INIT,
    TO_WORKING = SEV_PLATFORM_WORKING,
    KEEPS = PSP_STATE_KEEPS,
};

#define API(major, minor) ((major) * 256 + (minor))
#define SIZE(buffer) sizeof(struct sev_##buffer##_buffer)

static const struct psp_command_row rows[] = {
    /* name, id, bytes, direction, legal in, then, limit in seconds, since version */
    { "INIT",                SEV_CMD_INIT,                SIZE(init),               PSP_IN,    UNINIT, TO_INIT,    100, 0 },
    { "SHUTDOWN",            SEV_CMD_SHUTDOWN,            0,                        PSP_NONE,  ANY,    TO_UNINIT,  100, 0 },
    { "PLATFORM_STATUS",     SEV_CMD_PLATFORM_STATUS,     SIZE(platform_status),    PSP_OUT,   ANY,    KEEPS,       30, 0 },
    { "PDH_CERT_EXPORT",     SEV_CMD_PDH_CERT_EXPORT,     SIZE(pdh_cert_export),    PSP_INOUT, UP,     KEEPS,       30, 0 },
    { "DF_FLUSH",            SEV_CMD_DF_FLUSH,            0,                        PSP_NONE,  UP,     KEEPS,       30, 0 },
    { "DOWNLOAD_FIRMWARE",   SEV_CMD_DOWNLOAD_FIRMWARE,   SIZE(download_firmware),  PSP_IN,    UNINIT, KEEPS,      100, API(0, 15) },
    { "GET_ID",              SEV_CMD_GET_ID,              SIZE(get_id),             PSP_INOUT, ANY,    KEEPS,       30, API(0, 16) },

    /* The last DECOMMISSION leads back to INIT, PLATFORM_STATUS tells. */
    { "DECOMMISSION",        SEV_CMD_DECOMMISSION,        SIZE(handle),             PSP_IN,    UP,     KEEPS,       30, 0 },
    { "ACTIVATE",            SEV_CMD_ACTIVATE,            SIZE(activate),           PSP_IN,    UP,     KEEPS,       30, 0 },
    { "DEACTIVATE",          SEV_CMD_DEACTIVATE,          SIZE(handle),             PSP_IN,    UP,     KEEPS,       30, 0 },
    { "GUEST_STATUS",        SEV_CMD_GUEST_STATUS,        SIZE(guest_status),       PSP_INOUT, UP,     KEEPS,       30, 0 },

    { "LAUNCH_START",        SEV_CMD_LAUNCH_START,        SIZE(launch_start),       PSP_INOUT, UP,     TO_WORKING,  30, 0 },
    { "LAUNCH_UPDATE_DATA",  SEV_CMD_LAUNCH_UPDATE_DATA,  SIZE(launch_update_data), PSP_IN,    UP,     KEEPS,       30, 0 },
    { "LAUNCH_MEASURE",      SEV_CMD_LAUNCH_MEASURE,      SIZE(launch_measure),     PSP_INOUT, UP,     KEEPS,       30, 0 },
    { "LAUNCH_FINISH",       SEV_CMD_LAUNCH_FINISH,       SIZE(handle),             PSP_IN,    UP,     KEEPS,       30, 0 },
};

const struct psp_command_row *psp_command_row(uint8_t command)
{
    for (unsigned i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (rows[i].command == command)
            return &rows[i];
    }
    return NULL;
}

const char *sev_command_name(uint8_t command)
{
    const struct psp_command_row *row = psp_command_row(command);

    return row ? row->name : "unknown command";
}

/* What can be known to be wrong without asking the firmware. */
static enum psp_error refusal(const struct psp *psp, const struct psp_command_row *row, const void *buffer)
{
    if (psp->dead)
        return PSP_DEAD;
    if (!psp->registers)
        return PSP_NO_DEVICE;
    if (!row || !(row->states >> psp->status.state & 1))
        return PSP_STATE;
    if (API(psp->status.api_major, psp->status.api_minor) < row->api)
        return PSP_STATE;
    return row->size != 0 && !buffer ? PSP_LENGTH : PSP_OK;
}

struct psp_result psp_command_locked(struct psp *psp, uint8_t command, void *buffer)
{
    const struct psp_command_row *row = psp_command_row(command);
    struct psp_result result = { .error = refusal(psp, row, buffer), .command = command };

    if (result.error != PSP_OK)
        return result;

    psp_addr_t address = { 0 };
    void *page = psp_platform_command_page(&address);
    uint64_t timeout_us = psp->used ? row->timeout_s * UINT64_C(1000000) : PSP_FIRST_TIMEOUT_US;

    __builtin_memset(page, 0, PSP_PAGE_SIZE);
    if (row->direction & PSP_IN)
        __builtin_memcpy(page, buffer, row->size);
    if (row->size == 0)
        address.raw = 0;

    result.error = psp_mailbox_call(psp, command, address, timeout_us, &result.status);
    if (result.error != PSP_OK) {
        char text[160];

        psp_result_text(result, text, sizeof text);
        psp_platform_log(text);
        psp_mailbox_log(psp);
        return result;
    }
    if (row->direction & PSP_OUT)
        __builtin_memcpy(buffer, page, row->size);
    if (result.status != SEV_STATUS_SUCCESS) {
        result.error = PSP_FIRMWARE;
        psp_mailbox_log(psp);
    } else if (row->next != PSP_STATE_KEEPS) {
        psp->status.state = row->next;
    }
    return result;
}

struct psp_result psp_command_disbelieve(const struct psp *psp, struct psp_result result)
{
    result.error = PSP_ANSWER;
    psp_mailbox_log(psp);
    return result;
}

struct psp_result psp_command(struct psp *psp, uint8_t command, void *buffer)
{
    psp_platform_lock();
    struct psp_result result = psp_command_locked(psp, command, buffer);
    psp_platform_unlock();
    return result;
}
