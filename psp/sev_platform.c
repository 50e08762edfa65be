/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Commands that concern the whole platform: SEV API 5. */
#include "psp/internal.h"

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

struct psp_result sev_pdh_cert_export(struct psp *psp, psp_addr_t address)
{
    const uint32_t certs = SEV_CHAIN_CERTS * SEV_CERT_SIZE;
    struct sev_pdh_cert_export_buffer request = {
        .pdh_paddr = address.raw, .pdh_len = SEV_CERT_SIZE,
        .certs_paddr = address.raw + SEV_CERT_SIZE, .certs_len = certs,
    };
    struct psp_result result = psp_command(psp, SEV_CMD_PDH_CERT_EXPORT, &request);

    if (psp_ok(result) && (request.pdh_len != SEV_CERT_SIZE || request.certs_len != certs))
        result = psp_command_disbelieve(psp, result);
    return result;
}

/* ---- firmware ---- */

struct psp_result sev_download_firmware(struct psp *psp, psp_addr_t image, uint32_t size)
{
    struct sev_download_firmware_buffer request = { .image_paddr = image.raw, .image_len = size };
    struct psp_result result = { .error = PSP_LENGTH, .command = SEV_CMD_DOWNLOAD_FIRMWARE };

    if (image.raw % SEV_IMAGE_ALIGN != 0 || size == 0)
        return result;
    result = psp_command(psp, SEV_CMD_DOWNLOAD_FIRMWARE, &request);
    /* Firmware before 1.50 leaves the committed version behind at the first load: Linux' sev_update_firmware(). */
    if (psp_ok(result) && sev_version_of(&psp->status) < SEV_VERSION(1, 50, 0))
        result = psp_command(psp, SEV_CMD_DOWNLOAD_FIRMWARE, &request);
    if (!psp->dead) {
        struct psp_result status = sev_platform_status(psp);

        if (!psp_ok(status))
            return status;
    }
    return result;
}
