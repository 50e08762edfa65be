/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Commands that concern the whole platform: SEV API 5. */
#include "internal.h"

struct psp_result sev_platform_status(struct psp *psp)
{
    psp_platform_lock();
    struct psp_result result = sev_platform_status_locked(psp);
    psp_platform_unlock();
    return result;
}

struct psp_result sev_init(struct psp *psp)
{
    struct sev_init_buffer request = { 0 };     /* no SEV-ES, hence no TMR */
    struct psp_result result = psp_command(psp, SEV_CMD_INIT, &request);

    if (result.error == PSP_FIRMWARE && result.status == SEV_STATUS_SECURE_DATA_INVALID) {
        psp_platform_log("INIT: the firmware has reset its damaged persistent data; once more");
        result = psp_command(psp, SEV_CMD_INIT, &request);
    }
    if (result.error == PSP_FIRMWARE && result.status == SEV_STATUS_WBINVD_REQUIRED) {
        psp_platform_log("INIT: the firmware wants WBINVD on every CPU first; once more");
        psp_platform_wbinvd_all();
        result = psp_command(psp, SEV_CMD_INIT, &request);
    }
    if (!psp_ok(result))
        return result;

    /* INIT leaves every ASID dirty on every core. No guest is there yet that
     * could DEACTIVATE in between, so the lock need not span the two. */
    psp_platform_wbinvd_all();
    result = sev_df_flush(psp);
    if (!psp_ok(result))
        sev_shutdown(psp);
    return result;
}

struct psp_result sev_shutdown(struct psp *psp)
{
    struct psp_result result = psp_command(psp, SEV_CMD_SHUTDOWN, NULL);

    if (psp_ok(result))
        psp_platform_wbinvd_all();
    return result;
}

struct psp_result sev_get_id(struct psp *psp, uint8_t id[SEV_CHIP_ID_SIZE])
{
    /* Room for two sockets, the most there are; the first id is the master's. */
    const uint32_t room = 2 * SEV_CHIP_ID_SIZE;
    psp_addr_t address = { 0 };

    psp_platform_lock();

    uint8_t *data = psp_platform_data_page(&address);
    struct sev_get_id_buffer request = { .id_paddr = address.raw, .id_len = room };

    __builtin_memset(data, 0, room);
    struct psp_result result = psp_command_locked(psp, SEV_CMD_GET_ID, &request);

    if (psp_ok(result)) {
        if (request.id_len == SEV_CHIP_ID_SIZE || request.id_len == room)
            __builtin_memcpy(id, data, SEV_CHIP_ID_SIZE);
        else
            result = psp_command_disbelieve(psp, result);
    }
    psp_platform_unlock();
    return result;
}

struct psp_result sev_df_flush(struct psp *psp)
{
    return psp_command(psp, SEV_CMD_DF_FLUSH, NULL);
}
