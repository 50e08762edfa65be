/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Persistent data: in a file behind callbacks (INIT), or in the host's 32 KiB
 * buffer (INIT_EX). Encrypted and authenticated under a chip key, since the host
 * holds it. AMD's own format is not public; this one is the model's.
 */
#include <nettle/memops.h>

#include "internal.h"

enum {
    MAGIC = 0x00,
    IV = 0x08,
    BODY = 0x18,
    BODY_OWNER = 0,
    BODY_PEK = 4,
    BODY_OCA = BODY_PEK + 48,
    BODY_PDH = BODY_OCA + 48,
    BODY_PEK_CERT = BODY_PDH + 48,
    BODY_OCA_CERT = BODY_PEK_CERT + 2084,
    BODY_PDH_CERT = BODY_OCA_CERT + 2084,
    BODY_SIZE = BODY_PDH_CERT + 2084,
    MAC = SEVFW_NV_SIZE - SHA256_DIGEST_SIZE,
};

_Static_assert(BODY + BODY_SIZE <= MAC, "the persistent data fits");

static const uint8_t magic[8] = {'S', 'E', 'V', 'F', 'W', 'N', 'V', '1'};

static void nv_keys(const struct sevfw *fw, uint8_t encrypt[SEVFW_KEY_SIZE], uint8_t mac[SEVFW_KEY_SIZE])
{
    sevfw_kdf(fw->config.chip_id, SEVFW_CHIP_ID_SIZE, "sevfw-nv-encrypt", NULL, 0, encrypt, SEVFW_KEY_SIZE);
    sevfw_kdf(fw->config.chip_id, SEVFW_CHIP_ID_SIZE, "sevfw-nv-mac", NULL, 0, mac, SEVFW_KEY_SIZE);
}

/* Copies between the body and fw->id; which way is the caller's `load`. */
static void transfer(struct sevfw_identity *id, uint8_t *body, bool load)
{
    const struct {
        void *field;
        size_t offset, size;
    } parts[] = {
        {&id->owner, BODY_OWNER, sizeof(id->owner)},
        {id->pek, BODY_PEK, sizeof(id->pek)},
        {id->oca, BODY_OCA, sizeof(id->oca)},
        {id->pdh, BODY_PDH, sizeof(id->pdh)},
        {id->pek_cert, BODY_PEK_CERT, sizeof(id->pek_cert)},
        {id->oca_cert, BODY_OCA_CERT, sizeof(id->oca_cert)},
        {id->pdh_cert, BODY_PDH_CERT, sizeof(id->pdh_cert)},
    };

    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (load) {
            memcpy(parts[i].field, body + parts[i].offset, parts[i].size);
        } else {
            memcpy(body + parts[i].offset, parts[i].field, parts[i].size);
        }
    }
}

static bool fetch(struct sevfw *fw)
{
    if (fw->nv_in_memory) {
        return fw->ops.read(fw->opaque, fw->nv_spa, fw->nv, SEVFW_NV_SIZE);
    }
    return fw->ops.nv_load && fw->ops.nv_load(fw->opaque, fw->nv);
}

static void save(struct sevfw *fw)
{
    if (fw->nv_in_memory) {
        (void)fw->ops.write(fw->opaque, fw->nv_spa, fw->nv, SEVFW_NV_SIZE);
    } else if (fw->ops.nv_store) {
        fw->ops.nv_store(fw->opaque, fw->nv);
    }
}

/* A new store is all zeros, or all ones as erased flash (SEV API section 8). */
static bool blank(const uint8_t nv[SEVFW_NV_SIZE])
{
    if (nv[0] != 0x00 && nv[0] != 0xFF) {
        return false;
    }
    return memcmp(nv, nv + 1, SEVFW_NV_SIZE - 1) == 0;
}

enum sevfw_nv_result sevfw_nv_load(struct sevfw *fw)
{
    uint8_t encrypt[SEVFW_KEY_SIZE], mac_key[SEVFW_KEY_SIZE], mac[SHA256_DIGEST_SIZE];
    enum sevfw_nv_result result = NV_INVALID;

    if (!fetch(fw) || blank(fw->nv)) {
        return NV_BLANK;
    }
    nv_keys(fw, encrypt, mac_key);
    sevfw_hmac(mac_key, sizeof(mac_key), fw->nv, MAC, mac);
    if (memcmp(fw->nv + MAGIC, magic, sizeof(magic)) == 0 && memeql_sec(mac, fw->nv + MAC, sizeof(mac))) {
        sevfw_aes_ctr(encrypt, fw->nv + IV, BODY_SIZE, fw->nv + BODY, fw->nv + BODY);
        transfer(&fw->id, fw->nv + BODY, true);
        result = NV_FOUND;
    }
    sevfw_wipe(fw->nv, sizeof(fw->nv));
    sevfw_wipe(encrypt, sizeof(encrypt));
    sevfw_wipe(mac_key, sizeof(mac_key));
    return result;
}

void sevfw_nv_store(struct sevfw *fw)
{
    uint8_t encrypt[SEVFW_KEY_SIZE], mac_key[SEVFW_KEY_SIZE];

    memset(fw->nv, 0, sizeof(fw->nv));
    memcpy(fw->nv + MAGIC, magic, sizeof(magic));
    sevfw_random(fw, 16, fw->nv + IV);
    transfer(&fw->id, fw->nv + BODY, false);
    nv_keys(fw, encrypt, mac_key);
    sevfw_aes_ctr(encrypt, fw->nv + IV, BODY_SIZE, fw->nv + BODY, fw->nv + BODY);
    sevfw_hmac(mac_key, sizeof(mac_key), fw->nv, MAC, fw->nv + MAC);
    save(fw);
    sevfw_wipe(encrypt, sizeof(encrypt));
    sevfw_wipe(mac_key, sizeof(mac_key));
}

void sevfw_nv_erase(struct sevfw *fw)
{
    memset(fw->nv, 0, sizeof(fw->nv));
    save(fw);
}
