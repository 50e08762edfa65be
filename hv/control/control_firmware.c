/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The control guest's commands to the SEV firmware. psp/'s table has all that differs between them. What is checked is hv's
 * copy of the request; what the SEV firmware reads and writes in the window is between it and the control guest, who may change
 * it meanwhile.
 *
 * Caches: hv maps none of a guest's private memory, so that it has no lines of it to flush, as Linux flushes those of its own
 * mapping before DBG_*, LAUNCH_SECRET and RECEIVE_UPDATE_*. Lines under the guest's key are written back by the WBINVD that
 * follows its pause or its launch. Of a guest that runs, DBG_* sees what has left the caches, as with Linux.
 */
#include "hv/control/control_firmware.h"

#include "hv/control/sev.h"
#include "hv/lib/string.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"
#include "hv/vm/pages.h"

#define GUEST_ALIGN 16u     /* SEV API 6: address and length of a guest's memory, in all commands */

_Static_assert(sizeof(((struct control_request *)0)->buffer) == PSP_ANSWER_SIZE, "every command's buffer fits");
_Static_assert(sizeof(((struct control_answer *)0)->buffer) == PSP_ANSWER_SIZE, "and its answer");

static const struct psp_command_row *row_of(const struct control_request *request)
{
    const struct psp_command_row *row =
        request->command <= UINT8_MAX ? psp_command_row((uint8_t)request->command) : NULL;
    return row != NULL && row->class != PSP_HV_ONLY ? row : NULL;
}

static uint32_t word(const uint8_t *buffer, uint32_t offset)
{
    uint32_t value;
    memcpy(&value, buffer + offset, sizeof(value));
    return value;
}

/* A SEV guest's launch has begun, or its end is not over. */
static bool sev_guest_lives(void)
{
    for (uint32_t i = 0, count = guest_count(); i < count; i++)
        if (guests[i].sev && guests[i].asid != 0)
            return true;
    return false;
}

static enum control_result check_class(const struct psp_command_row *row, const struct guest *guest,
                                       enum control_state state)
{
    static const uint16_t states[] = {
        [PSP_GUEST] = UINT16_MAX,
        [PSP_GUEST_HELD] = 1u << CONTROL_STATE_HELD,
        [PSP_GUEST_LIVE] = 1u << CONTROL_STATE_RUNNING | 1u << CONTROL_STATE_PAUSED,
        [PSP_GUEST_PAUSED] = 1u << CONTROL_STATE_PAUSED,
        [PSP_GUEST_RECEIVING] = 1u << CONTROL_STATE_RECEIVING,
    };
    if (row->class < PSP_GUEST)
        return row->class == PSP_PLATFORM_IDLE && sev_guest_lives() ? CONTROL_IN_USE : CONTROL_OK;
    if (guest == NULL)
        return CONTROL_NO_GUEST;
    if (!guest->sev_context || (states[row->class] >> state & 1) == 0)
        return CONTROL_STATE;
    return (guest->sev_policy & row->forbidden) != 0 ? CONTROL_POLICY : CONTROL_OK;
}

/* Zero where hv or the API wants zero: the handle, reserved words, all behind the buffer's end. */
static bool is_well_formed(const struct psp_command_row *row, const uint8_t *buffer)
{
    uint32_t zero = row->zero | (row->class >= PSP_GUEST ? 1 : 0);
    for (uint32_t at = 0; at < row->size; at += sizeof(uint32_t))
        if ((zero >> at / sizeof(uint32_t) & 1) != 0 && word(buffer, at) != 0)
            return false;
    for (uint32_t at = row->size; at < PSP_ANSWER_SIZE; at++)
        if (buffer[at] != 0)
            return false;
    return true;
}

/* Copies INIT_EX's persistent data between hv's pages and [data, data+SEV_NV_SIZE) of the window. */
static bool copy_nv(const struct control_call *call, uint64_t data, bool out)
{
    uint8_t *nv = sev_nv(false), *window;
    if (nv == NULL || data < CONTROL_DATA || data > CONTROL_WINDOW_SIZE - SEV_NV_SIZE || data % PAGE_SIZE != 0)
        return false;
    window = window_map(paddr_add(call->window, data), SEV_NV_SIZE, VIEW_PLAIN);
    if (window == NULL)
        return false;
    memcpy(out ? window : nv, out ? nv : window, SEV_NV_SIZE);
    window_unmap(window, SEV_NV_SIZE);
    return true;
}

/* Puts the physical address in place of the request's. A length of 0 says that there is none: the SEV firmware may tell which it
 * wants (SEV API 4.1.2). */
static bool place(const struct control_call *call, const struct psp_reference *reference, uint8_t *buffer)
{
    struct guest *guest = call->guest;
    uint64_t at, address = 0;
    uint32_t length = reference->length != 0 ? word(buffer, reference->length) : (uint32_t)PAGE_SIZE;
    paddr_t where;
    memcpy(&at, buffer + reference->address, sizeof(at));
    if (length > CONTROL_DATA_SIZE)
        return false;
    if (reference->kind == PSP_INOUT) {
        if (length != SEV_NV_SIZE || !copy_nv(call, at, false))
            return false;
        address = view_firmware_address(page_pa(sev_nv(false)), VIEW_ENCRYPTED);
    } else if (length != 0 && (reference->kind & PSP_GUEST_MEMORY) != 0) {
        /* LAUNCH_SECRET's MAC does not cover the address: what was measured stays. */
        if (at % GUEST_ALIGN != 0 || length % GUEST_ALIGN != 0 ||
            !guest_ram_address(guest, gpaddr(at), length, &where) ||
            (guest->awaits == CONTROL_STATE_HELD &&
             (at != guest->config->secret_gpa || length > guest->config->secret_size)))
            return false;
        /* The guest's key is chosen by its handle; Linux sets the C-bit as in its own mappings, and always for SEND_* and
         * RECEIVE_* (svm/sev.c). Where there is SEV, hv runs with SME: both are the same. */
        address = view_firmware_address(where, VIEW_ENCRYPTED);
        if ((reference->kind & PSP_OUT) != 0)
            npt_mark(&guest->npt, gpaddr(at), length);
        if (guest->awaits == CONTROL_STATE_RECEIVING)
            pages_set_shared(guest, gpaddr(at), length, false);
    } else if (length != 0) {
        if (at < CONTROL_DATA || at > CONTROL_WINDOW_SIZE - length)
            return false;
        address = view_firmware_address(paddr_add(call->window, at), VIEW_PLAIN);
    }
    memcpy(buffer + reference->address, &address, sizeof(address));
    return true;
}

enum control_result control_firmware_submit(struct control_call *call, enum control_state state)
{
    const struct psp_command_row *row = row_of(&call->request);
    uint8_t buffer[PSP_ANSWER_SIZE];
    if (row == NULL)
        return CONTROL_UNKNOWN;
    if (sev_psp()->registers == NULL || sev_psp()->dead)
        return CONTROL_NO_SEV;
    if (sev_starting() || (row->states >> sev_psp()->status.state & 1) == 0)
        return CONTROL_STATE;
    enum control_result result = check_class(row, call->guest, state);
    if (result != CONTROL_OK)
        return result;
    memcpy(buffer, call->request.buffer, sizeof(buffer));
    if (!is_well_formed(row, buffer))
        return CONTROL_INVALID;
    if (row->command == SEV_CMD_INIT_EX && sev_nv(true) == NULL)
        return CONTROL_LIMIT;
    if (row->class >= PSP_GUEST)
        memcpy(buffer, &call->guest->sev_handle, sizeof(call->guest->sev_handle));
    for (uint32_t i = 0; i < PSP_REFERENCES && row->references[i].kind != 0; i++)
        if (!place(call, &row->references[i], buffer))
            return CONTROL_INVALID;
    struct psp_result submitted = psp_submit(sev_psp(), row->command, buffer);
    if (sev_submitted(call->job, submitted))
        return CONTROL_OK;
    return submitted.error == PSP_STATE ? CONTROL_STATE : CONTROL_NO_SEV;
}

/* What a command of the platform's leaves behind. */
static void note_platform(const struct psp_command_row *row, struct control_call *call)
{
    if (call->request.size >= SEV_NV_SIZE && copy_nv(call, call->request.data, true))
        call->answer.size = SEV_NV_SIZE;
    if (row->class == PSP_PLATFORM_IDLE || row->command == SEV_CMD_PDH_GEN)
        sev_changed(row->command);
}

/* What a guest's does. */
static void note_guest(const struct psp_command_row *row, struct psp_result result, struct guest *guest)
{
    for (uint32_t i = 0; i < PSP_REFERENCES; i++)
        if (result.error == PSP_TIMEOUT && row->references[i].kind == (PSP_OUT | PSP_GUEST_MEMORY))
            guest->sev_memory_given = true;
    guest->secret_placed |= psp_ok(result) && row->command == SEV_CMD_LAUNCH_SECRET;
    guest->received |= psp_ok(result) && row->command == SEV_CMD_RECEIVE_FINISH;
    /* It may run where it was sent to, and never here again. */
    if (psp_ok(result) && row->command == SEV_CMD_SEND_FINISH)
        guest_end(guest, GUEST_END_DESTROYED, "sent to another platform by the control guest");
}

void control_firmware_answer(struct control_call *call, struct psp_result result)
{
    const struct psp_command_row *row = row_of(&call->request);
    struct control_answer *answer = &call->answer;
    bool answered = psp_ok(result) || result.error == PSP_FIRMWARE;
    answer->result = psp_ok(result) ? CONTROL_OK : CONTROL_SEV_FAILED;
    answer->status = answered ? result.status : 0x10000u + result.error;
    if (!psp_ok(result))
        psp_result_text(result, answer->text, sizeof(answer->text));
    if (answered)
        memcpy(answer->buffer, sev_psp()->answer, row->size);
    for (uint32_t i = 0; answered && i < PSP_REFERENCES && row->references[i].kind != 0; i++)
        memset(answer->buffer + row->references[i].address, 0, sizeof(uint64_t));
    if (row->class >= PSP_GUEST)
        note_guest(row, result, call->guest);
    else if (psp_ok(result))
        note_platform(row, call);
}
