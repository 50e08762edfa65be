/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * AMD's part of a platform's chain, as a sender checks it: ARK, ASK, CEK (sev-crypto sections 5.2 and 5.3). A real part
 * knows AMD's root key, the model the one of testkeys.h, and no other.
 */
#include "root.h"

#include <nettle/bignum.h>
#include <nettle/rsa.h>

#include "internal.h"
#include "testkeys.h"

static bool well_formed(const uint8_t cert[SEVFW_ROOT_CERT_SIZE], uint32_t usage)
{
    return sevfw_get32(cert) == 1 && sevfw_get32(cert + ROOT_USAGE) == usage &&
           sevfw_get32(cert + ROOT_EXPONENT_BITS) == ROOT_RSA_BITS &&
           sevfw_get32(cert + ROOT_MODULUS_BITS) == ROOT_RSA_BITS;
}

static void import(mpz_t number, const uint8_t bytes[ROOT_RSA_SIZE])
{
    mpz_import(number, ROOT_RSA_SIZE, -1, 1, 0, 0, bytes);
}

static bool is_the_root(const uint8_t ark[SEVFW_ROOT_CERT_SIZE])
{
    mpz_t modulus, p, q;
    bool same;

    nettle_mpz_init_set_str_256_u(p, sizeof(ark_p), ark_p);
    nettle_mpz_init_set_str_256_u(q, sizeof(ark_q), ark_q);
    mpz_init(modulus);
    import(modulus, ark + ROOT_MODULUS);
    mpz_mul(p, p, q);
    same = mpz_cmp(modulus, p) == 0;
    mpz_clear(modulus);
    mpz_clear(p);
    mpz_clear(q);
    return same;
}

/* RSA-PSS, SHA-384, a salt of 48 bytes. */
static bool signed_by(const uint8_t ca[SEVFW_ROOT_CERT_SIZE], const uint8_t *data, size_t len,
                      const uint8_t signature[ROOT_RSA_SIZE])
{
    struct rsa_public_key key;
    struct sha384_ctx sha;
    uint8_t digest[SHA384_DIGEST_SIZE];
    mpz_t s;
    bool valid;

    sha384_init(&sha);
    sha384_update(&sha, len, data);
    sha384_digest(&sha, sizeof(digest), digest);
    rsa_public_key_init(&key);
    mpz_init(s);
    import(key.n, ca + ROOT_MODULUS);
    import(key.e, ca + ROOT_EXPONENT);
    import(s, signature);
    valid = rsa_public_key_prepare(&key) && rsa_pss_sha384_verify_digest(&key, sizeof(digest), digest, s);
    mpz_clear(s);
    rsa_public_key_clear(&key);
    return valid;
}

static bool cek_signed_by(const uint8_t ask[SEVFW_ROOT_CERT_SIZE], const uint8_t cek_cert[SEVFW_CERT_SIZE])
{
    for (unsigned slot = 0; slot < 2; slot++) {
        const uint8_t *signature = sevfw_cert_signature(cek_cert, slot, SEVFW_USAGE_ASK, SEVFW_ALGO_RSA_SHA384);

        if (signature && signed_by(ask, cek_cert, SEVFW_CERT_SIGNED, signature)) {
            return true;
        }
    }
    return false;
}

bool sevfw_root_endorses(const uint8_t amd_certs[SEVFW_AMD_CERTS_SIZE], const uint8_t cek_cert[SEVFW_CERT_SIZE])
{
    const uint8_t *ask = amd_certs, *ark = amd_certs + SEVFW_ROOT_CERT_SIZE;

    return well_formed(ark, SEVFW_USAGE_ARK) && well_formed(ask, SEVFW_USAGE_ASK) && is_the_root(ark) &&
           signed_by(ark, ark, ROOT_SIGNATURE, ark + ROOT_SIGNATURE) &&
           signed_by(ark, ask, ROOT_SIGNATURE, ask + ROOT_SIGNATURE) && cek_signed_by(ask, cek_cert);
}
