/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Commands that concern one guest: SEV API 6. */
#include "psp/internal.h"

/* How much one LAUNCH_UPDATE_DATA covers: at the few MiB/s of older parts it is
 * far from the time limit, and other guests' commands get their turn. */
#define LAUNCH_UPDATE_CHUNK UINT32_C(0x100000)

/* Where LAUNCH_START's data lie in the data page. */
struct launch_data {
    uint8_t dh_cert[SEV_CERT_SIZE];
    uint8_t padding[12];
    uint8_t session[SEV_SESSION_SIZE];
};
_Static_assert(offsetof(struct launch_data, session) % 16 == 0, "session is aligned");
_Static_assert(sizeof(struct launch_data) <= PSP_PAGE_SIZE, "fits the data page");

struct psp_result sev_launch_start(struct psp *psp, uint32_t policy, const void *dh_cert,
                                   const void *session, uint32_t *handle)
{
    struct sev_launch_start_buffer request = { .handle = SEV_HANDLE_NONE, .policy = policy };
    struct psp_result result = { .error = PSP_LENGTH, .command = SEV_CMD_LAUNCH_START };
    psp_addr_t address = { 0 };

    if (!dh_cert != !session)
        return result;

    psp_platform_lock();
    if (dh_cert) {
        struct launch_data *data = psp_platform_data_page(&address);

        __builtin_memset(data, 0, PSP_PAGE_SIZE);
        __builtin_memcpy(data->dh_cert, dh_cert, SEV_CERT_SIZE);
        __builtin_memcpy(data->session, session, SEV_SESSION_SIZE);
        request.dh_cert_paddr = address.raw + offsetof(struct launch_data, dh_cert);
        request.dh_cert_len = SEV_CERT_SIZE;
        request.session_paddr = address.raw + offsetof(struct launch_data, session);
        request.session_len = SEV_SESSION_SIZE;
    }
    result = psp_command_locked(psp, SEV_CMD_LAUNCH_START, &request);
    psp_platform_unlock();

    if (psp_ok(result)) {
        if (request.handle == SEV_HANDLE_NONE)
            result = psp_command_disbelieve(psp, result);
        else
            *handle = request.handle;
    }
    return result;
}

struct psp_result sev_activate(struct psp *psp, uint32_t handle, uint32_t asid)
{
    struct sev_activate_buffer request = { .handle = handle, .asid = asid };

    return psp_command(psp, SEV_CMD_ACTIVATE, &request);
}

/* The digest runs over the bytes in their order and knows no borders of commands,
 * so cutting is free. After an error the guest is good for DECOMMISSION only. */
struct psp_result sev_launch_update_data(struct psp *psp, uint32_t handle, psp_addr_t address, uint32_t size)
{
    struct psp_result result = { .error = PSP_LENGTH, .command = SEV_CMD_LAUNCH_UPDATE_DATA };
    uint64_t end;

    if (size == 0 || size % SEV_LAUNCH_ALIGN != 0 || address.raw % SEV_LAUNCH_ALIGN != 0 ||
        __builtin_add_overflow(address.raw, size, &end))
        return result;

    for (uint32_t done = 0; done < size;) {
        uint32_t length = size - done < LAUNCH_UPDATE_CHUNK ? size - done : LAUNCH_UPDATE_CHUNK;
        struct sev_launch_update_data_buffer request = {
            .handle = handle, .paddr = address.raw + done, .length = length,
        };

        result = psp_command(psp, SEV_CMD_LAUNCH_UPDATE_DATA, &request);
        if (!psp_ok(result))
            return result;
        done += length;
    }
    return result;
}

struct psp_result sev_launch_measure(struct psp *psp, uint32_t handle, struct sev_measurement *measurement)
{
    psp_addr_t address = { 0 };

    psp_platform_lock();

    void *data = psp_platform_data_page(&address);
    struct sev_launch_measure_buffer request = {
        .handle = handle, .measure_paddr = address.raw, .measure_len = sizeof *measurement,
    };

    __builtin_memset(data, 0, sizeof *measurement);
    struct psp_result result = psp_command_locked(psp, SEV_CMD_LAUNCH_MEASURE, &request);

    if (psp_ok(result)) {
        if (request.measure_len == sizeof *measurement)
            __builtin_memcpy(measurement, data, sizeof *measurement);
        else
            result = psp_command_disbelieve(psp, result);
    }
    psp_platform_unlock();
    return result;
}

/* The commands whose buffer is a handle and nothing else. */
static struct psp_result handle_command(struct psp *psp, uint8_t command, uint32_t handle)
{
    struct sev_handle_buffer request = { .handle = handle };

    return psp_command(psp, command, &request);
}

struct psp_result sev_launch_finish(struct psp *psp, uint32_t handle)
{
    return handle_command(psp, SEV_CMD_LAUNCH_FINISH, handle);
}

struct psp_result sev_guest_status(struct psp *psp, uint32_t handle, struct sev_guest_status *status)
{
    struct sev_guest_status_buffer request = { .handle = handle };
    struct psp_result result = psp_command(psp, SEV_CMD_GUEST_STATUS, &request);

    if (!psp_ok(result))
        return result;
    /* A guest that has a handle has left UNINIT. */
    if (request.state == SEV_GUEST_UNINIT || request.state > SEV_GUEST_SENT)
        return psp_command_disbelieve(psp, result);
    *status = (struct sev_guest_status){ .policy = request.policy, .asid = request.asid, .state = request.state };
    return result;
}

struct psp_result sev_deactivate(struct psp *psp, uint32_t handle)
{
    return handle_command(psp, SEV_CMD_DEACTIVATE, handle);
}

struct psp_result sev_decommission(struct psp *psp, uint32_t handle)
{
    return handle_command(psp, SEV_CMD_DECOMMISSION, handle);
}
