/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* From LAUNCH_START to LAUNCH_FINISH: SEV API reference, section 5 "Launch"; and RECEIVE_START, which is its twin. */
#include "internal.h"

/* LAUNCH_START's and RECEIVE_START's fields */
enum {
    HANDLE = 0x00,
    POLICY = 0x04,
    DH_CERT_PADDR = 0x08,
    DH_CERT_LEN = 0x10,
    SESSION_PADDR = 0x18,
    SESSION_LEN = 0x20,
};

/* A handle that is not 0 names the guest whose key the new one shares. */
uint16_t sevfw_start_handle(struct sevfw *fw, struct sevfw_call *call)
{
    uint32_t shared = sevfw_get32(call->buf + HANDLE);

    call->guest = sevfw_guest_find(fw, shared);
    return shared == 0 || call->guest ? SEVFW_SUCCESS : SEVFW_INVALID_GUEST;
}

uint16_t sevfw_start_param(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    return sevfw_get32(call->buf + POLICY) & SEVFW_POLICY_RESERVED ? SEVFW_INVALID_PARAM : SEVFW_SUCCESS;
}

uint16_t sevfw_launch_start_length(struct sevfw *fw, struct sevfw_call *call)
{
    bool has_cert = sevfw_get32(call->buf + DH_CERT_LEN) != 0;
    bool has_session = sevfw_get32(call->buf + SESSION_LEN) != 0;

    (void)fw;
    return has_cert == has_session ? SEVFW_SUCCESS : SEVFW_INVALID_LENGTH;
}

uint16_t sevfw_start_policy(struct sevfw *fw, struct sevfw_call *call)
{
    uint32_t policy = sevfw_get32(call->buf + POLICY);
    uint8_t major = (uint8_t)(policy >> 16), minor = (uint8_t)(policy >> 24);

    if (fw->running.api_major < major || (fw->running.api_major == major && fw->running.api_minor < minor)) {
        return SEVFW_POLICY_FAILURE;
    }
    if (call->guest && (call->guest->policy != policy || (policy & SEVFW_POLICY_NOKS))) {
        return SEVFW_POLICY_FAILURE;
    }
    if (policy & SEVFW_POLICY_ES) {
        return SEVFW_UNSUPPORTED; /* until the machine has SEV-ES */
    }
    return SEVFW_SUCCESS;
}

/* Only the key is taken from the owner's certificate; its signature slots are not
 * looked at, tools differ in what they put there (sev-crypto section 5.5). */
static uint16_t open_session(struct sevfw *fw, struct sevfw_call *call, uint8_t tek[SEVFW_KEY_SIZE],
                             uint8_t tik[SEVFW_KEY_SIZE])
{
    uint8_t cert[SEVFW_CERT_SIZE], session[SEVFW_SESSION_SIZE], z[SEVFW_EC_SIZE];
    uint16_t status;

    if (!fw->ops.read(fw->opaque, sevfw_get64(call->buf + DH_CERT_PADDR), cert, sizeof(cert)) ||
        !fw->ops.read(fw->opaque, sevfw_get64(call->buf + SESSION_PADDR), session, sizeof(session))) {
        return SEVFW_INVALID_ADDRESS;
    }
    if (!sevfw_cert_well_formed(cert, SEVFW_USAGE_PDH, SEVFW_ALGO_ECDH_SHA256) ||
        !sevfw_ec_ecdh(fw->id.pdh, sevfw_cert_public(cert), z)) {
        return SEVFW_INVALID_CERTIFICATE;
    }
    status = sevfw_session_open(z, sizeof(z), session, sevfw_get32(call->buf + POLICY), tek, tik);
    sevfw_wipe(z, sizeof(z));
    return status;
}

static uint16_t start(struct sevfw *fw, struct sevfw_call *call, enum sevfw_guest_state state)
{
    const struct sevfw_guest *shared = call->guest;
    bool has_session = sevfw_get32(call->buf + SESSION_LEN) != 0;
    uint8_t tek[SEVFW_KEY_SIZE] = {0}, tik[SEVFW_KEY_SIZE] = {0};
    struct sevfw_guest *guest;
    uint16_t status = SEVFW_SUCCESS;

    if (fw->guest_count >= fw->config.max_guests) {
        return SEVFW_RESOURCE_LIMIT;
    }
    if (has_session) {
        status = open_session(fw, call, tek, tik);
    }
    if (status != SEVFW_SUCCESS) {
        return status;
    }
    guest = sevfw_guest_new(fw);
    guest->policy = sevfw_get32(call->buf + POLICY);
    guest->state = state;
    guest->launched = state == SEVFW_GUEST_LUPDATE;
    guest->has_session = has_session;
    memcpy(guest->tek, tek, sizeof(tek));
    memcpy(guest->tik, tik, sizeof(tik)); /* zeros without a session: anybody can make that measurement */
    sevfw_wipe(tek, sizeof(tek));
    sevfw_wipe(tik, sizeof(tik));
    if (shared) {
        memcpy(guest->vek, shared->vek, sizeof(guest->vek));
    } else {
        sevfw_random(fw, sizeof(guest->vek), guest->vek);
    }
    sha256_init(&guest->ld);
    sevfw_put32(call->buf + HANDLE, guest->handle);
    fw->last_handle = guest->handle;
    fw->has_last_handle = true;
    return SEVFW_SUCCESS;
}

uint16_t sevfw_launch_start(struct sevfw *fw, struct sevfw_call *call)
{
    return start(fw, call, SEVFW_GUEST_LUPDATE);
}

/* The sender's PDH stands where the owner's certificate does; it comes without its chain, nobody checks who signed it. */
uint16_t sevfw_receive_start(struct sevfw *fw, struct sevfw_call *call)
{
    return start(fw, call, SEVFW_GUEST_RUPDATE);
}

uint16_t sevfw_launch_update_data(struct sevfw *fw, struct sevfw_call *call)
{
    uint64_t spa = sevfw_get64(call->buf + 0x08);
    uint32_t len = sevfw_get32(call->buf + 0x10);
    uint16_t status = SEVFW_SUCCESS;

    while (len > 0 && status == SEVFW_SUCCESS) {
        uint32_t part = len < SEVFW_SCRATCH_SIZE ? len : SEVFW_SCRATCH_SIZE;

        if (fw->ops.read(fw->opaque, spa, fw->scratch, part)) {
            sha256_update(&call->guest->ld, part, fw->scratch);
        } else {
            status = SEVFW_INVALID_ADDRESS;
        }
        if (status == SEVFW_SUCCESS && !fw->ops.write_guest(fw->opaque, call->guest->asid, spa, fw->scratch, part)) {
            status = SEVFW_INVALID_ADDRESS;
        }
        spa += part;
        len -= part;
    }
    sevfw_wipe(fw->scratch, sizeof(fw->scratch));
    return status;
}

/* No guest passes: LAUNCH_START and RECEIVE_START refuse the ES policy. */
uint16_t sevfw_vmsa_policy(struct sevfw *fw, struct sevfw_call *call)
{
    if (!fw->es) {
        return SEVFW_INVALID_CONFIG; /* [HW], AMDSEV #41 */
    }
    return call->guest->policy & SEVFW_POLICY_ES ? SEVFW_SUCCESS : SEVFW_POLICY_FAILURE;
}

uint16_t sevfw_launch_measure(struct sevfw *fw, struct sevfw_call *call)
{
    const uint8_t api[3] = {fw->running.api_major, fw->running.api_minor, fw->running.build};
    struct sevfw_guest *guest = call->guest;
    uint8_t output[SEVFW_MEASURE_SIZE], *mnonce = output + SHA256_DIGEST_SIZE;

    sha256_digest(&guest->ld, sizeof(guest->digest), guest->digest);
    sevfw_random(fw, 16, mnonce);
    sevfw_measure(guest->tik, api, guest->policy, guest->digest, mnonce, guest->measure);
    memcpy(output, guest->measure, sizeof(guest->measure));
    guest->state = SEVFW_GUEST_LSECRET;
    return sevfw_output(fw, sevfw_get64(call->buf + 0x08), output, sizeof(output));
}

/* LAUNCH_SECRET's and RECEIVE_UPDATE_DATA's fields */
enum {
    HDR_PADDR = 0x08,
    GUEST_PADDR = 0x18,
    GUEST_LEN = 0x20,
    TRANS_PADDR = 0x28,
    TRANS_LEN = 0x30,
};

/* Compressed packets would have two lengths; they are refused below. */
uint16_t sevfw_packet_length(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    return sevfw_get32(call->buf + GUEST_LEN) == sevfw_get32(call->buf + TRANS_LEN) ? SEVFW_SUCCESS
                                                                                    : SEVFW_INVALID_LENGTH;
}

_Static_assert(SEVFW_SECRET_MAX <= SEVFW_SCRATCH_SIZE, "a secret fits the scratch buffer");

uint16_t sevfw_packet_open(struct sevfw *fw, struct sevfw_call *call, enum sevfw_packet packet)
{
    const struct sevfw_guest *guest = call->guest;
    uint32_t len = sevfw_get32(call->buf + TRANS_LEN);
    uint8_t header[SEVFW_PACKET_HEADER_SIZE];
    uint16_t status;

    if (!fw->ops.read(fw->opaque, sevfw_get64(call->buf + HDR_PADDR), header, sizeof(header)) ||
        !fw->ops.read(fw->opaque, sevfw_get64(call->buf + TRANS_PADDR), fw->scratch, len)) {
        return SEVFW_INVALID_ADDRESS;
    }
    status = sevfw_packet_check(guest, packet, header, fw->scratch, len);
    if (status == SEVFW_SUCCESS) {
        sevfw_aes_ctr(guest->tek, header + 4, len, fw->scratch, fw->scratch);
        if (!fw->ops.write_guest(fw->opaque, guest->asid, sevfw_get64(call->buf + GUEST_PADDR), fw->scratch, len)) {
            status = SEVFW_INVALID_ADDRESS;
        }
    }
    sevfw_wipe(fw->scratch, sizeof(fw->scratch));
    return status;
}

uint16_t sevfw_launch_secret(struct sevfw *fw, struct sevfw_call *call)
{
    return sevfw_packet_open(fw, call, PACKET_SECRET);
}

void sevfw_session_end(struct sevfw_guest *guest, enum sevfw_guest_state state)
{
    guest->has_session = false;
    sevfw_wipe(guest->tek, sizeof(guest->tek));
    sevfw_wipe(guest->tik, sizeof(guest->tik));
    sevfw_wipe(guest->measure, sizeof(guest->measure)); /* the digest stays for ATTESTATION */
    guest->state = state;
}

uint16_t sevfw_launch_finish(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    sevfw_session_end(call->guest, SEVFW_GUEST_RUNNING);
    return SEVFW_SUCCESS;
}
