/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * All that the driver knows of each command of SEV and SEV-ES, in one table, and the
 * functions that send them and look for their answers.
 *
 * The time limits are generous, for one that is too short would make the driver
 * give up a working device: 100 s where keys are made, memory is cleared or flash is
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
/* Of what psp->answer has room for. */
#define SIZE(buffer)                        \
    (sizeof(struct sev_##buffer##_buffer) + \
     0 * sizeof(char[sizeof(struct sev_##buffer##_buffer) <= PSP_ANSWER_SIZE ? 1 : -1]))

/* The SEV firmware checks them for SEND_* and DBG_*; but COPY and SWAP_* move a guest's memory, too. */
#define NODBG SEV_POLICY_NODBG
#define NOSEND SEV_POLICY_NOSEND

#define ROW(command) #command, SEV_CMD_##command
#define ZERO(at) (UINT32_C(1) << (at) / 4)
#define READS(address, length) {PSP_IN, address, length}
#define WRITES(address, length) {PSP_OUT, address, length}
#define READS_GUEST(address, length) {PSP_IN | PSP_GUEST_MEMORY, address, length}
#define WRITES_GUEST(address, length) {PSP_OUT | PSP_GUEST_MEMORY, address, length}
/* Header, guest's memory, transport buffer. */
#define PACKET_ZERO ZERO(0x04) | ZERO(0x14) | ZERO(0x24)
#define PACKET_OUT {WRITES(0x08, 0x10), READS_GUEST(0x18, 0x20), WRITES(0x28, 0x30)}
#define PACKET_IN {READS(0x08, 0x10), WRITES_GUEST(0x18, 0x20), READS(0x28, 0x30)}

/* clang-format off */
static const struct psp_command_row rows[] = {
    /* name, id, bytes, direction, legal in, then, limit in seconds, since version */
    {ROW(INIT), 0x14, PSP_IN, UNINIT, TO_INIT, 100, 0, .class = PSP_PLATFORM_IDLE,
     .zero = ZERO(0x00) | ZERO(0x04) | ZERO(0x08) | ZERO(0x0c) | ZERO(0x10)},
    {ROW(SHUTDOWN), 0, PSP_NONE, ANY, TO_UNINIT, 100, 0, .class = PSP_PLATFORM_IDLE},
    {ROW(PLATFORM_RESET), 0, PSP_NONE, UNINIT, KEEPS, 100, 0, .class = PSP_PLATFORM_IDLE},
    {ROW(PLATFORM_STATUS), SIZE(platform_status), PSP_OUT, ANY, KEEPS, 30, 0, .class = PSP_PLATFORM},
    /* PEK_GEN, PEK_CERT_IMPORT: in INIT only, but the driver sees no return from WORKING: see DECOMMISSION. */
    {ROW(PEK_GEN), 0, PSP_NONE, UP, KEEPS, 100, 0, .class = PSP_PLATFORM_IDLE},
    {ROW(PEK_CSR), 0x0c, PSP_INOUT, UP, KEEPS, 30, 0, .class = PSP_PLATFORM, .references = {WRITES(0x00, 0x08)}},
    {ROW(PEK_CERT_IMPORT), 0x1c, PSP_IN, UP, KEEPS, 100, 0, .class = PSP_PLATFORM_IDLE, .zero = ZERO(0x0c),
     .references = {READS(0x00, 0x08), READS(0x10, 0x18)}},
    {ROW(PDH_CERT_EXPORT), SIZE(pdh_cert_export), PSP_INOUT, UP, KEEPS, 30, 0, .class = PSP_PLATFORM, .zero = ZERO(0x0c),
     .references = {WRITES(0x00, 0x08), WRITES(0x10, 0x18)}},
    {ROW(PDH_GEN), 0, PSP_NONE, UP, KEEPS, 100, 0, .class = PSP_PLATFORM},
    {ROW(DF_FLUSH), 0, PSP_NONE, UP, KEEPS, 30, 0, .class = PSP_PLATFORM},
    {ROW(DOWNLOAD_FIRMWARE), SIZE(download_firmware), PSP_IN, UNINIT, KEEPS, 100, API(0, 15), .class = PSP_PLATFORM_IDLE,
     .references = {READS(0x00, 0x08)}},
    {ROW(GET_ID), SIZE(get_id), PSP_INOUT, ANY, KEEPS, 30, API(0, 16), .class = PSP_PLATFORM,
     .references = {WRITES(0x00, 0x08)}},
    {ROW(INIT_EX), 0x24, PSP_IN, UNINIT, TO_INIT, 100, 0, .class = PSP_PLATFORM_IDLE,
     .zero = ZERO(0x04) | ZERO(0x08) | ZERO(0x0c) | ZERO(0x10) | ZERO(0x14), .references = {{PSP_INOUT, 0x18, 0x20}}},
    {ROW(NOP), 0, PSP_NONE, ANY, KEEPS, 30, 0, .class = PSP_PLATFORM},
    {ROW(RING_BUFFER), 0x28, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_HV_ONLY},

    /* The last DECOMMISSION leads back to INIT, PLATFORM_STATUS tells. */
    {ROW(DECOMMISSION), 0x04, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_HV_ONLY},
    {ROW(ACTIVATE), SIZE(activate), PSP_IN, UP, KEEPS, 30, 0, .class = PSP_HV_ONLY},
    {ROW(DEACTIVATE), 0x04, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_HV_ONLY},
    {ROW(GUEST_STATUS), 0x0d, PSP_INOUT, UP, KEEPS, 30, 0, .class = PSP_GUEST},
    {ROW(COPY), 0x18, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_PAUSED, .forbidden = NODBG,
     .references = {READS_GUEST(0x08, 0x04), WRITES_GUEST(0x10, 0x04)}},
    {ROW(ACTIVATE_EX), 0x18, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_HV_ONLY},

    {ROW(LAUNCH_START), SIZE(launch_start), PSP_INOUT, UP, TO_WORKING, 30, 0, .class = PSP_HV_ONLY},
    {ROW(LAUNCH_UPDATE_DATA), SIZE(launch_update_data), PSP_IN, UP, KEEPS, 30, 0, .class = PSP_HV_ONLY},
    {ROW(LAUNCH_UPDATE_VMSA), 0x14, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_HV_ONLY},
    {ROW(LAUNCH_MEASURE), SIZE(launch_measure), PSP_INOUT, UP, KEEPS, 30, 0, .class = PSP_HV_ONLY},
    {ROW(LAUNCH_SECRET), 0x34, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_HELD, .zero = PACKET_ZERO,
     .references = PACKET_IN},
    {ROW(LAUNCH_FINISH), 0x04, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_HV_ONLY},
    {ROW(ATTESTATION), 0x24, PSP_INOUT, UP, KEEPS, 30, 0, .class = PSP_GUEST_LIVE, .zero = ZERO(0x04),
     .references = {WRITES(0x08, 0x20)}},

    {ROW(SEND_START), 0x44, PSP_INOUT, UP, KEEPS, 30, 0, .class = PSP_GUEST_LIVE, .forbidden = NOSEND,
     .zero = ZERO(0x14) | ZERO(0x24) | ZERO(0x34),
     .references = {READS(0x08, 0x10), READS(0x18, 0x20), READS(0x28, 0x30), WRITES(0x38, 0x40)}},
    {ROW(SEND_UPDATE_DATA), 0x34, PSP_INOUT, UP, KEEPS, 30, 0, .class = PSP_GUEST_LIVE, .forbidden = NOSEND,
     .zero = PACKET_ZERO, .references = PACKET_OUT},
    {ROW(SEND_UPDATE_VMSA), 0x34, PSP_INOUT, UP, KEEPS, 30, 0, .class = PSP_GUEST_PAUSED, .forbidden = NOSEND,
     .zero = PACKET_ZERO, .references = PACKET_OUT},
    {ROW(SEND_FINISH), 0x04, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_PAUSED, .forbidden = NOSEND},
    {ROW(SEND_CANCEL), 0x04, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_LIVE, .forbidden = NOSEND},
    {ROW(RECEIVE_START), 0x24, PSP_INOUT, UP, TO_WORKING, 30, 0, .class = PSP_HV_ONLY},
    {ROW(RECEIVE_UPDATE_DATA), 0x34, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_RECEIVING, .zero = PACKET_ZERO,
     .references = PACKET_IN},
    {ROW(RECEIVE_UPDATE_VMSA), 0x34, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_RECEIVING, .zero = PACKET_ZERO,
     .references = PACKET_IN},
    {ROW(RECEIVE_FINISH), 0x04, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_RECEIVING},

    {ROW(DBG_DECRYPT), 0x1c, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_LIVE, .forbidden = NODBG, .zero = ZERO(0x04),
     .references = {READS_GUEST(0x08, 0x18), WRITES(0x10, 0x18)}},
    {ROW(DBG_ENCRYPT), 0x1c, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_LIVE, .forbidden = NODBG, .zero = ZERO(0x04),
     .references = {READS(0x08, 0x18), WRITES_GUEST(0x10, 0x18)}},
    /* The word at 4 says 2 MiB, a VMSA, or in place: of these only pages of 4 KiB of data, out of place. */
    {ROW(SWAP_OUT), 0x28, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_PAUSED, .forbidden = NODBG | NOSEND,
     .zero = ZERO(0x04), .references = {READS_GUEST(0x08, 0), WRITES(0x10, 0), WRITES(0x18, 0)}},
    {ROW(SWAP_IN), 0x20, PSP_IN, UP, KEEPS, 30, 0, .class = PSP_GUEST_PAUSED, .forbidden = NODBG | NOSEND,
     .zero = ZERO(0x04), .references = {READS(0x08, 0), WRITES_GUEST(0x10, 0), READS(0x18, 0)}},
};
/* clang-format on */

const struct psp_command_row *psp_command_row(uint8_t command)
{
    for (unsigned i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
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

/* What can be known to be wrong without asking the SEV firmware. */
struct psp_result psp_check(const struct psp *psp, uint8_t command, const void *buffer)
{
    const struct psp_command_row *row = psp_command_row(command);
    struct psp_result result = {.command = command};

    if (psp->dead)
        result.error = PSP_DEAD;
    else if (!psp->registers)
        result.error = PSP_NO_DEVICE;
    else if (psp->outstanding || !row || !(row->states >> psp->status.state & 1) ||
             API(psp->status.api_major, psp->status.api_minor) < row->api)
        result.error = PSP_STATE;
    else if (row->size != 0 && !buffer)
        result.error = PSP_LENGTH;
    return result;
}

struct psp_result psp_submit(struct psp *psp, uint8_t command, const void *buffer)
{
    const struct psp_command_row *row = psp_command_row(command);
    struct psp_result result = psp_check(psp, command, buffer);

    if (!psp_ok(result))
        return result;

    psp_addr_t address = {0};
    void *page = psp_platform_command_page(&address);

    __builtin_memset(page, 0, PSP_PAGE_SIZE);
    if (row->direction & PSP_IN)
        __builtin_memcpy(page, buffer, row->size);
    if (row->size == 0)
        address.raw = 0;
    psp->outstanding = row;
    psp_mailbox_wait(psp, psp->used ? row->timeout_s * UINT64_C(1000000) : PSP_FIRST_TIMEOUT_US);
    psp_mailbox_ring(psp, command, address);
    return result;
}

struct psp_result sev_command(struct psp *psp, uint8_t command, uint32_t handle)
{
    uint32_t buffer[PSP_ANSWER_SIZE / sizeof(handle)] = {handle};

    return psp_submit(psp, command, buffer);
}

static struct psp_result unanswered(struct psp *psp, struct psp_result result)
{
    char text[160];

    psp->dead = true;
    result.error = PSP_TIMEOUT;
    psp_result_text(result, text, sizeof(text));
    psp_platform_log(text);
    psp_mailbox_log(psp);
    return result;
}

bool psp_command_poll(struct psp *psp, struct psp_result *result)
{
    const struct psp_command_row *row = psp->outstanding;
    uint32_t cmdresp;
    psp_addr_t address;

    *result = (struct psp_result){.error = PSP_STATE};
    if (!row)
        return true;
    enum psp_look look = psp_mailbox_look(psp, &cmdresp);
    if (look == PSP_NOTHING_YET)
        return false;
    __asm__ volatile("" ::: "memory");  /* the buffer is read after the answer */

    *result = (struct psp_result){.command = row->command};
    psp->outstanding = NULL;
    psp->command_us += psp_platform_now_us() - psp->submitted_us;
    if (look == PSP_OVER || cmdresp == PSP_ABSENT) {    /* no answer in time, or the device is gone from the bus */
        *result = unanswered(psp, *result);
        return true;
    }
    psp->used = true;
    result->status = (uint16_t)(cmdresp & PSP_CMDRESP_STATUS);
    __builtin_memcpy(psp->answer, psp_platform_command_page(&address), row->size);
    if (result->status != SEV_STATUS_SUCCESS) {
        result->error = PSP_FIRMWARE;
        psp_mailbox_log(psp);
    } else if (row->next != PSP_STATE_KEEPS) {
        psp->status.state = row->next;
    }
    return true;
}

bool psp_poll(struct psp *psp, struct psp_result *result)
{
    return psp->attach != PSP_ATTACHED ? psp_attach_poll(psp, result) : psp_command_poll(psp, result);
}

struct psp_result psp_command_bad_answer(const struct psp *psp, struct psp_result result)
{
    result.error = PSP_ANSWER;
    psp_mailbox_log(psp);
    return result;
}
