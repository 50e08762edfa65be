/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Symmetric keys: KDF, sessions, measurement, packet MACs (sev-crypto sections 1 to 7). */
#include <nettle/aes.h>
#include <nettle/ctr.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <stdlib.h>
#include <sys/random.h>

#include "internal.h"

void sevfw_wipe(void *secret, size_t len)
{
    volatile uint8_t *p = secret;

    while (len-- > 0) {
        *p++ = 0;
    }
}

void sevfw_random(void *ctx, size_t len, uint8_t *dst)
{
    struct sevfw *fw = ctx;

    if (fw->ops.random) {
        fw->ops.random(fw->opaque, dst, len);
        return;
    }
    while (len > 0) {
        size_t part = len < 256 ? len : 256; /* getentropy's limit */
        if (getentropy(dst, part) != 0) {
            abort(); /* no key may come from anything weaker */
        }
        dst += part;
        len -= part;
    }
}

void sevfw_hmac(const uint8_t *key, size_t key_len, const void *data, size_t len, uint8_t mac[SHA256_DIGEST_SIZE])
{
    struct hmac_sha256_ctx hmac;

    hmac_sha256_set_key(&hmac, key_len, key);
    hmac_sha256_update(&hmac, len, data);
    hmac_sha256_digest(&hmac, SHA256_DIGEST_SIZE, mac);
    sevfw_wipe(&hmac, sizeof(hmac));
}

void sevfw_kdf(const uint8_t *key, size_t key_len, const char *label, const uint8_t *context, size_t context_len,
               uint8_t *out, size_t out_len)
{
    struct hmac_sha256_ctx hmac;
    uint8_t counter[4], bits[4];

    hmac_sha256_set_key(&hmac, key_len, key);
    sevfw_put32(bits, (uint32_t)(out_len * 8));
    for (uint32_t i = 1; out_len > 0; i++) {
        size_t part = out_len < SHA256_DIGEST_SIZE ? out_len : SHA256_DIGEST_SIZE;

        sevfw_put32(counter, i); /* little-endian, unlike the usual SP 800-108 */
        hmac_sha256_update(&hmac, sizeof(counter), counter);
        hmac_sha256_update(&hmac, strlen(label) + 1, (const uint8_t *)label);
        if (context_len > 0) {
            hmac_sha256_update(&hmac, context_len, context);
        }
        hmac_sha256_update(&hmac, sizeof(bits), bits);
        hmac_sha256_digest(&hmac, part, out);
        out += part;
        out_len -= part;
    }
    sevfw_wipe(&hmac, sizeof(hmac));
}

void sevfw_aes_ctr(const uint8_t key[SEVFW_KEY_SIZE], const uint8_t iv[16], size_t len, uint8_t *dst,
                   const uint8_t *src)
{
    struct aes128_ctx aes;
    uint8_t counter[AES_BLOCK_SIZE];

    memcpy(counter, iv, sizeof(counter));
    aes128_set_encrypt_key(&aes, key);
    ctr_crypt(&aes, (nettle_cipher_func *)aes128_encrypt, AES_BLOCK_SIZE, counter, len, dst, src);
    sevfw_wipe(&aes, sizeof(aes));
}

void sevfw_derive_kek_kik(const uint8_t *z, size_t z_len, const uint8_t nonce[16], uint8_t kek[SEVFW_KEY_SIZE],
                          uint8_t kik[SEVFW_KEY_SIZE])
{
    uint8_t master[SEVFW_KEY_SIZE];

    sevfw_kdf(z, z_len, "sev-master-secret", nonce, 16, master, sizeof(master));
    sevfw_kdf(master, sizeof(master), "sev-kek", NULL, 0, kek, SEVFW_KEY_SIZE);
    sevfw_kdf(master, sizeof(master), "sev-kik", NULL, 0, kik, SEVFW_KEY_SIZE);
    sevfw_wipe(master, sizeof(master));
}

uint16_t sevfw_session_open(const uint8_t *z, size_t z_len, const uint8_t session[SEVFW_SESSION_SIZE], uint32_t policy,
                            uint8_t tek[SEVFW_KEY_SIZE], uint8_t tik[SEVFW_KEY_SIZE])
{
    const uint8_t *nonce = session, *wrap_tk = session + 0x10, *wrap_iv = session + 0x30;
    const uint8_t *wrap_mac = session + 0x40, *policy_mac = session + 0x60;
    uint8_t kek[SEVFW_KEY_SIZE], kik[SEVFW_KEY_SIZE], tk[2 * SEVFW_KEY_SIZE];
    uint8_t mac[SHA256_DIGEST_SIZE], policy_le[4];
    uint16_t status = SEVFW_BAD_MEASUREMENT;

    sevfw_derive_kek_kik(z, z_len, nonce, kek, kik);
    sevfw_hmac(kik, sizeof(kik), wrap_tk, sizeof(tk), mac);
    if (memeql_sec(mac, wrap_mac, sizeof(mac))) {
        sevfw_aes_ctr(kek, wrap_iv, sizeof(tk), tk, wrap_tk);
        sevfw_put32(policy_le, policy);
        sevfw_hmac(tk + SEVFW_KEY_SIZE, SEVFW_KEY_SIZE, policy_le, sizeof(policy_le), mac);
        if (memeql_sec(mac, policy_mac, sizeof(mac))) {
            memcpy(tek, tk, SEVFW_KEY_SIZE);
            memcpy(tik, tk + SEVFW_KEY_SIZE, SEVFW_KEY_SIZE);
            status = SEVFW_SUCCESS;
        }
    }
    sevfw_wipe(kek, sizeof(kek));
    sevfw_wipe(kik, sizeof(kik));
    sevfw_wipe(tk, sizeof(tk));
    return status;
}

void sevfw_session_seal(struct sevfw *fw, const uint8_t *z, size_t z_len, uint32_t policy,
                        uint8_t session[SEVFW_SESSION_SIZE], uint8_t tek[SEVFW_KEY_SIZE], uint8_t tik[SEVFW_KEY_SIZE])
{
    uint8_t *nonce = session, *wrap_tk = session + 0x10, *wrap_iv = session + 0x30;
    uint8_t kek[SEVFW_KEY_SIZE], kik[SEVFW_KEY_SIZE], tk[2 * SEVFW_KEY_SIZE], policy_le[4];

    sevfw_random(fw, 16, nonce);
    sevfw_random(fw, sizeof(tk), tk);
    sevfw_random(fw, 16, wrap_iv);
    sevfw_derive_kek_kik(z, z_len, nonce, kek, kik);
    sevfw_aes_ctr(kek, wrap_iv, sizeof(tk), wrap_tk, tk);
    sevfw_hmac(kik, sizeof(kik), wrap_tk, sizeof(tk), session + 0x40);
    sevfw_put32(policy_le, policy);
    sevfw_hmac(tk + SEVFW_KEY_SIZE, SEVFW_KEY_SIZE, policy_le, sizeof(policy_le), session + 0x60);
    memcpy(tek, tk, SEVFW_KEY_SIZE);
    memcpy(tik, tk + SEVFW_KEY_SIZE, SEVFW_KEY_SIZE);
    sevfw_wipe(kek, sizeof(kek));
    sevfw_wipe(kik, sizeof(kik));
    sevfw_wipe(tk, sizeof(tk));
}

void sevfw_measure(const uint8_t tik[SEVFW_KEY_SIZE], const uint8_t api[3], uint32_t policy,
                   const uint8_t digest[SHA256_DIGEST_SIZE], const uint8_t mnonce[16],
                   uint8_t measure[SHA256_DIGEST_SIZE])
{
    /* sev-crypto section 6 counts 60 bytes; its fields, and the vectors, are 56. */
    uint8_t message[56] = {0x04, api[0], api[1], api[2]};

    sevfw_put32(message + 4, policy);
    memcpy(message + 8, digest, SHA256_DIGEST_SIZE);
    memcpy(message + 40, mnonce, 16);
    sevfw_hmac(tik, SEVFW_KEY_SIZE, message, sizeof(message), measure);
}

void sevfw_packet_mac(const uint8_t tik[SEVFW_KEY_SIZE], enum sevfw_packet packet,
                      const uint8_t header[SEVFW_PACKET_HEADER_SIZE], uint32_t guest_len, uint32_t trans_len,
                      const uint8_t *trans, const uint8_t *measure, uint8_t mac[SHA256_DIGEST_SIZE])
{
    struct hmac_sha256_ctx hmac;
    const uint8_t context = (uint8_t)packet;
    uint8_t lengths[8];

    sevfw_put32(lengths, guest_len);
    sevfw_put32(lengths + 4, trans_len);
    hmac_sha256_set_key(&hmac, SEVFW_KEY_SIZE, tik);
    hmac_sha256_update(&hmac, sizeof(context), &context);
    hmac_sha256_update(&hmac, 20, header); /* FLAGS and IV */
    hmac_sha256_update(&hmac, sizeof(lengths), lengths);
    hmac_sha256_update(&hmac, trans_len, trans);
    if (measure) {
        hmac_sha256_update(&hmac, SHA256_DIGEST_SIZE, measure);
    }
    hmac_sha256_digest(&hmac, SHA256_DIGEST_SIZE, mac);
    sevfw_wipe(&hmac, sizeof(hmac));
}

uint16_t sevfw_packet_check(const struct sevfw_guest *guest, enum sevfw_packet packet,
                            const uint8_t header[SEVFW_PACKET_HEADER_SIZE], const uint8_t *trans, uint32_t len)
{
    uint8_t mac[SHA256_DIGEST_SIZE];
    uint32_t flags = sevfw_get32(header);

    if (flags & ~UINT32_C(1)) {
        return SEVFW_INVALID_PARAM;
    }
    if (flags & 1) {
        return SEVFW_UNSUPPORTED; /* COMPRESSED: no tool makes such packets */
    }
    if (!guest->has_session) {
        return SEVFW_BAD_MEASUREMENT; /* nobody holds a key that could have signed it */
    }
    sevfw_packet_mac(guest->tik, packet, header, len, len, trans, packet == PACKET_SECRET ? guest->measure : NULL, mac);
    return memeql_sec(mac, header + 20, sizeof(mac)) ? SEVFW_SUCCESS : SEVFW_BAD_MEASUREMENT;
}
