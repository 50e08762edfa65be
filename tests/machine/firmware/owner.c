/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Keys and certificates of the platform and of its owner. */
#include "internal.h"

uint16_t sevfw_pek_gen(struct sevfw *fw, struct sevfw_call *call)
{
    (void)call;
    sevfw_identity_new_owner(fw);
    sevfw_identity_new_pdh(fw);
    sevfw_nv_store(fw);
    return SEVFW_SUCCESS;
}

uint16_t sevfw_pdh_gen(struct sevfw *fw, struct sevfw_call *call)
{
    (void)call;
    sevfw_identity_new_pdh(fw);
    sevfw_nv_store(fw);
    return SEVFW_SUCCESS;
}

uint16_t sevfw_pek_csr(struct sevfw *fw, struct sevfw_call *call)
{
    uint8_t csr[SEVFW_CERT_SIZE];

    sevfw_cert_make(csr, fw->running.api_major, fw->running.api_minor, SEVFW_USAGE_PEK, SEVFW_ALGO_ECDSA_SHA256,
                    fw->id.pek);
    return sevfw_output(fw, sevfw_get64(call->buf + 0x00), csr, sizeof(csr));
}

uint16_t sevfw_pek_cert_import_owner(struct sevfw *fw, struct sevfw_call *call)
{
    (void)call;
    return fw->id.owner == 0 ? SEVFW_SUCCESS : SEVFW_ALREADY_OWNED;
}

uint16_t sevfw_pek_cert_import(struct sevfw *fw, struct sevfw_call *call)
{
    struct sevfw_identity *id = &fw->id;
    uint8_t pek_cert[SEVFW_CERT_SIZE], oca_cert[SEVFW_CERT_SIZE];
    int slot;

    if (!fw->ops.read(fw->opaque, sevfw_get64(call->buf + 0x00), pek_cert, sizeof(pek_cert)) ||
        !fw->ops.read(fw->opaque, sevfw_get64(call->buf + 0x10), oca_cert, sizeof(oca_cert))) {
        return SEVFW_INVALID_ADDRESS;
    }
    if (!sevfw_cert_well_formed(pek_cert, SEVFW_USAGE_PEK, SEVFW_ALGO_ECDSA_SHA256) ||
        !sevfw_cert_well_formed(oca_cert, SEVFW_USAGE_OCA, SEVFW_ALGO_ECDSA_SHA256) ||
        memcmp(sevfw_cert_public(pek_cert), sevfw_cert_public(id->pek_cert), SEVFW_EC_SIG_SIZE) != 0) {
        return SEVFW_INVALID_CERTIFICATE;
    }
    slot = sevfw_cert_signed_by(pek_cert, oca_cert, SEVFW_USAGE_OCA);
    if (slot < 0 || sevfw_cert_signed_by(oca_cert, oca_cert, SEVFW_USAGE_OCA) < 0) {
        return SEVFW_BAD_SIGNATURE;
    }
    id->owner = 1;
    memcpy(id->pek_cert, pek_cert, sizeof(pek_cert));
    memcpy(id->oca_cert, oca_cert, sizeof(oca_cert));
    sevfw_wipe(id->oca, sizeof(id->oca)); /* the owner has the new one */
    sevfw_identity_endorse_pek(fw, slot == 0 ? 1 : 0);
    sevfw_identity_new_pdh(fw);
    sevfw_nv_store(fw);
    return SEVFW_SUCCESS;
}

uint16_t sevfw_pdh_cert_export(struct sevfw *fw, struct sevfw_call *call)
{
    const struct sevfw_identity *id = &fw->id;
    uint8_t chain[SEVFW_CHAIN_SIZE];
    uint16_t status;

    memcpy(chain, id->pek_cert, SEVFW_CERT_SIZE);
    memcpy(chain + SEVFW_CERT_SIZE, id->oca_cert, SEVFW_CERT_SIZE);
    memcpy(chain + 2 * SEVFW_CERT_SIZE, id->cek_cert, SEVFW_CERT_SIZE);
    status = sevfw_output(fw, sevfw_get64(call->buf + 0x00), id->pdh_cert, SEVFW_CERT_SIZE);
    if (status == SEVFW_SUCCESS) {
        status = sevfw_output(fw, sevfw_get64(call->buf + 0x10), chain, sizeof(chain));
    }
    return status;
}
