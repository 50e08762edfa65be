/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* SEV certificates, version 1 (sev-crypto section 5), and the platform's own. */
#include "internal.h"

enum {
    VERSION = 0x000,
    API_MAJOR = 0x004,
    API_MINOR = 0x005,
    RESERVED = 0x006,
    USAGE = 0x008,
    ALGO = 0x00C,
    CURVE = 0x010,
    PUBLIC = 0x014, /* Qx, Qy */
    SIGNED_END = SEVFW_CERT_SIGNED,
    SLOT_SIZE = 0x208, /* usage, algo, 512 bytes of signature */
    SLOT_USAGE = 0,
    SLOT_ALGO = 4,
    SLOT_SIGNATURE = 8,
    CURVE_P384 = 2,
};

_Static_assert(SIGNED_END + 2 * SLOT_SIZE == SEVFW_CERT_SIZE, "two signature slots fill the certificate");

static size_t slot_at(unsigned slot)
{
    return SIGNED_END + (size_t)slot * SLOT_SIZE;
}

const uint8_t *sevfw_cert_public(const uint8_t cert[SEVFW_CERT_SIZE])
{
    return cert + PUBLIC;
}

void sevfw_cert_make(uint8_t cert[SEVFW_CERT_SIZE], uint8_t api_major, uint8_t api_minor, uint32_t usage, uint32_t algo,
                     const uint8_t d[SEVFW_EC_SIZE])
{
    memset(cert, 0, SEVFW_CERT_SIZE);
    sevfw_put32(cert + VERSION, 1);
    cert[API_MAJOR] = api_major;
    cert[API_MINOR] = api_minor;
    sevfw_put32(cert + USAGE, usage);
    sevfw_put32(cert + ALGO, algo);
    sevfw_put32(cert + CURVE, CURVE_P384);
    sevfw_ec_public(d, cert + PUBLIC);
    for (unsigned slot = 0; slot < 2; slot++) {
        sevfw_put32(cert + slot_at(slot) + SLOT_USAGE, SEVFW_USAGE_INVALID);
        sevfw_put32(cert + slot_at(slot) + SLOT_ALGO, SEVFW_ALGO_INVALID);
    }
}

void sevfw_cert_sign(struct sevfw *fw, uint8_t cert[SEVFW_CERT_SIZE], unsigned slot, uint32_t usage,
                     const uint8_t d[SEVFW_EC_SIZE])
{
    uint8_t *at = cert + slot_at(slot);

    memset(at, 0, SLOT_SIZE);
    sevfw_put32(at + SLOT_USAGE, usage);
    sevfw_put32(at + SLOT_ALGO, SEVFW_ALGO_ECDSA_SHA256);
    sevfw_ec_sign(fw, d, cert, SIGNED_END, at + SLOT_SIGNATURE);
}

bool sevfw_cert_well_formed(const uint8_t cert[SEVFW_CERT_SIZE], uint32_t usage, uint32_t algo)
{
    if (sevfw_get32(cert + VERSION) != 1 || cert[RESERVED] != 0 || cert[RESERVED + 1] != 0 ||
        sevfw_get32(cert + USAGE) != usage || sevfw_get32(cert + ALGO) != algo ||
        sevfw_get32(cert + CURVE) != CURVE_P384) {
        return false;
    }
    for (size_t i = PUBLIC + SEVFW_EC_SIG_SIZE; i < SIGNED_END; i++) {
        if (cert[i] != 0) {
            return false;
        }
    }
    return sevfw_ec_on_curve(cert + PUBLIC);
}

const uint8_t *sevfw_cert_signature(const uint8_t cert[SEVFW_CERT_SIZE], unsigned slot, uint32_t usage, uint32_t algo)
{
    const uint8_t *at = cert + slot_at(slot);

    return sevfw_get32(at + SLOT_USAGE) == usage && sevfw_get32(at + SLOT_ALGO) == algo ? at + SLOT_SIGNATURE : NULL;
}

int sevfw_cert_signed_by(const uint8_t cert[SEVFW_CERT_SIZE], const uint8_t parent[SEVFW_CERT_SIZE], uint32_t usage)
{
    /* The order of the slots is nobody's promise (sev-crypto section 5.2). */
    for (unsigned slot = 0; slot < 2; slot++) {
        const uint8_t *signature = sevfw_cert_signature(cert, slot, usage, SEVFW_ALGO_ECDSA_SHA256);

        if (signature && sevfw_ec_verify(parent + PUBLIC, cert, SIGNED_END, signature)) {
            return (int)slot;
        }
    }
    return -1;
}

static void make(struct sevfw *fw, uint8_t cert[SEVFW_CERT_SIZE], uint32_t usage, uint32_t algo,
                 const uint8_t d[SEVFW_EC_SIZE])
{
    sevfw_cert_make(cert, fw->running.api_major, fw->running.api_minor, usage, algo, d);
}

void sevfw_identity_load_cek(struct sevfw *fw)
{
    /* As exported by firmware the CEK carries no signature: owners replace it by
     * the copy that AMD's key server signed (sev-crypto section 5.2); here kds.c. */
    sevfw_ec_chip_key(fw->config.chip_id, fw->id.cek);
    make(fw, fw->id.cek_cert, SEVFW_USAGE_CEK, SEVFW_ALGO_ECDSA_SHA256, fw->id.cek);
}

void sevfw_identity_endorse_pek(struct sevfw *fw, unsigned slot)
{
    sevfw_cert_sign(fw, fw->id.pek_cert, slot, SEVFW_USAGE_CEK, fw->id.cek);
}

void sevfw_identity_new_owner(struct sevfw *fw)
{
    struct sevfw_identity *id = &fw->id;

    id->owner = 0;
    sevfw_ec_generate(fw, id->oca);
    make(fw, id->oca_cert, SEVFW_USAGE_OCA, SEVFW_ALGO_ECDSA_SHA256, id->oca);
    sevfw_cert_sign(fw, id->oca_cert, 0, SEVFW_USAGE_OCA, id->oca);
    sevfw_ec_generate(fw, id->pek);
    make(fw, id->pek_cert, SEVFW_USAGE_PEK, SEVFW_ALGO_ECDSA_SHA256, id->pek);
    sevfw_cert_sign(fw, id->pek_cert, 0, SEVFW_USAGE_OCA, id->oca);
    sevfw_identity_endorse_pek(fw, 1);
}

void sevfw_identity_new_pdh(struct sevfw *fw)
{
    struct sevfw_identity *id = &fw->id;

    sevfw_ec_generate(fw, id->pdh);
    make(fw, id->pdh_cert, SEVFW_USAGE_PDH, SEVFW_ALGO_ECDH_SHA256, id->pdh);
    sevfw_cert_sign(fw, id->pdh_cert, 0, SEVFW_USAGE_PEK, id->pek);
}
