/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* P-384 for the firmware model: byte arrays in, byte arrays out. */
#include <nettle/bignum.h>
#include <nettle/ecc-curve.h>
#include <nettle/ecc.h>
#include <nettle/ecdsa.h>

#include "internal.h"

/* The order of P-384's base point. */
static const char ORDER[] = "ffffffffffffffffffffffffffffffffffffffffffffffff"
                            "c7634d81f4372ddf581a0db248b0a77aecec196accc52973";

static void get_le(mpz_t number, const uint8_t *bytes, size_t len)
{
    mpz_import(number, len, -1, 1, 0, 0, bytes);
}

/* The number fits: it is a coordinate, a signature half or a scalar. */
static void put_le(uint8_t field[SEVFW_EC_FIELD_SIZE], const mpz_t number)
{
    size_t written = 0;

    memset(field, 0, SEVFW_EC_FIELD_SIZE);
    mpz_export(field, &written, -1, 1, 0, 0, number);
}

/* A valid scalar: everything that calls has drawn or checked it before. */
static void scalar_load(struct ecc_scalar *scalar, const uint8_t d[SEVFW_EC_SIZE])
{
    mpz_t number;

    ecc_scalar_init(scalar, nettle_get_secp_384r1());
    nettle_mpz_init_set_str_256_u(number, SEVFW_EC_SIZE, d);
    (void)ecc_scalar_set(scalar, number);
    mpz_clear(number);
}

static bool point_load(struct ecc_point *point, const uint8_t xy[SEVFW_EC_SIG_SIZE])
{
    mpz_t x, y;
    bool on_curve;

    ecc_point_init(point, nettle_get_secp_384r1());
    mpz_init(x);
    mpz_init(y);
    get_le(x, xy, SEVFW_EC_FIELD_SIZE);
    get_le(y, xy + SEVFW_EC_FIELD_SIZE, SEVFW_EC_FIELD_SIZE);
    on_curve = ecc_point_set(point, x, y) != 0;
    mpz_clear(x);
    mpz_clear(y);
    return on_curve;
}

void sevfw_ec_generate(struct sevfw *fw, uint8_t d[SEVFW_EC_SIZE])
{
    struct ecc_scalar scalar;
    mpz_t number;

    ecc_scalar_init(&scalar, nettle_get_secp_384r1());
    mpz_init(number);
    ecc_scalar_random(&scalar, fw, sevfw_random);
    ecc_scalar_get(&scalar, number);
    nettle_mpz_get_str_256(SEVFW_EC_SIZE, d, number);
    mpz_clear(number);
    ecc_scalar_clear(&scalar);
}

void sevfw_ec_chip_key(const uint8_t chip_id[SEVFW_CHIP_ID_SIZE], uint8_t d[SEVFW_EC_SIZE])
{
    struct sha256_ctx sha;
    uint8_t secret[SHA256_DIGEST_SIZE], wide[56];
    mpz_t number, order;

    /* A real chip's secret is fused; the model's is its public id, so that a
     * test owner can check endorsements of any chip. */
    sha256_init(&sha);
    sha256_update(&sha, SEVFW_CHIP_ID_SIZE, chip_id);
    sha256_digest(&sha, sizeof(secret), secret);
    sevfw_kdf(secret, sizeof(secret), "sev-chip-endorsement-key", NULL, 0, wide, sizeof(wide));

    mpz_init_set_str(order, ORDER, 16);
    mpz_sub_ui(order, order, 1);
    mpz_init(number);
    get_le(number, wide, sizeof(wide));
    mpz_mod(number, number, order);
    mpz_add_ui(number, number, 1);
    nettle_mpz_get_str_256(SEVFW_EC_SIZE, d, number);
    mpz_clear(number);
    mpz_clear(order);
    sevfw_wipe(wide, sizeof(wide));
}

static void point_store(const struct ecc_point *point, uint8_t xy[SEVFW_EC_SIG_SIZE])
{
    mpz_t x, y;

    mpz_init(x);
    mpz_init(y);
    ecc_point_get(point, x, y);
    put_le(xy, x);
    put_le(xy + SEVFW_EC_FIELD_SIZE, y);
    mpz_clear(x);
    mpz_clear(y);
}

void sevfw_ec_public(const uint8_t d[SEVFW_EC_SIZE], uint8_t xy[SEVFW_EC_SIG_SIZE])
{
    struct ecc_scalar scalar;
    struct ecc_point point;

    scalar_load(&scalar, d);
    ecc_point_init(&point, nettle_get_secp_384r1());
    ecc_point_mul_g(&point, &scalar);
    point_store(&point, xy);
    ecc_point_clear(&point);
    ecc_scalar_clear(&scalar);
}

bool sevfw_ec_on_curve(const uint8_t xy[SEVFW_EC_SIG_SIZE])
{
    struct ecc_point point;
    bool on_curve = point_load(&point, xy);

    ecc_point_clear(&point);
    return on_curve;
}

bool sevfw_ec_ecdh(const uint8_t d[SEVFW_EC_SIZE], const uint8_t xy[SEVFW_EC_SIG_SIZE], uint8_t z[SEVFW_EC_SIZE])
{
    struct ecc_scalar scalar;
    struct ecc_point point;
    bool on_curve = point_load(&point, xy);

    if (on_curve) {
        uint8_t shared[SEVFW_EC_SIG_SIZE];

        scalar_load(&scalar, d);
        ecc_point_mul(&point, &scalar, &point);
        point_store(&point, shared);
        for (size_t i = 0; i < SEVFW_EC_SIZE; i++) { /* Z is the big-endian x */
            z[i] = shared[SEVFW_EC_SIZE - 1 - i];
        }
        sevfw_wipe(shared, sizeof(shared));
        ecc_scalar_clear(&scalar);
    }
    ecc_point_clear(&point);
    return on_curve;
}

static void digest_of(const void *data, size_t len, uint8_t digest[SHA256_DIGEST_SIZE])
{
    struct sha256_ctx sha;

    sha256_init(&sha);
    sha256_update(&sha, len, data);
    sha256_digest(&sha, SHA256_DIGEST_SIZE, digest);
}

void sevfw_ec_sign(struct sevfw *fw, const uint8_t d[SEVFW_EC_SIZE], const void *data, size_t len,
                   uint8_t rs[SEVFW_EC_SIG_SIZE])
{
    struct ecc_scalar scalar;
    struct dsa_signature signature;
    uint8_t digest[SHA256_DIGEST_SIZE];

    digest_of(data, len, digest);
    scalar_load(&scalar, d);
    dsa_signature_init(&signature);
    ecdsa_sign(&scalar, fw, sevfw_random, sizeof(digest), digest, &signature);
    put_le(rs, signature.r);
    put_le(rs + SEVFW_EC_FIELD_SIZE, signature.s);
    dsa_signature_clear(&signature);
    ecc_scalar_clear(&scalar);
}

bool sevfw_ec_verify(const uint8_t xy[SEVFW_EC_SIG_SIZE], const void *data, size_t len,
                     const uint8_t rs[SEVFW_EC_SIG_SIZE])
{
    struct ecc_point point;
    struct dsa_signature signature;
    uint8_t digest[SHA256_DIGEST_SIZE];
    bool valid = point_load(&point, xy);

    if (valid) {
        digest_of(data, len, digest);
        dsa_signature_init(&signature);
        get_le(signature.r, rs, SEVFW_EC_FIELD_SIZE);
        get_le(signature.s, rs + SEVFW_EC_FIELD_SIZE, SEVFW_EC_FIELD_SIZE);
        valid = ecdsa_verify(&point, sizeof(digest), digest, &signature) != 0;
        dsa_signature_clear(&signature);
    }
    ecc_point_clear(&point);
    return valid;
}
