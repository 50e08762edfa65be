/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's life through the commands: launch, session, secret, attestation, debug. */
#include "fixture.h"

#include <nettle/hmac.h>
#include <stdlib.h>

#define ASID MIN_ASID

static void good_launch_with_session_and_secret(void **state)
{
    struct machine *m = *state;
    struct owner owner;
    struct sha256_ctx sha;
    struct hmac_sha256_ctx hmac;
    uint8_t text[8192], got[8192], out[48], digest[32], expected[32], head[8] = {4, API_MAJOR_, API_MINOR_, BUILD_};
    uint8_t plain[64], mnonce[16], report[208], pdh[2084], chain[6252];
    uint32_t handle, policy = SEVFW_POLICY_NODBG | SEVFW_POLICY_SEV | 1u << 16 | 17u << 24;

    bring_up(m);
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_INIT);
    owner_make(&owner, policy);
    assert_status(SUCCESS, launch_start_session(m, &owner, policy, &handle));
    assert_int_not_equal(handle, 0);
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_WORKING);
    assert_status(SUCCESS, activate(m, handle, ASID));
    assert_true(sevfw_asid_active(m->fw, ASID));

    for (size_t i = 0; i < sizeof(text); i++) {
        text[i] = (uint8_t)(i * 13 + 1);
    }
    ram_put(m, AT_GUEST, text, sizeof(text));
    assert_status(SUCCESS, update_data(m, handle, AT_GUEST, sizeof(text)));
    guest_get(m, ASID, AT_GUEST, got, sizeof(got));
    assert_memory_equal(got, text, sizeof(text));
    ram_get(m, AT_GUEST, got, sizeof(got));
    assert_memory_not_equal(got, text, 64); /* the host sees ciphertext */

    assert_status(SUCCESS, measure(m, handle, out));
    /* MEASURE written out once more, by hand: sev-crypto section 6. */
    sha256_init(&sha);
    sha256_update(&sha, sizeof(text), text);
    sha256_digest(&sha, sizeof(digest), digest);
    hmac_sha256_set_key(&hmac, 16, owner.tik);
    set32(head, 4, policy);
    hmac_sha256_update(&hmac, sizeof(head), head);
    hmac_sha256_update(&hmac, sizeof(digest), digest);
    hmac_sha256_update(&hmac, 16, out + 32);
    hmac_sha256_digest(&hmac, sizeof(expected), expected);
    assert_memory_equal(out, expected, sizeof(expected));

    memset(plain, 'S', sizeof(plain));
    owner_secret(m, &owner, out, plain, sizeof(plain));
    for (int again = 0; again < 2; again++) { /* it may be repeated */
        assert_status(SUCCESS, secret(m, handle, AT_GUEST + 0x4000, sizeof(plain), sizeof(plain)));
        guest_get(m, ASID, AT_GUEST + 0x4000, got, sizeof(plain));
        assert_memory_equal(got, plain, sizeof(plain));
    }
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_LAUNCH_FINISH, handle));
    assert_int_equal(guest_state(m, handle), SEVFW_GUEST_RUNNING);

    seq(0x40, 16, mnonce);
    assert_status(SUCCESS, attest(m, handle, mnonce, report));
    assert_memory_equal(report, mnonce, 16);
    assert_memory_equal(report + 0x10, digest, 32);
    assert_int_equal(sevfw_get32(report + 0x30), policy);
    assert_int_equal(sevfw_get32(report + 0x34), SEVFW_USAGE_PEK);
    assert_int_equal(sevfw_get32(report + 0x38), SEVFW_ALGO_ECDSA_SHA256);
    assert_status(SUCCESS, pdh_export(m, pdh, chain));
    assert_true(sevfw_ec_verify(sevfw_cert_public(chain), report, 0x34, report + 0x40));

    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DEACTIVATE, handle));
    assert_false(sevfw_asid_active(m->fw, ASID));
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DECOMMISSION, handle));
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_INIT);
}

static void key_material_is_zero_after_finish_and_after_decommission(void **state)
{
    struct machine *m = *state;
    const uint8_t zero[sizeof(struct sevfw_guest)] = {0};
    struct sevfw_guest *guest;
    struct owner owner;
    uint8_t out[48];
    uint32_t handle;

    bring_up(m);
    owner_make(&owner, 0);
    assert_status(SUCCESS, launch_start_session(m, &owner, 0, &handle));
    assert_status(SUCCESS, measure(m, handle, out));
    guest = sevfw_guest_find(m->fw, handle);
    assert_memory_equal(guest->tek, owner.tek, 16);
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_LAUNCH_FINISH, handle));
    assert_memory_equal(guest->tek, zero, 16);
    assert_memory_equal(guest->tik, zero, 16);
    assert_memory_equal(guest->measure, zero, 32);
    assert_memory_not_equal(guest->vek, zero, 16);
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DECOMMISSION, handle));
    assert_memory_equal(guest, zero, sizeof(*guest));
    assert_memory_equal(m->fw->scratch, zero, 64);
}

static void session_is_refused_when_anything_in_it_is_wrong(void **state)
{
    struct machine *m = *state;
    struct owner owner;
    uint8_t start[0x24] = {0}, byte, value[4];
    uint32_t handle;
    /* certificate offsets: version, reserved, usage, algorithm, curve, Qx, Qx's upper bytes, unused key bytes */
    static const uint16_t in_cert[] = {0x000, 0x006, 0x008, 0x00C, 0x010, 0x014, 0x014 + 60, 0x05C, 0x0A4, 0x413};

    bring_up(m);
    owner_make(&owner, 1);
    assert_status(BAD_MEASUREMENT, launch_start_session(m, &owner, 0, &handle)); /* POLICY_MAC is over 1 */
    assert_status(SUCCESS, launch_start_session(m, &owner, 1, &handle));
    set32(start, 4, 1);
    set64(start, 8, AT_CERT);
    set32(start, 0x10, 2084);
    set64(start, 0x18, AT_SESSION);
    set32(start, 0x20, 128);
    for (size_t i = 0; i < sizeof(in_cert) / sizeof(in_cert[0]); i++) {
        ram_get(m, AT_CERT + in_cert[i], &byte, 1);
        byte ^= 1;
        ram_put(m, AT_CERT + in_cert[i], &byte, 1);
        assert_status(INVALID_CERTIFICATE, command(m, SEVFW_CMD_LAUNCH_START, start, sizeof(start)));
        byte ^= 1;
        ram_put(m, AT_CERT + in_cert[i], &byte, 1);
    }
    /* Nobody looks at the signature slots (sev-crypto 5.5). */
    set32(value, 0, SEVFW_USAGE_PEK);
    ram_put(m, AT_CERT + 0x414, value, 4);
    assert_status(SUCCESS, command(m, SEVFW_CMD_LAUNCH_START, start, sizeof(start)));
    /* A stale PDH shows as a wrong MAC. */
    assert_status(SUCCESS, command0(m, SEVFW_CMD_PDH_GEN));
    set32(start, 0, 0);
    assert_status(BAD_MEASUREMENT, command(m, SEVFW_CMD_LAUNCH_START, start, sizeof(start)));
    assert_int_equal(m->fw->guest_count, 2); /* refusals leave no guest behind */
}

static void session_and_certificate_come_together_and_whole(void **state)
{
    struct machine *m = *state;
    static const uint32_t lengths[][2] = {{2084, 0}, {0, 128}, {2083, 128}, {2085, 128}, {2084, 127}, {2084, 129}};
    uint8_t start[0x24];

    bring_up(m);
    for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
        memset(start, 0, sizeof(start));
        set64(start, 8, AT_CERT);
        set32(start, 0x10, lengths[i][0]);
        set64(start, 0x18, AT_SESSION);
        set32(start, 0x20, lengths[i][1]);
        assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_LAUNCH_START, start, sizeof(start)));
    }
    assert_int_equal(m->fw->guest_count, 0);
}

static void policy_wants_at_most_this_api_and_no_reserved_bits(void **state)
{
    struct machine *m = *state;
    uint32_t handle;

    bring_up(m);
    assert_status(SUCCESS, launch_start(m, API_MAJOR_ << 16 | (uint32_t)API_MINOR_ << 24, 0, &handle));
    assert_status(SUCCESS, launch_start(m, 0u << 16 | 255u << 24, 0, &handle)); /* 0.255 is older than 1.55 */
    assert_status(POLICY_FAILURE, launch_start(m, API_MAJOR_ << 16 | (API_MINOR_ + 1u) << 24, 0, &handle));
    assert_status(POLICY_FAILURE, launch_start(m, (API_MAJOR_ + 1u) << 16, 0, &handle));
    for (unsigned bit = 6; bit < 16; bit++) {
        assert_status(INVALID_PARAM, launch_start(m, 1u << bit, 0, &handle));
    }
    assert_status(UNSUPPORTED, launch_start(m, SEVFW_POLICY_ES, 0, &handle));
}

static void key_is_shared_only_with_the_same_policy_and_without_noks(void **state)
{
    struct machine *m = *state;
    uint32_t first, second, noks, handle;

    bring_up(m);
    assert_status(SUCCESS, launch_start(m, 0, 0, &first));
    assert_status(SUCCESS, launch_start(m, 0, first, &second));
    assert_int_not_equal(first, second);
    assert_memory_equal(sevfw_guest_find(m->fw, first)->vek, sevfw_guest_find(m->fw, second)->vek, 16);
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    assert_memory_not_equal(sevfw_guest_find(m->fw, first)->vek, sevfw_guest_find(m->fw, handle)->vek, 16);
    assert_status(POLICY_FAILURE, launch_start(m, SEVFW_POLICY_NODBG, first, &handle));
    assert_status(SUCCESS, launch_start(m, SEVFW_POLICY_NOKS, 0, &noks));
    assert_status(POLICY_FAILURE, launch_start(m, SEVFW_POLICY_NOKS, noks, &handle));
    assert_status(INVALID_GUEST, launch_start(m, 0, 0x12345, &handle));
}

static void handles_are_never_zero_nor_reused_at_once(void **state)
{
    struct machine *m = *state;
    uint32_t handle, previous = 0;

    bring_up(m);
    m->fw->next_handle = UINT32_MAX - 1; /* so that the counter wraps */
    for (int i = 0; i < 5; i++) {
        assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
        assert_int_not_equal(handle, 0);
        assert_int_not_equal(handle, previous);
        previous = handle;
        assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DECOMMISSION, handle));
        assert_status(INVALID_GUEST, by_handle(m, SEVFW_CMD_DECOMMISSION, handle));
    }
}

static void guests_beyond_the_limit_are_refused_and_counted(void **state)
{
    struct machine *m = *state;
    uint32_t handles[MAX_GUESTS], handle;
    uint8_t out[12];

    bring_up(m);
    for (uint32_t i = 0; i < MAX_GUESTS; i++) {
        assert_status(SUCCESS, launch_start(m, 0, 0, &handles[i]));
        assert_status(SUCCESS, do_status(m, out));
        assert_int_equal(sevfw_get32(out + 8), i + 1);
    }
    assert_status(RESOURCE_LIMIT, launch_start(m, 0, 0, &handle));
    for (uint32_t i = 0; i < MAX_GUESTS; i++) {
        assert_int_equal(platform_state(m), SEVFW_PLATFORM_WORKING);
        assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DECOMMISSION, handles[i]));
    }
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_INIT);
}

static void digest_depends_on_order_not_on_chunks(void **state)
{
    struct machine *m = *state;
    uint8_t digests[3][32], out[48];
    uint32_t handle;

    bring_up(m);
    for (int way = 0; way < 3; way++) {
        assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
        assert_status(SUCCESS, activate(m, handle, ASID + (uint32_t)way));
        ram_fill(m, AT_GUEST, 1, 4096);
        ram_fill(m, AT_GUEST + 4096, 2, 4096);
        if (way == 0) {
            assert_status(SUCCESS, update_data(m, handle, AT_GUEST, 8192));
        } else {
            assert_status(SUCCESS, update_data(m, handle, way == 1 ? AT_GUEST : AT_GUEST + 4096, 4096));
            assert_status(SUCCESS, update_data(m, handle, way == 1 ? AT_GUEST + 4096 : AT_GUEST, 4096));
        }
        assert_status(SUCCESS, measure(m, handle, out));
        memcpy(digests[way], sevfw_guest_find(m->fw, handle)->digest, 32);
    }
    assert_memory_equal(digests[0], digests[1], 32);
    assert_memory_not_equal(digests[0], digests[2], 32);
}

static void large_update_through_the_c_bit_is_exact(void **state)
{
    struct machine *m = *state;
    const uint32_t len = 0x1000000 + 48; /* no multiple of the chunk */
    uint8_t *text = malloc(len), *got = malloc(len), out[48], digest[32];
    struct sha256_ctx sha;
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_LUPDATE, ASID);
    for (uint32_t i = 0; i < len; i++) {
        text[i] = (uint8_t)(i ^ i >> 8 ^ i >> 16);
    }
    ram_put(m, (AT_GUEST + 16) | C_BIT, text, len);
    assert_status(SUCCESS, update_data(m, handle, (AT_GUEST + 16) | C_BIT, len));
    guest_get(m, ASID, AT_GUEST + 16, got, len);
    assert_memory_equal(got, text, len);
    assert_status(SUCCESS, measure(m, handle, out));
    sha256_init(&sha);
    sha256_update(&sha, len, text);
    sha256_digest(&sha, 32, digest);
    assert_memory_equal(sevfw_guest_find(m->fw, handle)->digest, digest, 32);
    free(text);
    free(got);
}

static void update_data_checks_alignment_length_and_range(void **state)
{
    struct machine *m = *state;
    uint8_t buf[0x14] = {0}, before[32], after[32], out[48];
    uint64_t reads;
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_LUPDATE, ASID);
    ram_fill(m, RAM_SIZE - 32, 0x33, 32);
    ram_get(m, RAM_SIZE - 32, before, 32);
    assert_status(INVALID_LENGTH, update_data(m, handle, AT_GUEST, 0));
    assert_status(INVALID_LENGTH, update_data(m, handle, AT_GUEST, 15));
    assert_status(INVALID_LENGTH, update_data(m, handle, AT_GUEST, 17));
    assert_status(INVALID_ADDRESS, update_data(m, handle, AT_GUEST + 8, 16));
    reads = m->reads;
    assert_status(INVALID_ADDRESS, update_data(m, handle, RAM_SIZE - 32, 8192)); /* runs out of RAM */
    assert_int_equal(m->reads, reads + 1); /* the command buffer: the address map judges, nothing is touched */
    assert_status(INVALID_ADDRESS, update_data(m, handle, UINT64_C(1) << PHYS_BITS, 16));
    assert_status(INVALID_ADDRESS, update_data(m, handle, (UINT64_C(1) << PHYS_BITS) - 16, 32));
    assert_status(INVALID_ADDRESS, update_data(m, handle, UINT64_C(0xFFFFFFFFFFFFFFF0), 32));
    ram_get(m, RAM_SIZE - 32, after, 32);
    assert_memory_equal(before, after, 32); /* a refusal converts nothing */
    set32(buf, 0, handle);
    set32(buf, 4, 1);
    set64(buf, 8, AT_GUEST);
    set32(buf, 0x10, 16);
    assert_status(INVALID_PARAM, command(m, SEVFW_CMD_LAUNCH_UPDATE_DATA, buf, sizeof(buf)));
    assert_status(SUCCESS, update_data(m, handle, AT_GUEST, 16));
    assert_status(SUCCESS, measure(m, handle, out));
}

static void length_query_of_measure_changes_nothing(void **state)
{
    struct machine *m = *state;
    uint8_t buf[0x14], out[48];
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_LUPDATE, ASID);
    for (uint32_t len = 0; len < 48; len += 47) {
        memset(buf, 0, sizeof(buf));
        set32(buf, 0, handle);
        set32(buf, 0x10, len);
        assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_LAUNCH_MEASURE, buf, sizeof(buf)));
        assert_int_equal(sevfw_get32(buf + 0x10), 48);
        assert_int_equal(guest_state(m, handle), SEVFW_GUEST_LUPDATE);
    }
    set64(buf, 8, NOT_RAM);
    set32(buf, 0x10, 48);
    assert_status(INVALID_ADDRESS, command(m, SEVFW_CMD_LAUNCH_MEASURE, buf, sizeof(buf)));
    assert_int_equal(guest_state(m, handle), SEVFW_GUEST_LUPDATE);
    set64(buf, 8, AT_OUT);
    set32(buf, 0x10, 4096);
    assert_status(SUCCESS, command(m, SEVFW_CMD_LAUNCH_MEASURE, buf, sizeof(buf)));
    assert_int_equal(sevfw_get32(buf + 0x10), 48);
    (void)out;
}

static void measurement_without_session_uses_the_zero_key(void **state)
{
    struct machine *m = *state;
    const uint8_t zero[16] = {0}, api[3] = {API_MAJOR_, API_MINOR_, BUILD_};
    uint8_t out[48], digest[32], expected[32];
    struct sha256_ctx sha;
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_LUPDATE, ASID);
    assert_status(SUCCESS, measure(m, handle, out));
    sha256_init(&sha);
    sha256_digest(&sha, 32, digest); /* nothing was loaded */
    sevfw_measure(zero, api, 0, digest, out + 32, expected);
    assert_memory_equal(out, expected, 32);
}

static void secret_is_refused_when_anything_is_wrong(void **state)
{
    struct machine *m = *state;
    struct owner owner;
    uint8_t out[48], plain[32] = {7}, header[52], bad[52], got[32], byte;
    uint32_t handle;

    bring_up(m);
    owner_make(&owner, 0);
    assert_status(SUCCESS, launch_start_session(m, &owner, 0, &handle));
    assert_status(SUCCESS, activate(m, handle, ASID));
    assert_status(SUCCESS, measure(m, handle, out));
    owner_secret(m, &owner, out, plain, sizeof(plain));
    ram_get(m, AT_HEADER, header, sizeof(header));
    ram_fill(m, AT_GUEST, 0, 32);
    for (size_t at = 4; at < sizeof(header); at++) {
        memcpy(bad, header, sizeof(bad));
        bad[at] ^= 4;
        ram_put(m, AT_HEADER, bad, sizeof(bad));
        assert_status(BAD_MEASUREMENT, secret(m, handle, AT_GUEST, 32, 32));
    }
    memcpy(bad, header, sizeof(bad));
    bad[0] = 1;
    ram_put(m, AT_HEADER, bad, sizeof(bad));
    assert_status(UNSUPPORTED, secret(m, handle, AT_GUEST, 32, 32)); /* COMPRESSED */
    bad[0] = 2;
    ram_put(m, AT_HEADER, bad, sizeof(bad));
    assert_status(INVALID_PARAM, secret(m, handle, AT_GUEST, 32, 32));
    ram_put(m, AT_HEADER, header, sizeof(header));
    ram_get(m, AT_PACKET + 31, &byte, 1);
    byte ^= 1;
    ram_put(m, AT_PACKET + 31, &byte, 1);
    assert_status(BAD_MEASUREMENT, secret(m, handle, AT_GUEST, 32, 32));
    byte ^= 1;
    ram_put(m, AT_PACKET + 31, &byte, 1);
    assert_status(BAD_MEASUREMENT, secret(m, handle, AT_GUEST, 16, 16)); /* lengths are under the MAC */
    assert_status(INVALID_LENGTH, secret(m, handle, AT_GUEST, 32, 16));
    assert_status(INVALID_LENGTH, secret(m, handle, AT_GUEST, 0, 0));
    assert_status(INVALID_LENGTH, secret(m, handle, AT_GUEST, 40, 40));
    assert_status(INVALID_LENGTH, secret(m, handle, AT_GUEST, 0x4010, 0x4010)); /* 16 KiB at most */
    assert_status(INVALID_ADDRESS, secret(m, handle, AT_GUEST + 8, 32, 32));
    assert_status(INVALID_ADDRESS, secret(m, handle, NOT_RAM, 32, 32));
    ram_get(m, AT_GUEST, got, 32);
    for (size_t i = 0; i < 32; i++) {
        assert_int_equal(got[i], 0); /* refusals wrote nothing */
    }
    assert_status(SUCCESS, secret(m, handle, AT_GUEST, 32, 32));
}

static void secret_of_16_KiB_fits(void **state)
{
    struct machine *m = *state;
    struct owner owner;
    uint8_t out[48], *plain = malloc(0x4000), *got = malloc(0x4000);
    uint32_t handle;

    bring_up(m);
    owner_make(&owner, 0);
    assert_status(SUCCESS, launch_start_session(m, &owner, 0, &handle));
    assert_status(SUCCESS, activate(m, handle, ASID));
    assert_status(SUCCESS, measure(m, handle, out));
    seq(9, 0x4000, plain);
    owner_secret(m, &owner, out, plain, 0x4000);
    assert_status(SUCCESS, secret(m, handle, AT_GUEST, 0x4000, 0x4000));
    guest_get(m, ASID, AT_GUEST, got, 0x4000);
    assert_memory_equal(got, plain, 0x4000);
    free(plain);
    free(got);
}

/* Whoever knows that no session was given could make a packet under zero keys. */
static void secret_without_session_is_refused_even_under_zero_keys(void **state)
{
    struct machine *m = *state;
    struct owner owner = {0};
    uint8_t out[48], plain[16] = {1};
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_LUPDATE, ASID);
    assert_status(SUCCESS, measure(m, handle, out));
    owner_secret(m, &owner, out, plain, sizeof(plain));
    assert_status(BAD_MEASUREMENT, secret(m, handle, AT_GUEST, 16, 16));
}

static void debug_commands_copy_through_the_guests_key(void **state)
{
    struct machine *m = *state;
    const uint32_t len = SEVFW_SCRATCH_SIZE + 32;
    uint8_t *text = malloc(len), *got = malloc(len);
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_RUNNING, ASID);
    seq(3, len, text);
    guest_put(m, ASID, AT_GUEST, text, len);
    assert_status(SUCCESS, dbg(m, SEVFW_CMD_DBG_DECRYPT, handle, AT_GUEST, AT_TMR, len));
    ram_get(m, AT_TMR, got, len);
    assert_memory_equal(got, text, len);
    seq(77, len, text);
    ram_put(m, AT_TMR | C_BIT, text, len);
    assert_status(SUCCESS, dbg(m, SEVFW_CMD_DBG_ENCRYPT, handle, AT_TMR | C_BIT, AT_GUEST, len));
    guest_get(m, ASID, AT_GUEST, got, len);
    assert_memory_equal(got, text, len);
    assert_status(INVALID_LENGTH, dbg(m, SEVFW_CMD_DBG_DECRYPT, handle, AT_GUEST, AT_TMR, 0));
    assert_status(INVALID_LENGTH, dbg(m, SEVFW_CMD_DBG_DECRYPT, handle, AT_GUEST, AT_TMR, 8));
    assert_status(INVALID_ADDRESS, dbg(m, SEVFW_CMD_DBG_DECRYPT, handle, AT_GUEST + 8, AT_TMR, 16));
    assert_status(INVALID_ADDRESS, dbg(m, SEVFW_CMD_DBG_ENCRYPT, handle, AT_TMR, NOT_RAM, 16));
    free(text);
    free(got);
}

static void debug_is_refused_by_policy_and_without_asid(void **state)
{
    struct machine *m = *state;
    uint8_t out[48];
    uint32_t handle;

    bring_up(m);
    assert_status(SUCCESS, launch_start(m, SEVFW_POLICY_NODBG, 0, &handle));
    assert_status(SUCCESS, activate(m, handle, ASID));
    assert_status(SUCCESS, measure(m, handle, out));
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_LAUNCH_FINISH, handle));
    assert_status(POLICY_FAILURE, dbg(m, SEVFW_CMD_DBG_DECRYPT, handle, AT_GUEST, AT_TMR, 16));
    assert_status(POLICY_FAILURE, dbg(m, SEVFW_CMD_DBG_ENCRYPT, handle, AT_TMR, AT_GUEST, 16));
    handle = guest_in(m, SEVFW_GUEST_RUNNING, ASID + 1);
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DEACTIVATE, handle));
    assert_status(INACTIVE, dbg(m, SEVFW_CMD_DBG_DECRYPT, handle, AT_GUEST, AT_TMR, 16));
}

static void attestation_reports_its_length(void **state)
{
    struct machine *m = *state;
    uint8_t buf[0x24] = {0};
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_RUNNING, ASID);
    set32(buf, 0, handle);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_ATTESTATION, buf, sizeof(buf)));
    assert_int_equal(sevfw_get32(buf + 0x20), 208);
    set64(buf, 8, NOT_RAM);
    assert_status(INVALID_ADDRESS, command(m, SEVFW_CMD_ATTESTATION, buf, sizeof(buf)));
}

static void guest_status_tells_policy_asid_and_state(void **state)
{
    struct machine *m = *state;
    uint8_t buf[0x0D] = {0};
    uint32_t handle;

    bring_up(m);
    assert_status(SUCCESS, launch_start(m, SEVFW_POLICY_SEV, 0, &handle));
    set32(buf, 0, handle);
    assert_status(SUCCESS, command(m, SEVFW_CMD_GUEST_STATUS, buf, sizeof(buf)));
    assert_int_equal(sevfw_get32(buf + 4), SEVFW_POLICY_SEV);
    assert_int_equal(sevfw_get32(buf + 8), 0);
    assert_int_equal(buf[12], SEVFW_GUEST_LUPDATE);
    assert_status(SUCCESS, activate(m, handle, ASID));
    assert_status(SUCCESS, command(m, SEVFW_CMD_GUEST_STATUS, buf, sizeof(buf)));
    assert_int_equal(sevfw_get32(buf + 8), ASID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(good_launch_with_session_and_secret),
        TEST(key_material_is_zero_after_finish_and_after_decommission),
        TEST(session_is_refused_when_anything_in_it_is_wrong),
        TEST(session_and_certificate_come_together_and_whole),
        TEST(policy_wants_at_most_this_api_and_no_reserved_bits),
        TEST(key_is_shared_only_with_the_same_policy_and_without_noks),
        TEST(handles_are_never_zero_nor_reused_at_once),
        TEST(guests_beyond_the_limit_are_refused_and_counted),
        TEST(digest_depends_on_order_not_on_chunks),
        TEST(large_update_through_the_c_bit_is_exact),
        TEST(update_data_checks_alignment_length_and_range),
        TEST(length_query_of_measure_changes_nothing),
        TEST(measurement_without_session_uses_the_zero_key),
        TEST(secret_is_refused_when_anything_is_wrong),
        TEST(secret_of_16_KiB_fits),
        TEST(secret_without_session_is_refused_even_under_zero_keys),
        TEST(debug_commands_copy_through_the_guests_key),
        TEST(debug_is_refused_by_policy_and_without_asid),
        TEST(attestation_reports_its_length),
        TEST(guest_status_tells_policy_asid_and_state),
    };

    return cmocka_run_group_tests_name("firmware launch", tests, NULL, NULL);
}
