/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Every vector of vectors.json that concerns what SEV firmware (API >= 0.17) computes. */
#include "fixture.h"
#include "vectors.h"

#define POLICY UINT32_C(0x11010025)

static void assert_sha256(const uint8_t *expected, const void *data, size_t len)
{
    struct sha256_ctx sha;
    uint8_t digest[32];

    sha256_init(&sha);
    sha256_update(&sha, len, data);
    sha256_digest(&sha, sizeof(digest), digest);
    assert_memory_equal(digest, expected, sizeof(digest));
}

static void reverse(const uint8_t *in, size_t len, uint8_t *out)
{
    for (size_t i = 0; i < len; i++) {
        out[i] = in[len - 1 - i];
    }
}

static void kdf_matches_K1_K2_K3(void **state)
{
    uint8_t key[48], context[16], out[56];

    (void)state;
    memset(key, 0, sizeof(key));
    memset(context, 0, sizeof(context));
    sevfw_kdf(key, 16, "sev-master-secret", context, 16, out, 16);
    assert_memory_equal(out, K1_kdf_16zero, 16);
    seq(0, 48, key);
    seq(0xF0, 16, context);
    sevfw_kdf(key, 48, "sev-master-secret", context, 16, out, 16);
    assert_memory_equal(out, K2_kdf_48byte_key, 16);
    sevfw_kdf(key, 32, "sev-chip-endorsement-key", NULL, 0, out, 56);
    assert_memory_equal(out, K3_kdf_56B_two_blocks, 56);
}

static void ecdh_and_session_match_E1_to_E4(void **state)
{
    uint8_t pdh[48], god[48], pdh_pub[144], god_pub[144], le[48], z[48], nonce[16], kek[16], kik[16], tek[16], tik[16];
    uint8_t expected[16], bad[128];

    (void)state;
    seq(0x01, 48, pdh);
    seq(0x31, 48, god);
    sevfw_ec_public(pdh, pdh_pub);
    sevfw_ec_public(god, god_pub);
    reverse(E1_pdh_x_be, 48, le);
    assert_memory_equal(pdh_pub, le, 48);
    reverse(E1_pdh_y_be, 48, le);
    assert_memory_equal(pdh_pub + 72, le, 48);
    reverse(E1_god_x_be, 48, le);
    assert_memory_equal(god_pub, le, 48);
    reverse(E1_god_y_be, 48, le);
    assert_memory_equal(god_pub + 72, le, 48);
    assert_true(sevfw_ec_ecdh(pdh, god_pub, z));
    assert_memory_equal(z, E2_Z, 48);
    assert_true(sevfw_ec_ecdh(god, pdh_pub, z));
    assert_memory_equal(z, E2_Z, 48);
    seq(0, 16, nonce);
    sevfw_derive_kek_kik(z, 48, nonce, kek, kik);
    assert_memory_equal(kek, E3_kek, 16);
    assert_memory_equal(kik, E3_kik, 16);

    assert_status(SUCCESS, sevfw_session_open(z, 48, E4_session, POLICY, tek, tik));
    seq(0xA0, 16, expected);
    assert_memory_equal(tek, expected, 16);
    seq(0xB0, 16, expected);
    assert_memory_equal(tik, expected, 16);
    assert_status(BAD_MEASUREMENT, sevfw_session_open(z, 48, E4_session, POLICY ^ 1, tek, tik));
    for (size_t at = 0; at < 128; at++) {
        memcpy(bad, E4_session, 128);
        bad[at] ^= 0x80;
        assert_status(BAD_MEASUREMENT, sevfw_session_open(z, 48, bad, POLICY, tek, tik));
    }
}

static void owner_certificate_matches_E5(void **state)
{
    uint8_t god[48], cert[2084];

    (void)state;
    seq(0x31, 48, god);
    sevfw_cert_make(cert, 0, 0, SEVFW_USAGE_PDH, SEVFW_ALGO_ECDH_SHA256, god);
    assert_memory_equal(cert, E5_godh_first_0xb0, 0xB0);
    assert_sha256(E5_godh_sha256, cert, sizeof(cert));
}

/* ECDSA draws its nonce from the machine's random bytes: force the vectors' ones. */
static void sign(struct machine *m, uint8_t *cert, unsigned slot, uint32_t usage, uint8_t key_seed, uint8_t nonce_seed)
{
    uint8_t d[48];

    seq(key_seed, 48, d);
    seq(nonce_seed, 48, m->forced);
    m->forced_len = 48;
    m->forced_at = 0;
    sevfw_cert_sign(m->fw, cert, slot, usage, d);
    assert_int_equal(m->forced_at, 48);
}

static void make(uint8_t *cert, uint32_t usage, uint32_t algo, uint8_t seed)
{
    uint8_t d[48];

    seq(seed, 48, d);
    sevfw_cert_make(cert, 1, 0x37, usage, algo, d);
}

static void certificates_match_C1_to_C6(void **state)
{
    struct machine *m = *state;
    uint8_t pdh[2084], chain[6252], *pek = chain, *oca = chain + 2084, *cek = chain + 4168, le[48];

    make(pdh, SEVFW_USAGE_PDH, SEVFW_ALGO_ECDH_SHA256, 0x01);
    assert_sha256(C1_body_sha256, pdh, 0x414);
    sign(m, pdh, 0, SEVFW_USAGE_PEK, 0x61, 0x11);
    reverse(C1_sig_r_be, 48, le);
    assert_memory_equal(pdh + 0x41C, le, 48);
    reverse(C1_sig_s_be, 48, le);
    assert_memory_equal(pdh + 0x41C + 72, le, 48);
    assert_sha256(C1_cert_sha256, pdh, 2084);

    make(oca, SEVFW_USAGE_OCA, SEVFW_ALGO_ECDSA_SHA256, 0x91);
    sign(m, oca, 0, SEVFW_USAGE_OCA, 0x91, 0x13);
    assert_sha256(C2_oca_sha256, oca, 2084);
    make(cek, SEVFW_USAGE_CEK, SEVFW_ALGO_ECDSA_SHA256, 0xC1);
    assert_sha256(C3_cek_unsigned_sha256, cek, 2084);
    make(pek, SEVFW_USAGE_PEK, SEVFW_ALGO_ECDSA_SHA256, 0x61);
    reverse(C1_pek_x_be, 48, le);
    assert_memory_equal(sevfw_cert_public(pek), le, 48);
    reverse(C1_pek_y_be, 48, le);
    assert_memory_equal(sevfw_cert_public(pek) + 72, le, 48);
    assert_sha256(C6_pek_csr_sha256, pek, 2084);
    sign(m, pek, 0, SEVFW_USAGE_OCA, 0x91, 0x14);
    sign(m, pek, 1, SEVFW_USAGE_CEK, 0xC1, 0x15);
    assert_sha256(C4_pek_sha256, pek, 2084);
    assert_sha256(C5_chain_pek_oca_cek_sha256, chain, sizeof(chain));

    assert_int_equal(sevfw_cert_signed_by(pdh, pek, SEVFW_USAGE_PEK), 0);
    assert_int_equal(sevfw_cert_signed_by(pek, oca, SEVFW_USAGE_OCA), 0);
    assert_int_equal(sevfw_cert_signed_by(pek, cek, SEVFW_USAGE_CEK), 1);
    assert_int_equal(sevfw_cert_signed_by(oca, oca, SEVFW_USAGE_OCA), 0);
    assert_int_equal(sevfw_cert_signed_by(pek, cek, SEVFW_USAGE_OCA), -1);
    assert_int_equal(sevfw_cert_signed_by(pdh, oca, SEVFW_USAGE_PEK), -1);
}

static void attestation_signature_matches_A1(void **state)
{
    struct machine *m = *state;
    uint8_t d[48], rs[144], pub[144];

    seq(0x61, 48, d);
    seq(0x12, 48, m->forced);
    m->forced_len = 48;
    sevfw_ec_sign(m->fw, d, A1_report, 0x34, rs);
    assert_memory_equal(rs, A1_report + 0x40, 144);
    sevfw_ec_public(d, pub);
    assert_true(sevfw_ec_verify(pub, A1_report, 0x34, A1_report + 0x40));
    assert_false(sevfw_ec_verify(pub, A1_report, 0x33, A1_report + 0x40));
}

static void measurements_match_M1_M2(void **state)
{
    static const uint8_t m1_tik[16] = {0x66, 0x32, 0x0d, 0xb7, 0x31, 0x58, 0xa3, 0x5a,
                                       0x25, 0x5d, 0x05, 0x17, 0x58, 0xe9, 0x5e, 0xd4};
    static const uint8_t m1_nonce[16] = {0x4f, 0xbe, 0x0b, 0xed, 0xba, 0xd6, 0xc8, 0x6a,
                                         0xe8, 0xf6, 0x89, 0x71, 0xd1, 0x03, 0xe5, 0x54};
    const uint8_t api1[3] = {0, 0x12, 0x0f}, api2[3] = {1, 0x37, 0x1f};
    struct sha256_ctx sha;
    uint8_t digest[32], tik[16], nonce[16], out[32];

    (void)state;
    sha256_init(&sha);
    sha256_digest(&sha, 32, digest);
    sevfw_measure(m1_tik, api1, 0, digest, m1_nonce, out);
    assert_memory_equal(out, M1_public, 32);
    sha256_update(&sha, 3, (const uint8_t *)"abc");
    sha256_digest(&sha, 32, digest);
    seq(0xB0, 16, tik);
    seq(0xD0, 16, nonce);
    sevfw_measure(tik, api2, POLICY, digest, nonce, out);
    assert_memory_equal(out, M2_measure, 32);
}

static void secret_packet_matches_S1(void **state)
{
    uint8_t tek[16], tik[16], plain[sizeof(S1_packet)], mac[32];

    (void)state;
    seq(0xA0, 16, tek);
    seq(0xB0, 16, tik);
    sevfw_aes_ctr(tek, S1_header + 4, sizeof(S1_packet), plain, S1_packet);
    assert_memory_equal(plain, S1_plain_table, sizeof(plain));
    sevfw_packet_mac(tik, PACKET_SECRET, S1_header, sizeof(plain), sizeof(plain), S1_packet, M2_measure, mac);
    assert_memory_equal(mac, S1_header + 20, 32);
}

/* The MAC of T1 is the reference's own reading, which no second source confirms. */
static void migration_packet_matches_T1(void **state)
{
    uint8_t tek[16], tik[16], plain[64], packet[sizeof(plain)], mac[32];

    (void)state;
    seq(0xA0, 16, tek);
    seq(0xB0, 16, tik);
    for (size_t i = 0; i < sizeof(plain); i++) {
        plain[i] = (uint8_t)(3 * i);
    }
    sevfw_aes_ctr(tek, T1_header + 4, sizeof(plain), packet, plain);
    assert_memory_equal(packet, T1_packet, sizeof(packet));
    sevfw_packet_mac(tik, PACKET_DATA, T1_header, sizeof(plain), sizeof(plain), packet, NULL, mac);
    assert_memory_equal(mac, T1_header + 20, 32);
}

static void sealed_session_matches_E4(void **state)
{
    struct machine *m = *state;
    uint8_t session[128], tek[16], tik[16], expected[16];

    seq(0x00, 16, m->forced); /* nonce, TEK, TIK, IV */
    seq(0xA0, 16, m->forced + 16);
    seq(0xB0, 16, m->forced + 32);
    seq(0xC0, 16, m->forced + 48);
    m->forced_len = 64;
    sevfw_session_seal(m->fw, E2_Z, sizeof(E2_Z), POLICY, session, tek, tik);
    assert_memory_equal(session, E4_session, sizeof(session));
    seq(0xA0, 16, expected);
    assert_memory_equal(tek, expected, 16);
    seq(0xB0, 16, expected);
    assert_memory_equal(tik, expected, 16);
}

/* Nothing is wrong with the layout: what is missing is SEV-ES. Linux' struct lacks a word, and is refused (trap T1). */
static void vmsa_packet_has_the_layout_of_B4(void **state)
{
    struct machine *m = *state;
    uint8_t buf[sizeof(B4_send_update_vmsa)];
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_SUPDATE, MIN_ASID);
    memcpy(buf, B4_send_update_vmsa, sizeof(buf));
    set32(buf, 0, handle);
    assert_status(INVALID_CONFIG, command(m, SEVFW_CMD_SEND_UPDATE_VMSA, buf, sizeof(buf)));
    memmove(buf + 4, buf + 8, sizeof(buf) - 8);
    assert_status(INVALID_PARAM, command(m, SEVFW_CMD_SEND_UPDATE_VMSA, buf, sizeof(buf)));
}

/* The vectors' keys through the commands themselves: E4 opens, M2 comes out, S1 goes in. */
static void commands_reproduce_E4_M2_S1(void **state)
{
    struct machine *m = *state;
    uint8_t start[0x24], god[48], cert[2084], out[48], got[sizeof(S1_packet)], block[16] = "abc";
    struct sha256_ctx sha;
    struct sevfw_guest *guest;
    uint32_t handle;

    bring_up(m);
    seq(0x01, 48, m->fw->id.pdh); /* the vectors' PDH */
    seq(0x31, 48, god);
    sevfw_cert_make(cert, 0, 0, SEVFW_USAGE_PDH, SEVFW_ALGO_ECDH_SHA256, god);
    ram_put(m, AT_CERT, cert, sizeof(cert));
    ram_put(m, AT_SESSION, E4_session, sizeof(E4_session));
    memcpy(start, B3_launch_start, sizeof(start));
    set32(start, 4, POLICY & ~SEVFW_POLICY_ES);
    set64(start, 8, AT_CERT);
    set64(start, 0x18, AT_SESSION);
    /* The policy of the vector asks for ES; with another one the policy MAC must fail. */
    assert_status(BAD_MEASUREMENT, command(m, SEVFW_CMD_LAUNCH_START, start, sizeof(start)));

    assert_status(SUCCESS, launch_start(m, POLICY & ~SEVFW_POLICY_ES, 0, &handle));
    assert_status(SUCCESS, activate(m, handle, MIN_ASID));
    guest = sevfw_guest_find(m->fw, handle);
    seq(0xA0, 16, guest->tek);
    seq(0xB0, 16, guest->tik);
    guest->has_session = true;
    guest->policy = POLICY;
    sha256_init(&sha);
    sha256_update(&sha, 3, block);
    guest->ld = sha; /* the digest of "abc", which no whole block gives */
    seq(0xD0, 16, m->forced);
    m->forced_len = 16;
    m->forced_at = 0;
    assert_status(SUCCESS, measure(m, handle, out));
    assert_memory_equal(out, M2_measure, 32);
    ram_put(m, AT_HEADER, S1_header, sizeof(S1_header));
    ram_put(m, AT_PACKET, S1_packet, sizeof(S1_packet));
    assert_status(SUCCESS, secret(m, handle, AT_GUEST, sizeof(S1_packet), sizeof(S1_packet)));
    guest_get(m, MIN_ASID, AT_GUEST, got, sizeof(got));
    assert_memory_equal(got, S1_plain_table, sizeof(got));
}

static void launch_digests_match_L1_L2(void **state)
{
    struct machine *m = *state;
    uint8_t fw1[8192], report[208], mnonce[16], out[48];
    uint32_t handle;

    for (size_t i = 0; i < sizeof(fw1); i++) {
        fw1[i] = (uint8_t)(7 * i + 3);
    }
    memcpy(fw1 + 0x1800, L0_fw1_meta, sizeof(L0_fw1_meta));
    memcpy(fw1 + 8192 - 0x20 - sizeof(L0_fw1_footer), L0_fw1_footer, sizeof(L0_fw1_footer));
    assert_sha256(L0_fw1_sha256, fw1, sizeof(fw1));

    seq(0x70, 16, mnonce);
    bring_up(m);
    for (int with_table = 0; with_table < 2; with_table++) {
        assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
        assert_status(SUCCESS, activate(m, handle, MIN_ASID + (uint32_t)with_table));
        ram_put(m, AT_GUEST, fw1, sizeof(fw1));
        assert_status(SUCCESS, update_data(m, handle, AT_GUEST, 4096));
        assert_status(SUCCESS, update_data(m, handle, AT_GUEST + 4096, 4096));
        if (with_table) {
            ram_put(m, AT_GUEST + 8192, H1_table, sizeof(H1_table));
            assert_status(SUCCESS, update_data(m, handle, AT_GUEST + 8192, sizeof(H1_table)));
        }
        assert_status(SUCCESS, measure(m, handle, out));
        assert_status(SUCCESS, by_handle(m, SEVFW_CMD_LAUNCH_FINISH, handle));
        assert_status(SUCCESS, attest(m, handle, mnonce, report));
        assert_memory_equal(report + 0x10, with_table ? L2_sev_kernel : L1_sev, 32);
    }
}

static void platform_status_matches_B5(void **state)
{
    struct machine *m = *state;
    uint8_t init[0x14], out[12];
    uint32_t handle;

    memcpy(init, B1_init, sizeof(init));
    set64(init, 8, AT_TMR); /* the vector's address is no RAM here */
    assert_status(SUCCESS, command(m, SEVFW_CMD_INIT, init, sizeof(init)));
    for (int i = 0; i < 3; i++) {
        assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    }
    assert_status(SUCCESS, do_status(m, out));
    assert_memory_equal(out, B5_platform_status_out, 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kdf_matches_K1_K2_K3),
        cmocka_unit_test(ecdh_and_session_match_E1_to_E4),
        cmocka_unit_test(owner_certificate_matches_E5),
        cmocka_unit_test_setup_teardown(certificates_match_C1_to_C6, machine_setup, machine_teardown),
        cmocka_unit_test_setup_teardown(attestation_signature_matches_A1, machine_setup, machine_teardown),
        cmocka_unit_test(measurements_match_M1_M2),
        cmocka_unit_test(secret_packet_matches_S1),
        cmocka_unit_test(migration_packet_matches_T1),
        cmocka_unit_test_setup_teardown(sealed_session_matches_E4, machine_setup, machine_teardown),
        cmocka_unit_test_setup_teardown(vmsa_packet_has_the_layout_of_B4, machine_setup, machine_teardown),
        cmocka_unit_test_setup_teardown(commands_reproduce_E4_M2_S1, machine_setup, machine_teardown),
        cmocka_unit_test_setup_teardown(launch_digests_match_L1_L2, machine_setup, machine_teardown),
        cmocka_unit_test_setup_teardown(platform_status_matches_B5, machine_setup, machine_teardown),
    };

    return cmocka_run_group_tests_name("firmware vectors", tests, NULL, NULL);
}
