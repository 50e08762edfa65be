/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Commands that concern the whole platform: SEV API 5. */
#include "psp/internal.h"

/* Room for two sockets, the most there are; the first id is the master's. */
#define GET_ID_ROOM (2 * SEV_CHIP_ID_SIZE)

struct psp_result sev_get_id(struct psp *psp)
{
    struct sev_get_id_buffer request = {.id_len = GET_ID_ROOM};
    struct psp_result result = psp_check(psp, SEV_CMD_GET_ID, &request);
    psp_addr_t address = {0};

    if (!psp_ok(result))
        return result;
    __builtin_memset(psp_platform_data_page(&address), 0, GET_ID_ROOM);
    request.id_paddr = address.raw;
    return psp_submit(psp, SEV_CMD_GET_ID, &request);
}

struct psp_result sev_get_id_answer(struct psp *psp, struct psp_result result, uint8_t id[SEV_CHIP_ID_SIZE])
{
    struct sev_get_id_buffer answer;
    psp_addr_t address = {0};

    if (!psp_ok(result))
        return result;
    __builtin_memcpy(&answer, psp->answer, sizeof(answer));
    if (answer.id_len != SEV_CHIP_ID_SIZE && answer.id_len != GET_ID_ROOM)
        return psp_command_bad_answer(psp, result);
    __builtin_memcpy(id, psp_platform_data_page(&address), SEV_CHIP_ID_SIZE);
    return result;
}

#define CERTS_LENGTH (SEV_CHAIN_CERTS * SEV_CERT_SIZE)

struct psp_result sev_pdh_cert_export(struct psp *psp, psp_addr_t address)
{
    struct sev_pdh_cert_export_buffer request = {
        .pdh_paddr = address.raw,
        .pdh_len = SEV_CERT_SIZE,
        .certs_paddr = address.raw + SEV_CERT_SIZE,
        .certs_len = CERTS_LENGTH,
    };

    return psp_submit(psp, SEV_CMD_PDH_CERT_EXPORT, &request);
}

struct psp_result sev_pdh_cert_export_answer(struct psp *psp, struct psp_result result)
{
    struct sev_pdh_cert_export_buffer answer;

    __builtin_memcpy(&answer, psp->answer, sizeof(answer));
    if (psp_ok(result) && (answer.pdh_len != SEV_CERT_SIZE || answer.certs_len != CERTS_LENGTH))
        return psp_command_bad_answer(psp, result);
    return result;
}

struct psp_result sev_download_firmware(struct psp *psp, psp_addr_t image, uint32_t size)
{
    struct sev_download_firmware_buffer request = {.image_paddr = image.raw, .image_len = size};

    if (image.raw % SEV_IMAGE_ALIGN != 0 || size == 0)
        return (struct psp_result){.error = PSP_LENGTH, .command = SEV_CMD_DOWNLOAD_FIRMWARE};
    return psp_submit(psp, SEV_CMD_DOWNLOAD_FIRMWARE, &request);
}
