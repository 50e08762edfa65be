/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guests that move from one platform to another, and those that must not. test_chain.py looks at the same packets and
 * sessions with another library's cryptography. */
#include "fixture.h"

#include <stdlib.h>

#include "kds.h"

#define PAGE 4096u
#define PAGES 5u
#define ASID MIN_ASID
#define AT_SENT AT_GUEST         /* where the guest is at its source */
#define AT_TARGET 0x180000u      /* and at its target */

/* Two platforms: their own chips, owners, PDHs. */
struct pair {
    struct machine *source, *target;
};

static int pair_setup(void **state)
{
    struct pair *pair = calloc(1, sizeof(*pair));
    void *made;

    (void)machine_setup(&made);
    pair->source = made;
    (void)machine_setup(&made);
    pair->target = made;
    pair->target->seed = 77;
    seq(0x51, sizeof(pair->target->config.chip_id), pair->target->config.chip_id);
    machine_rebuild(pair->target);
    bring_up(pair->source);
    bring_up(pair->target);
    *state = pair;
    return 0;
}

static int pair_teardown(void **state)
{
    struct pair *pair = *state;
    void *source = pair->source, *target = pair->target;

    (void)machine_teardown(&source);
    (void)machine_teardown(&target);
    free(pair);
    return 0;
}

/* Launched with PAGES pages of its own, running. */
static uint32_t launched(struct machine *m, uint32_t policy)
{
    uint8_t out[48], text[PAGE];
    uint32_t handle;

    assert_status(SUCCESS, launch_start(m, policy, 0, &handle));
    assert_status(SUCCESS, activate(m, handle, ASID));
    for (uint32_t page = 0; page < PAGES; page++) {
        seq((uint8_t)(page * 41 + 7), sizeof(text), text);
        memcpy(text, &page, sizeof(page));
        ram_put(m, AT_SENT + page * PAGE, text, sizeof(text));
    }
    assert_status(SUCCESS, update_data(m, handle, AT_SENT, PAGES * PAGE));
    assert_status(SUCCESS, measure(m, handle, out));
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_LAUNCH_FINISH, handle));
    return handle;
}

static void guest_page_is(struct machine *m, uint64_t spa, uint32_t page)
{
    uint8_t text[PAGE], got[PAGE];

    seq((uint8_t)(page * 41 + 7), sizeof(text), text);
    memcpy(text, &page, sizeof(page));
    guest_get(m, ASID, spa, got, sizeof(got));
    assert_memory_equal(got, text, sizeof(got));
}

static void lives_on(struct machine *m, uint32_t handle)
{
    uint8_t mnonce[16] = {0}, report[208];

    assert_int_equal(guest_state(m, handle), SEVFW_GUEST_RUNNING);
    assert_true(sevfw_asid_active(m->fw, ASID));
    for (uint32_t page = 0; page < PAGES; page++) {
        guest_page_is(m, AT_SENT + page * PAGE, page);
    }
    assert_status(SUCCESS, attest(m, handle, mnonce, report));
}

static void no_session_keys(struct machine *m, uint32_t handle)
{
    const struct sevfw_guest *guest = sevfw_guest_find(m->fw, handle);
    const uint8_t zero[16] = {0};

    assert_false(guest->has_session);
    assert_memory_equal(guest->tek, zero, 16);
    assert_memory_equal(guest->tik, zero, 16);
}

/* The session and the source's PDH certificate, to where receive_start() wants them. */
static void hand_over_session(struct pair *pair)
{
    uint8_t session[128], pdh[2084], chain[6252];

    ram_get(pair->source, AT_SESSION, session, sizeof(session));
    ram_put(pair->target, AT_SESSION, session, sizeof(session));
    assert_status(SUCCESS, pdh_export(pair->source, pdh, chain));
    ram_put(pair->target, AT_CERT, pdh, sizeof(pdh));
}

static void hand_over_packet(struct pair *pair, uint32_t len)
{
    uint8_t header[52], data[PAGE];

    ram_get(pair->source, AT_HEADER, header, sizeof(header));
    ram_put(pair->target, AT_HEADER, header, sizeof(header));
    ram_get(pair->source, AT_PACKET, data, len);
    ram_put(pair->target, AT_PACKET, data, len);
}

static uint16_t send(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len)
{
    return packet(m, SEVFW_CMD_SEND_UPDATE_DATA, handle, spa, len, len);
}

static uint16_t receive(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len)
{
    return packet(m, SEVFW_CMD_RECEIVE_UPDATE_DATA, handle, spa, len, len);
}

/* A guest at each end of an open session. */
struct ends {
    uint32_t source, target;
};

static struct ends open_session(struct pair *pair, uint32_t policy)
{
    struct ends ends = {.source = launched(pair->source, policy)};

    target_put(pair->source, pair->target);
    assert_status(SUCCESS, send_start(pair->source, ends.source));
    hand_over_session(pair);
    assert_status(SUCCESS, receive_start(pair->target, policy, 0, &ends.target));
    assert_status(SUCCESS, activate(pair->target, ends.target, ASID));
    return ends;
}

static void a_whole_guest_moves(void **state)
{
    struct pair *pair = *state;
    const uint32_t policy = SEVFW_POLICY_SEV | 0x37010000u; /* and API 1.55 */
    const struct ends ends = open_session(pair, policy);
    static const uint32_t any_order[PAGES] = {3, 0, 4, 1, 2};
    uint8_t mnonce[16] = {0}, report[208], buf[0x0D] = {0}, sent[PAGE], plain[PAGE];

    assert_int_equal(guest_state(pair->source, ends.source), SEVFW_GUEST_SUPDATE);
    assert_int_equal(guest_state(pair->target, ends.target), SEVFW_GUEST_RUPDATE);
    assert_memory_not_equal(pair->source->keys[ASID], pair->target->keys[ASID], SEVFW_VEK_SIZE);
    for (uint32_t i = 0; i < PAGES; i++) {
        const uint32_t page = any_order[i];

        assert_status(SUCCESS, send(pair->source, ends.source, (AT_SENT + page * PAGE) | C_BIT, PAGE));
        ram_get(pair->source, AT_PACKET, sent, sizeof(sent));
        guest_get(pair->source, ASID, AT_SENT + page * PAGE, plain, sizeof(plain));
        assert_memory_not_equal(sent, plain, 16);
        hand_over_packet(pair, PAGE);
        assert_status(SUCCESS, receive(pair->target, ends.target, (AT_TARGET + page * PAGE) | C_BIT, PAGE));
    }
    for (uint32_t page = 0; page < PAGES; page++) {
        guest_page_is(pair->target, AT_TARGET + page * PAGE, page);
    }
    assert_status(SUCCESS, by_handle(pair->target, SEVFW_CMD_RECEIVE_FINISH, ends.target));
    assert_status(SUCCESS, by_handle(pair->source, SEVFW_CMD_SEND_FINISH, ends.source));
    assert_int_equal(guest_state(pair->source, ends.source), SEVFW_GUEST_SENT);
    no_session_keys(pair->source, ends.source);
    no_session_keys(pair->target, ends.target);
    set32(buf, 0, ends.target);
    assert_status(SUCCESS, command(pair->target, SEVFW_CMD_GUEST_STATUS, buf, sizeof(buf)));
    assert_int_equal(sevfw_get32(buf + 4), policy);
    assert_int_equal(buf[12], SEVFW_GUEST_RUNNING);
    assert_status(SUCCESS, dbg(pair->target, SEVFW_CMD_DBG_DECRYPT, ends.target, AT_TARGET, AT_OUT, 64));
    /* It was measured where it was launched: here nothing can be said of it. */
    assert_status(INVALID_GUEST_STATE, attest(pair->target, ends.target, mnonce, report));
    assert_status(INVALID_GUEST_STATE, by_handle(pair->source, SEVFW_CMD_SEND_CANCEL, ends.source));
    assert_status(INVALID_GUEST_STATE, send_start(pair->source, ends.source));
    assert_status(SUCCESS, by_handle(pair->source, SEVFW_CMD_DEACTIVATE, ends.source));
    assert_status(SUCCESS, by_handle(pair->source, SEVFW_CMD_DECOMMISSION, ends.source));
    assert_int_equal(platform_state(pair->source), SEVFW_PLATFORM_INIT);
    assert_int_equal(platform_state(pair->target), SEVFW_PLATFORM_WORKING);
}

static void a_received_guest_moves_on(void **state)
{
    struct pair *pair = *state;
    const struct ends ends = open_session(pair, 0);

    assert_status(SUCCESS, send(pair->source, ends.source, AT_SENT, PAGE));
    hand_over_packet(pair, PAGE);
    assert_status(SUCCESS, receive(pair->target, ends.target, AT_TARGET, PAGE));
    assert_status(SUCCESS, by_handle(pair->target, SEVFW_CMD_RECEIVE_FINISH, ends.target));
    target_put(pair->target, pair->source);
    assert_status(SUCCESS, send_start(pair->target, ends.target));
    assert_status(SUCCESS, send(pair->target, ends.target, AT_TARGET, PAGE));
    assert_status(SUCCESS, by_handle(pair->target, SEVFW_CMD_SEND_CANCEL, ends.target));
    guest_page_is(pair->target, AT_TARGET, 0);
}

static void send_start_tells_policy_and_lengths(void **state)
{
    struct pair *pair = *state;
    struct machine *m = pair->source;
    const uint32_t handle = launched(m, SEVFW_POLICY_SEV);
    static const size_t lengths[] = {0x10, 0x20, 0x30, 0x40};
    uint8_t good[0x44] = {0}, buf[0x44] = {0}, session[128], untouched[128];

    set32(buf, 0, handle);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_SEND_START, buf, sizeof(buf))); /* KVM's query */
    assert_int_equal(sevfw_get32(buf + 0x40), 128);
    target_put(m, pair->target);
    ram_fill(m, AT_SESSION, 0x77, 128);
    ram_get(m, AT_SESSION, untouched, 128);
    set32(good, 0x00, handle);
    set64(good, 0x08, AT_CERT);
    set32(good, 0x10, 2084);
    set64(good, 0x18, AT_CHAIN);
    set32(good, 0x20, 6252);
    set64(good, 0x28, AT_AMD);
    set32(good, 0x30, 3200);
    set64(good, 0x38, AT_SESSION);
    set32(good, 0x40, 128);
    for (size_t i = 0; i < 4; i++) {
        for (int off = -1; off <= 1; off += 2) {
            memcpy(buf, good, sizeof(buf));
            set32(buf, lengths[i], (uint32_t)((int)sevfw_get32(good + lengths[i]) + off));
            assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_SEND_START, buf, sizeof(buf)));
            assert_int_equal(sevfw_get32(buf + 0x40), 128);
        }
        memcpy(buf, good, sizeof(buf));
        set64(buf, lengths[i] - 8, NOT_RAM);
        assert_status(INVALID_ADDRESS, command(m, SEVFW_CMD_SEND_START, buf, sizeof(buf)));
    }
    for (size_t at = 0x14; at < 0x38; at += 0x10) {
        memcpy(buf, good, sizeof(buf));
        set32(buf, at, 1);
        assert_status(INVALID_PARAM, command(m, SEVFW_CMD_SEND_START, buf, sizeof(buf)));
    }
    ram_get(m, AT_SESSION, session, 128);
    assert_memory_equal(session, untouched, 128);
    lives_on(m, handle);
    no_session_keys(m, handle);
    assert_status(SUCCESS, command(m, SEVFW_CMD_SEND_START, good, sizeof(good)));
    assert_int_equal(sevfw_get32(good + 0x04), SEVFW_POLICY_SEV);
    assert_int_equal(sevfw_get32(good + 0x40), 128);
}

/* Nothing that changes one bit of a certificate or of a signature gets a session. */
static void a_target_must_prove_its_chain_up_to_the_root(void **state)
{
    struct pair *pair = *state;
    struct machine *m = pair->source;
    static const struct {
        uint64_t at;
        const char *what;
    } bits[] = {
        {AT_CERT + 0x00, "PDH version"},
        {AT_CERT + 0x08, "PDH usage"},
        {AT_CERT + 0x14, "PDH key"},
        {AT_CERT + 0x05, "PDH, only signed"},
        {AT_CERT + 0x41C, "PEK's signature on the PDH"},
        {AT_CHAIN + 0x05, "PEK, only signed"},
        {AT_CHAIN + 0x41C, "OCA's signature on the PEK"},
        {AT_CHAIN + 0x624, "CEK's signature on the PEK"},
        {AT_CHAIN + 2084 + 0x05, "OCA, only signed"},
        {AT_CHAIN + 2084 + 0x41C, "OCA's own signature"},
        {AT_CHAIN + 4168 + 0x05, "CEK, only signed"},
        {AT_CHAIN + 4168 + 0x41C, "ASK's signature on the CEK"},
        {AT_CHAIN + 4168 + 0x414, "who signed the CEK"},
        {AT_AMD + 0x00, "ASK version"},
        {AT_AMD + 0x24, "ASK usage"},
        {AT_AMD + 0x04, "ASK, only signed"},
        {AT_AMD + 0x240, "ASK key"},
        {AT_AMD + 0x440, "ARK's signature on the ASK"},
        {AT_AMD + 1600 + 0x24, "ARK usage"},
        {AT_AMD + 1600 + 0x04, "ARK, only signed"},
        {AT_AMD + 1600 + 0x240, "ARK key"},
        {AT_AMD + 1600 + 0x440, "ARK's own signature"},
    };
    const uint32_t handle = launched(m, 0);
    uint8_t byte, chain[6252], pdh[2084], roots[3200], swapped[3200];

    target_put(m, pair->target);
    for (size_t i = 0; i < sizeof(bits) / sizeof(bits[0]); i++) {
        ram_get(m, bits[i].at, &byte, 1);
        byte ^= 1;
        ram_put(m, bits[i].at, &byte, 1);
        if (send_start(m, handle) != SEVFW_INVALID_CERTIFICATE) {
            fail_msg("%s: changed and not refused", bits[i].what);
        }
        byte ^= 1;
        ram_put(m, bits[i].at, &byte, 1);
    }
    ram_get(m, AT_AMD, roots, sizeof(roots));
    memcpy(swapped, roots + 1600, 1600);
    memcpy(swapped + 1600, roots, 1600);
    ram_put(m, AT_AMD, swapped, sizeof(swapped)); /* ARK, ASK */
    assert_status(INVALID_CERTIFICATE, send_start(m, handle));
    ram_put(m, AT_AMD, roots, sizeof(roots));
    assert_status(SUCCESS, pdh_export(pair->target, pdh, chain));
    ram_put(m, AT_CHAIN, chain, sizeof(chain)); /* the CEK as the firmware exports it: unsigned */
    assert_status(INVALID_CERTIFICATE, send_start(m, handle));
    target_put(m, m);
    ram_put(m, AT_CERT, pdh, sizeof(pdh)); /* another platform's PDH */
    assert_status(INVALID_CERTIFICATE, send_start(m, handle));
    lives_on(m, handle);
    no_session_keys(m, handle);
    target_put(m, pair->target);
    assert_status(SUCCESS, send_start(m, handle));
}

static void nosend_stays(void **state)
{
    struct pair *pair = *state;
    const uint32_t handle = launched(pair->source, SEVFW_POLICY_NOSEND);

    target_put(pair->source, pair->target);
    assert_status(POLICY_FAILURE, send_start(pair->source, handle));
    lives_on(pair->source, handle);
}

/* The same owner's OCA on both: PEK_CERT_IMPORT. */
static void own(struct machine *m)
{
    uint8_t buf[0x1C] = {0}, d[48], pek[2084], oca[2084];

    seq(0x91, sizeof(d), d);
    sevfw_cert_make(oca, API_MAJOR_, API_MINOR_, SEVFW_USAGE_OCA, SEVFW_ALGO_ECDSA_SHA256, d);
    sevfw_cert_sign(m->fw, oca, 0, SEVFW_USAGE_OCA, d);
    sevfw_cert_make(pek, API_MAJOR_, API_MINOR_, SEVFW_USAGE_PEK, SEVFW_ALGO_ECDSA_SHA256, m->fw->id.pek);
    sevfw_cert_sign(m->fw, pek, 0, SEVFW_USAGE_OCA, d);
    ram_put(m, AT_CERT, pek, sizeof(pek));
    ram_put(m, AT_OUT, oca, sizeof(oca));
    set64(buf, 0x00, AT_CERT);
    set32(buf, 0x08, 2084);
    set64(buf, 0x10, AT_OUT);
    set32(buf, 0x18, 2084);
    assert_status(SUCCESS, command(m, SEVFW_CMD_PEK_CERT_IMPORT, buf, sizeof(buf)));
}

static void domain_moves_to_its_owners_platforms_only(void **state)
{
    struct pair *pair = *state;
    uint32_t handle;

    own(pair->source);
    handle = launched(pair->source, SEVFW_POLICY_DOMAIN);
    target_put(pair->source, pair->target);
    assert_status(POLICY_FAILURE, send_start(pair->source, handle));
    lives_on(pair->source, handle);
    own(pair->target);
    target_put(pair->source, pair->target);
    assert_status(SUCCESS, send_start(pair->source, handle));
}

static void an_older_target_refuses_a_guest_that_wants_a_newer_api(void **state)
{
    struct pair *pair = *state;
    const uint32_t policy = (uint32_t)API_MAJOR_ << 16 | (uint32_t)API_MINOR_ << 24;
    const uint32_t handle = launched(pair->source, policy);
    uint32_t received;

    pair->target->fw->running.api_minor = API_MINOR_ - 1;
    target_put(pair->source, pair->target);
    assert_status(SUCCESS, send_start(pair->source, handle));
    hand_over_session(pair);
    assert_status(POLICY_FAILURE, receive_start(pair->target, policy, 0, &received));
    assert_int_equal(platform_state(pair->target), SEVFW_PLATFORM_INIT);
    pair->target->fw->running.api_minor = API_MINOR_;
    assert_status(SUCCESS, receive_start(pair->target, policy, 0, &received));
}

static void a_session_is_refused_when_anything_in_it_is_wrong(void **state)
{
    struct pair *pair = *state;
    struct machine *m = pair->target;
    const uint32_t handle = launched(pair->source, 0);
    uint8_t session[128], bad[128], buf[0x24] = {0};
    uint32_t received;

    target_put(pair->source, pair->target);
    assert_status(SUCCESS, send_start(pair->source, handle));
    hand_over_session(pair);
    ram_get(m, AT_SESSION, session, sizeof(session));
    for (size_t at = 0; at < sizeof(session); at += 7) { /* each field, some bytes of each */
        memcpy(bad, session, sizeof(bad));
        bad[at] ^= 0x10;
        ram_put(m, AT_SESSION, bad, sizeof(bad));
        assert_status(BAD_MEASUREMENT, receive_start(m, 0, 0, &received));
    }
    ram_put(m, AT_SESSION, session, sizeof(session));
    assert_status(BAD_MEASUREMENT, receive_start(m, SEVFW_POLICY_NODBG, 0, &received)); /* another policy */
    assert_status(INVALID_PARAM, receive_start(m, 0x40, 0, &received));
    assert_status(UNSUPPORTED, receive_start(m, SEVFW_POLICY_ES, 0, &received));
    assert_status(INVALID_GUEST, receive_start(m, 0, 0x4711, &received));
    set64(buf, 0x08, AT_CERT);
    set64(buf, 0x18, AT_SESSION);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_RECEIVE_START, buf, sizeof(buf))); /* a session is a must */
    set32(buf, 0x10, 2084);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_RECEIVE_START, buf, sizeof(buf)));
    set32(buf, 0x20, 127);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_RECEIVE_START, buf, sizeof(buf)));
    set32(buf, 0x20, 128);
    set64(buf, 0x08, NOT_RAM);
    assert_status(INVALID_ADDRESS, command(m, SEVFW_CMD_RECEIVE_START, buf, sizeof(buf)));
    set64(buf, 0x08, AT_GUEST); /* zeros are no certificate */
    assert_status(INVALID_CERTIFICATE, command(m, SEVFW_CMD_RECEIVE_START, buf, sizeof(buf)));
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_INIT);
    assert_int_equal(m->fw->guest_count, 0);
    assert_status(SUCCESS, receive_start(m, 0, 0, &received));
}

static void a_session_opens_until_its_pdh_is_gone(void **state)
{
    struct pair *pair = *state;
    struct ends ends = open_session(pair, 0);
    uint32_t again;

    assert_status(SUCCESS, receive_start(pair->target, 0, 0, &again)); /* an old stream, a second time */
    assert_int_not_equal(again, ends.target);
    assert_status(SUCCESS, command0(pair->target, SEVFW_CMD_PDH_GEN));
    assert_status(BAD_MEASUREMENT, receive_start(pair->target, 0, 0, &again));
    assert_status(SUCCESS, send(pair->source, ends.source, AT_SENT, PAGE));
    hand_over_packet(pair, PAGE);
    assert_status(SUCCESS, receive(pair->target, ends.target, AT_TARGET, PAGE)); /* which is open stays so */
}

static void a_key_is_shared_with_a_received_guest_as_with_a_launched_one(void **state)
{
    struct pair *pair = *state;
    const struct ends ends = open_session(pair, 0);
    uint32_t sharing, noks;

    assert_status(SUCCESS, receive_start(pair->target, 0, ends.target, &sharing));
    assert_memory_equal(sevfw_guest_find(pair->target->fw, sharing)->vek, pair->target->keys[ASID], SEVFW_VEK_SIZE);
    assert_status(SUCCESS, launch_start(pair->target, SEVFW_POLICY_NOKS, 0, &noks));
    assert_status(POLICY_FAILURE, receive_start(pair->target, 0, noks, &sharing));
}

static void send_update_tells_its_lengths_and_checks_them(void **state)
{
    struct pair *pair = *state;
    struct machine *m = pair->source;
    const struct ends ends = open_session(pair, 0);
    static const struct {
        uint64_t at;
        uint32_t len, trans_len;
        uint16_t status;
    } wrong[] = {
        {AT_SENT, 0, PAGE, SEVFW_INVALID_LENGTH},
        {AT_SENT, 8, PAGE, SEVFW_INVALID_LENGTH},
        {AT_SENT, PAGE + 16, 2 * PAGE, SEVFW_INVALID_LENGTH},
        {AT_SENT, PAGE, PAGE - 1, SEVFW_INVALID_LENGTH},
        {AT_SENT + 8, 64, 64, SEVFW_INVALID_ADDRESS},
        {NOT_RAM, 64, 64, SEVFW_INVALID_ADDRESS},
        {RAM_SIZE - 16, 64, 64, SEVFW_INVALID_ADDRESS},
    };
    uint8_t buf[0x34] = {0}, data[52];

    set32(buf, 0, ends.source);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_SEND_UPDATE_DATA, buf, sizeof(buf))); /* KVM's query */
    assert_int_equal(sevfw_get32(buf + 0x10), 52);
    assert_int_equal(sevfw_get32(buf + 0x30), PAGE);
    set32(buf, 0x20, 64);
    set32(buf, 0x30, 0);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_SEND_UPDATE_DATA, buf, sizeof(buf)));
    assert_int_equal(sevfw_get32(buf + 0x30), 64);
    ram_fill(m, AT_HEADER, 0x77, 52);
    ram_fill(m, AT_PACKET, 0x77, 52);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(
            packet(m, SEVFW_CMD_SEND_UPDATE_DATA, ends.source, wrong[i].at, wrong[i].len, wrong[i].trans_len),
            wrong[i].status);
    }
    for (size_t at = 0x04; at <= 0x24; at += 0x10) { /* reserved words */
        memset(buf, 0, sizeof(buf));
        set32(buf, 0, ends.source);
        set32(buf, at, 1);
        assert_status(INVALID_PARAM, command(m, SEVFW_CMD_SEND_UPDATE_DATA, buf, sizeof(buf)));
    }
    ram_get(m, AT_HEADER, data, sizeof(data));
    for (size_t i = 0; i < sizeof(data); i++) {
        assert_int_equal(data[i], 0x77);
    }
    ram_get(m, AT_PACKET, data, sizeof(data));
    for (size_t i = 0; i < sizeof(data); i++) {
        assert_int_equal(data[i], 0x77);
    }
    memset(buf, 0, sizeof(buf)); /* more room than needed: both lengths are corrected */
    set32(buf, 0, ends.source);
    set64(buf, 0x08, AT_HEADER);
    set32(buf, 0x10, 60);
    set64(buf, 0x18, AT_SENT + 16);
    set32(buf, 0x20, 64);
    set64(buf, 0x28, AT_PACKET);
    set32(buf, 0x30, PAGE);
    assert_status(SUCCESS, command(m, SEVFW_CMD_SEND_UPDATE_DATA, buf, sizeof(buf)));
    assert_int_equal(sevfw_get32(buf + 0x10), 52);
    assert_int_equal(sevfw_get32(buf + 0x30), 64);
}

static void a_page_sent_twice_is_never_the_same_packet(void **state)
{
    struct pair *pair = *state;
    const struct ends ends = open_session(pair, 0);
    uint8_t headers[2][52], data[2][PAGE];

    for (int i = 0; i < 2; i++) {
        assert_status(SUCCESS, send(pair->source, ends.source, AT_SENT, PAGE));
        ram_get(pair->source, AT_HEADER, headers[i], 52);
        ram_get(pair->source, AT_PACKET, data[i], PAGE);
    }
    assert_memory_equal(headers[0], headers[1], 4); /* FLAGS: none */
    assert_memory_not_equal(headers[0] + 4, headers[1] + 4, 16);
    assert_memory_not_equal(data[0], data[1], PAGE);
}

static void a_packet_is_refused_when_anything_is_wrong(void **state)
{
    struct pair *pair = *state;
    struct machine *m = pair->target;
    const struct ends ends = open_session(pair, 0);
    uint8_t header[52], bad[52], data[PAGE], got[PAGE], before[PAGE], mac[32];

    assert_status(SUCCESS, send(pair->source, ends.source, AT_SENT, PAGE));
    hand_over_packet(pair, PAGE);
    ram_get(m, AT_HEADER, header, sizeof(header));
    ram_get(m, AT_PACKET, data, sizeof(data));
    ram_fill(m, AT_TARGET, 0x5C, PAGE);
    ram_get(m, AT_TARGET, before, PAGE);
    for (size_t at = 4; at < sizeof(header); at++) { /* IV and MAC */
        memcpy(bad, header, sizeof(bad));
        bad[at] ^= 0x20;
        ram_put(m, AT_HEADER, bad, sizeof(bad));
        assert_status(BAD_MEASUREMENT, receive(m, ends.target, AT_TARGET, PAGE));
    }
    memcpy(bad, header, sizeof(bad));
    bad[0] = 1;
    ram_put(m, AT_HEADER, bad, sizeof(bad));
    assert_status(UNSUPPORTED, receive(m, ends.target, AT_TARGET, PAGE)); /* COMPRESSED */
    bad[0] = 2;
    ram_put(m, AT_HEADER, bad, sizeof(bad));
    assert_status(INVALID_PARAM, receive(m, ends.target, AT_TARGET, PAGE));
    /* The right key, for another command's packets */
    sevfw_packet_mac(sevfw_guest_find(m->fw, ends.target)->tik, PACKET_SECRET, header, PAGE, PAGE, data, NULL, mac);
    memcpy(bad, header, sizeof(bad));
    memcpy(bad + 20, mac, sizeof(mac));
    ram_put(m, AT_HEADER, bad, sizeof(bad));
    assert_status(BAD_MEASUREMENT, receive(m, ends.target, AT_TARGET, PAGE));
    ram_put(m, AT_HEADER, header, sizeof(header));
    data[PAGE - 1] ^= 1;
    ram_put(m, AT_PACKET, data, sizeof(data));
    assert_status(BAD_MEASUREMENT, receive(m, ends.target, AT_TARGET, PAGE));
    data[PAGE - 1] ^= 1;
    ram_put(m, AT_PACKET, data, sizeof(data));
    assert_status(BAD_MEASUREMENT, receive(m, ends.target, AT_TARGET, PAGE - 16)); /* cut */
    assert_status(INVALID_LENGTH, packet(m, SEVFW_CMD_RECEIVE_UPDATE_DATA, ends.target, AT_TARGET, PAGE, PAGE - 16));
    assert_status(INVALID_LENGTH, packet(m, SEVFW_CMD_RECEIVE_UPDATE_DATA, ends.target, AT_TARGET, PAGE - 16, PAGE));
    assert_status(INVALID_LENGTH, receive(m, ends.target, AT_TARGET, 0));
    assert_status(INVALID_LENGTH, receive(m, ends.target, AT_TARGET, PAGE - 8));
    assert_status(INVALID_LENGTH, receive(m, ends.target, AT_TARGET, PAGE + 16));
    assert_status(INVALID_ADDRESS, receive(m, ends.target, AT_TARGET + 8, PAGE));
    assert_status(INVALID_ADDRESS, receive(m, ends.target, NOT_RAM, PAGE));
    ram_get(m, AT_TARGET, got, PAGE);
    assert_memory_equal(got, before, PAGE); /* refusals wrote nothing */
    assert_int_equal(guest_state(m, ends.target), SEVFW_GUEST_RUPDATE);
    assert_status(SUCCESS, receive(m, ends.target, AT_TARGET, PAGE));
    guest_page_is(m, AT_TARGET, 0);
    /* What is refused by nobody: the packet says neither where it belongs nor which it is. */
    assert_status(SUCCESS, receive(m, ends.target, AT_TARGET + 2 * PAGE, PAGE));
    guest_page_is(m, AT_TARGET + 2 * PAGE, 0);
}

static void packets_of_a_cancelled_session_fit_no_other(void **state)
{
    struct pair *pair = *state;
    const struct ends ends = open_session(pair, 0);

    assert_status(SUCCESS, by_handle(pair->source, SEVFW_CMD_SEND_CANCEL, ends.source));
    target_put(pair->source, pair->target);
    assert_status(SUCCESS, send_start(pair->source, ends.source));
    assert_status(SUCCESS, send(pair->source, ends.source, AT_SENT, PAGE));
    hand_over_packet(pair, PAGE);
    assert_status(BAD_MEASUREMENT, receive(pair->target, ends.target, AT_TARGET, PAGE));
}

static void a_cancelled_source_lives_on_and_may_try_again(void **state)
{
    struct pair *pair = *state;
    struct machine *m = pair->source;
    const uint32_t handle = launched(m, 0);
    uint32_t received;

    for (uint32_t pages = 0; pages <= PAGES; pages += PAGES) { /* at once, and with all sent */
        target_put(m, pair->target);
        assert_status(SUCCESS, send_start(m, handle));
        for (uint32_t page = 0; page < pages; page++) {
            assert_status(SUCCESS, send(m, handle, AT_SENT + page * PAGE, PAGE));
        }
        assert_status(SUCCESS, by_handle(m, SEVFW_CMD_SEND_CANCEL, handle));
        lives_on(m, handle);
        no_session_keys(m, handle);
        assert_status(INVALID_GUEST_STATE, send(m, handle, AT_SENT, PAGE));
        assert_status(INVALID_GUEST_STATE, by_handle(m, SEVFW_CMD_SEND_CANCEL, handle));
        assert_status(INVALID_GUEST_STATE, by_handle(m, SEVFW_CMD_SEND_FINISH, handle));
    }
    target_put(m, pair->target);
    assert_status(SUCCESS, send_start(m, handle));
    hand_over_session(pair);
    assert_status(SUCCESS, receive_start(pair->target, 0, 0, &received));
}

static void a_half_received_guest_is_thrown_away(void **state)
{
    struct pair *pair = *state;
    const struct ends ends = open_session(pair, 0);

    assert_status(SUCCESS, by_handle(pair->target, SEVFW_CMD_DEACTIVATE, ends.target));
    assert_status(SUCCESS, by_handle(pair->target, SEVFW_CMD_DECOMMISSION, ends.target));
    assert_int_equal(platform_state(pair->target), SEVFW_PLATFORM_INIT);
    assert_status(INVALID_GUEST, receive(pair->target, ends.target, AT_TARGET, PAGE));
    assert_status(SUCCESS, by_handle(pair->source, SEVFW_CMD_SEND_CANCEL, ends.source));
    lives_on(pair->source, ends.source);
}

static void outputs_of_a_packet_can_be_corrupted(void **state)
{
    struct pair *pair = *state;
    const struct ends ends = open_session(pair, 0);
    uint8_t header[52], data[PAGE];

    assert_status(SUCCESS, send(pair->source, ends.source, AT_SENT, PAGE));
    sevfw_scribble_outputs(pair->source->fw, 0xA5);
    ram_get(pair->source, AT_HEADER, header, sizeof(header));
    ram_get(pair->source, AT_PACKET, data, sizeof(data));
    assert_int_equal(header[0], 0xA5);
    assert_int_equal(header[51], 0xA5);
    assert_int_equal(data[0], 0xA5);
    assert_int_equal(data[PAGE - 1], 0xA5);
    guest_page_is(pair->source, AT_SENT, 0);
}

static void copy_moves_memory_within_the_guest(void **state)
{
    struct pair *pair = *state;
    struct machine *m = pair->source;
    const uint32_t handle = launched(m, SEVFW_POLICY_NODBG | SEVFW_POLICY_NOSEND), len = PAGES * PAGE;
    uint8_t here[PAGE], there[PAGE];

    assert_true(len > SEVFW_SCRATCH_SIZE);
    assert_status(SUCCESS, copy(m, handle, AT_SENT | C_BIT, AT_TARGET | C_BIT, len));
    for (uint32_t page = 0; page < PAGES; page++) {
        guest_page_is(m, AT_TARGET + page * PAGE, page);
    }
    ram_get(m, AT_SENT, here, PAGE);
    ram_get(m, AT_TARGET, there, PAGE);
    assert_memory_not_equal(here, there, PAGE); /* the ciphertext is bound to its address */
    assert_status(INVALID_LENGTH, copy(m, handle, AT_SENT, AT_TARGET, 0));
    assert_status(INVALID_LENGTH, copy(m, handle, AT_SENT, AT_TARGET, 24));
    assert_status(INVALID_ADDRESS, copy(m, handle, AT_SENT + 8, AT_TARGET, 16));
    assert_status(INVALID_ADDRESS, copy(m, handle, AT_SENT, AT_TARGET + 8, 16));
    assert_status(INVALID_ADDRESS, copy(m, handle, AT_SENT, NOT_RAM, 16));
    assert_status(INVALID_ADDRESS, copy(m, handle, NOT_RAM, AT_SENT, 16));
    assert_status(INVALID_ADDRESS, copy(m, handle, AT_SENT, AT_SENT + PAGE, 2 * PAGE)); /* they overlap */
    assert_status(INVALID_ADDRESS, copy(m, handle, AT_SENT + PAGE, AT_SENT | C_BIT, PAGE + 16));
    lives_on(m, handle);
    assert_status(SUCCESS, copy(m, handle, AT_SENT, AT_SENT + PAGE, PAGE)); /* side by side */
    guest_page_is(m, AT_SENT + PAGE, 0);
}

static void what_the_model_lacks_is_refused_in_words(void **state)
{
    struct pair *pair = *state;
    struct machine *m = pair->source;
    const struct ends ends = open_session(pair, 0);
    uint8_t buf[0x28] = {0};

    assert_status(INVALID_CONFIG, packet(m, SEVFW_CMD_SEND_UPDATE_VMSA, ends.source, AT_SENT, PAGE, PAGE));
    m->fw->es = pair->target->fw->es = true;
    assert_status(POLICY_FAILURE, packet(m, SEVFW_CMD_SEND_UPDATE_VMSA, ends.source, AT_SENT, PAGE, PAGE));
    assert_status(POLICY_FAILURE,
                  packet(pair->target, SEVFW_CMD_RECEIVE_UPDATE_VMSA, ends.target, AT_TARGET, PAGE, PAGE));
    assert_status(INVALID_LENGTH, packet(m, SEVFW_CMD_SEND_UPDATE_VMSA, ends.source, AT_SENT, 0, 0));
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_SEND_CANCEL, ends.source));
    set32(buf, 0, ends.source);
    assert_status(UNSUPPORTED, command(m, SEVFW_CMD_SWAP_OUT, buf, 0x28));
    assert_status(UNSUPPORTED, command(m, SEVFW_CMD_SWAP_IN, buf, 0x20));
    assert_status(UNSUPPORTED, command(m, SEVFW_CMD_RING_BUFFER, buf, 0x28));
    lives_on(m, ends.source);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pair_setup, pair_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_whole_guest_moves),
        TEST(a_received_guest_moves_on),
        TEST(send_start_tells_policy_and_lengths),
        TEST(a_target_must_prove_its_chain_up_to_the_root),
        TEST(nosend_stays),
        TEST(domain_moves_to_its_owners_platforms_only),
        TEST(an_older_target_refuses_a_guest_that_wants_a_newer_api),
        TEST(a_session_is_refused_when_anything_in_it_is_wrong),
        TEST(a_session_opens_until_its_pdh_is_gone),
        TEST(a_key_is_shared_with_a_received_guest_as_with_a_launched_one),
        TEST(send_update_tells_its_lengths_and_checks_them),
        TEST(a_page_sent_twice_is_never_the_same_packet),
        TEST(a_packet_is_refused_when_anything_is_wrong),
        TEST(packets_of_a_cancelled_session_fit_no_other),
        TEST(a_cancelled_source_lives_on_and_may_try_again),
        TEST(a_half_received_guest_is_thrown_away),
        TEST(outputs_of_a_packet_can_be_corrupted),
        TEST(copy_moves_memory_within_the_guest),
        TEST(what_the_model_lacks_is_refused_in_words),
    };

    return cmocka_run_group_tests_name("firmware migrate", tests, NULL, NULL);
}
