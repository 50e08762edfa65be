/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The key server's side of the certificate chain: sev-crypto sections 5.1 to 5.3. */
#include "kds.h"

#include <nettle/bignum.h>
#include <nettle/rsa.h>
#include <stdlib.h>

#include "internal.h"
#include "root.h"
#include "testkeys.h"

enum {
    /* SEV certificate */
    CERT_SLOT_ALGO = 4,
    CERT_SLOT_SIGNATURE = 8,
};

struct root {
    struct rsa_public_key pub;
    struct rsa_private_key priv;
};

static const char ark_key_id[] = "sevisor test ARK";
static const char ask_key_id[] = "sevisor test ASK";

static void root_load(struct root *root, const uint8_t p[256], const uint8_t q[256])
{
    mpz_t p1, q1;

    rsa_public_key_init(&root->pub);
    rsa_private_key_init(&root->priv);
    nettle_mpz_set_str_256_u(root->priv.p, 256, p);
    nettle_mpz_set_str_256_u(root->priv.q, 256, q);
    mpz_set_ui(root->pub.e, 0x10001);
    mpz_mul(root->pub.n, root->priv.p, root->priv.q);
    mpz_init(p1);
    mpz_init(q1);
    mpz_sub_ui(p1, root->priv.p, 1);
    mpz_sub_ui(q1, root->priv.q, 1);
    mpz_invert(root->priv.a, root->pub.e, p1);
    mpz_invert(root->priv.b, root->pub.e, q1);
    mpz_invert(root->priv.c, root->priv.q, root->priv.p);
    mpz_clear(p1);
    mpz_clear(q1);
    if (!rsa_public_key_prepare(&root->pub) || !rsa_private_key_prepare(&root->priv)) {
        abort(); /* testkeys.h is damaged */
    }
}

static void root_clear(struct root *root)
{
    rsa_public_key_clear(&root->pub);
    rsa_private_key_clear(&root->priv);
}

/* For nettle's blinding. These keys have no secret to protect. */
static void no_secret(void *ctx, size_t len, uint8_t *dst)
{
    (void)ctx;
    memset(dst, 0x5A, len);
}

/* RSA-PSS, SHA-384, a 48-byte salt that follows from the message so that the
 * certificates repeat; the signature is little-endian, as all numbers in here. */
static void root_sign(const struct root *root, const uint8_t *data, size_t len, uint8_t signature[ROOT_RSA_SIZE])
{
    struct sha384_ctx sha;
    uint8_t digest[SHA384_DIGEST_SIZE], salt[SHA384_DIGEST_SIZE];
    mpz_t s;
    size_t written;

    sha384_init(&sha);
    sha384_update(&sha, len, data);
    sha384_digest(&sha, sizeof(digest), digest);
    sha384_update(&sha, sizeof(digest), digest);
    sha384_digest(&sha, sizeof(salt), salt);
    mpz_init(s);
    if (!rsa_pss_sha384_sign_digest_tr(&root->pub, &root->priv, NULL, no_secret, sizeof(salt), salt, digest, s)) {
        abort();
    }
    memset(signature, 0, ROOT_RSA_SIZE);
    mpz_export(signature, &written, -1, 1, 0, 0, s);
    mpz_clear(s);
}

static void root_cert(uint8_t cert[SEVFW_ROOT_CERT_SIZE], const struct root *subject, const char key_id[16],
                      uint32_t usage, const struct root *issuer, const char issuer_id[16])
{
    size_t written;

    memset(cert, 0, SEVFW_ROOT_CERT_SIZE);
    sevfw_put32(cert, 1); /* version */
    memcpy(cert + ROOT_KEY_ID, key_id, 16);
    memcpy(cert + ROOT_CERTIFYING_ID, issuer_id, 16);
    sevfw_put32(cert + ROOT_USAGE, usage);
    sevfw_put32(cert + ROOT_EXPONENT_BITS, ROOT_RSA_BITS);
    sevfw_put32(cert + ROOT_MODULUS_BITS, ROOT_RSA_BITS);
    mpz_export(cert + ROOT_EXPONENT, &written, -1, 1, 0, 0, subject->pub.e);
    mpz_export(cert + ROOT_MODULUS, &written, -1, 1, 0, 0, subject->pub.n);
    root_sign(issuer, cert, ROOT_SIGNATURE, cert + ROOT_SIGNATURE);
}

void kds_ark(uint8_t cert[SEVFW_ROOT_CERT_SIZE])
{
    struct root ark;

    root_load(&ark, ark_p, ark_q);
    root_cert(cert, &ark, ark_key_id, SEVFW_USAGE_ARK, &ark, ark_key_id);
    root_clear(&ark);
}

void kds_ask(uint8_t cert[SEVFW_ROOT_CERT_SIZE])
{
    struct root ark, ask;

    root_load(&ark, ark_p, ark_q);
    root_load(&ask, ask_p, ask_q);
    root_cert(cert, &ask, ask_key_id, SEVFW_USAGE_ASK, &ark, ark_key_id);
    root_clear(&ask);
    root_clear(&ark);
}

void kds_cek(const uint8_t chip_id[SEVFW_CHIP_ID_SIZE], uint8_t api_major, uint8_t api_minor,
             uint8_t cert[SEVFW_CERT_SIZE])
{
    uint8_t d[SEVFW_EC_SIZE], *slot = cert + SEVFW_CERT_SIGNED;
    struct root ask;

    sevfw_ec_chip_key(chip_id, d);
    sevfw_cert_make(cert, api_major, api_minor, SEVFW_USAGE_CEK, SEVFW_ALGO_ECDSA_SHA256, d);
    sevfw_wipe(d, sizeof(d));
    root_load(&ask, ask_p, ask_q);
    sevfw_put32(slot, SEVFW_USAGE_ASK);
    sevfw_put32(slot + CERT_SLOT_ALGO, SEVFW_ALGO_RSA_SHA384);
    root_sign(&ask, cert, SEVFW_CERT_SIGNED, slot + CERT_SLOT_SIGNATURE);
    root_clear(&ask);
}
