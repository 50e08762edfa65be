/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Commands that concern one guest: SEV API 6. */
#include "psp/internal.h"

/* Where LAUNCH_START's data lie in the data page. */
struct launch_data {
    uint8_t dh_cert[SEV_CERT_SIZE];
    uint8_t padding[12];
    uint8_t session[SEV_SESSION_SIZE];
};
_Static_assert(offsetof(struct launch_data, session) % 16 == 0, "session is aligned");
_Static_assert(sizeof(struct launch_data) <= PSP_PAGE_SIZE, "fits the data page");

/* RECEIVE_START's buffer is the same (SEV API 6.15). */
struct psp_result sev_guest_start(struct psp *psp, uint8_t command, uint32_t policy, const void *dh_cert,
                                  const void *session)
{
    struct sev_launch_start_buffer request = {.handle = SEV_HANDLE_NONE, .policy = policy};
    struct psp_result result = psp_check(psp, command, &request);
    psp_addr_t address = {0};

    if (psp_ok(result) && !dh_cert != !session)
        result.error = PSP_LENGTH;
    if (!psp_ok(result))
        return result;
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
    return psp_submit(psp, command, &request);
}

struct psp_result sev_guest_start_answer(struct psp *psp, struct psp_result result, uint32_t *handle)
{
    struct sev_launch_start_buffer answer;

    if (!psp_ok(result))
        return result;
    __builtin_memcpy(&answer, psp->answer, sizeof(answer));
    if (answer.handle == SEV_HANDLE_NONE)
        return psp_command_bad_answer(psp, result);
    *handle = answer.handle;
    return result;
}

struct psp_result sev_activate(struct psp *psp, uint32_t handle, uint32_t asid)
{
    struct sev_activate_buffer request = {.handle = handle, .asid = asid};

    return psp_submit(psp, SEV_CMD_ACTIVATE, &request);
}

/* After an error the guest is good for DECOMMISSION only. */
struct psp_result sev_launch_update_data(struct psp *psp, uint32_t handle, psp_addr_t address, uint32_t size)
{
    struct sev_launch_update_data_buffer request = {.handle = handle, .paddr = address.raw, .length = size};
    uint64_t end;

    if (size == 0 || size % SEV_LAUNCH_ALIGN != 0 || address.raw % SEV_LAUNCH_ALIGN != 0 ||
        __builtin_add_overflow(address.raw, size, &end))
        return (struct psp_result){.error = PSP_LENGTH, .command = SEV_CMD_LAUNCH_UPDATE_DATA};
    return psp_submit(psp, SEV_CMD_LAUNCH_UPDATE_DATA, &request);
}

struct psp_result sev_launch_measure(struct psp *psp, uint32_t handle)
{
    struct sev_launch_measure_buffer request = {.handle = handle, .measure_len = sizeof(struct sev_measurement)};
    struct psp_result result = psp_check(psp, SEV_CMD_LAUNCH_MEASURE, &request);
    psp_addr_t address = {0};

    if (!psp_ok(result))
        return result;
    __builtin_memset(psp_platform_data_page(&address), 0, sizeof(struct sev_measurement));
    request.measure_paddr = address.raw;
    return psp_submit(psp, SEV_CMD_LAUNCH_MEASURE, &request);
}

struct psp_result sev_launch_measure_answer(struct psp *psp, struct psp_result result,
                                            struct sev_measurement *measurement)
{
    struct sev_launch_measure_buffer answer;
    psp_addr_t address = {0};

    if (!psp_ok(result))
        return result;
    __builtin_memcpy(&answer, psp->answer, sizeof(answer));
    if (answer.measure_len != sizeof(*measurement))
        return psp_command_bad_answer(psp, result);
    __builtin_memcpy(measurement, psp_platform_data_page(&address), sizeof(*measurement));
    return result;
}
