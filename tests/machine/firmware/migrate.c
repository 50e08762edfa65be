/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A guest leaves for another platform, and arrives from one: SEV API reference, section 5 "Migration". The sending
 * firmware plays the guest owner's part of a session towards the receiving one's PDH (sev-crypto section 4); then each
 * packet stands for itself: no sequence number and no guest address is under its MAC, so that it may come again, and
 * anywhere.
 */
#include "internal.h"

/* SEND_START's fields */
enum {
    POLICY = 0x04,
    PDH_CERT_PADDR = 0x08,
    PLAT_CERTS_PADDR = 0x18,
    AMD_CERTS_PADDR = 0x28,
    SESSION_PADDR = 0x38,
};

/* The target's certificates, in the scratch buffer. */
struct target {
    uint8_t pdh[SEVFW_CERT_SIZE];
    uint8_t pek[SEVFW_CERT_SIZE], oca[SEVFW_CERT_SIZE], cek[SEVFW_CERT_SIZE];
    uint8_t amd_certs[SEVFW_AMD_CERTS_SIZE];
};

_Static_assert(sizeof(struct target) <= SEVFW_SCRATCH_SIZE, "a target's certificates fit the scratch buffer");
_Static_assert(SEVFW_SEND_MAX <= SEVFW_SCRATCH_SIZE, "a packet fits the scratch buffer");

static bool read_target(struct sevfw *fw, const struct sevfw_call *call, struct target *target)
{
    return fw->ops.read(fw->opaque, sevfw_get64(call->buf + PDH_CERT_PADDR), target->pdh, sizeof(target->pdh)) &&
           fw->ops.read(fw->opaque, sevfw_get64(call->buf + PLAT_CERTS_PADDR), target->pek, SEVFW_CHAIN_SIZE) &&
           fw->ops.read(fw->opaque, sevfw_get64(call->buf + AMD_CERTS_PADDR), target->amd_certs,
                        sizeof(target->amd_certs));
}

/* Second-hand. The links are known (sev-crypto section 5.2), but not which of them firmware checks under which policy:
 * INVALID_CERTIFICATE was seen without the policy's SEV bit too (AMDSEV #129). The model always wants all of them, which
 * is enough for SEV, and all that a caller can rely on. */
static uint16_t check_target(const struct sevfw *fw, uint32_t policy, const struct target *target)
{
    if (!sevfw_cert_well_formed(target->pdh, SEVFW_USAGE_PDH, SEVFW_ALGO_ECDH_SHA256) ||
        !sevfw_cert_well_formed(target->pek, SEVFW_USAGE_PEK, SEVFW_ALGO_ECDSA_SHA256) ||
        !sevfw_cert_well_formed(target->oca, SEVFW_USAGE_OCA, SEVFW_ALGO_ECDSA_SHA256) ||
        !sevfw_cert_well_formed(target->cek, SEVFW_USAGE_CEK, SEVFW_ALGO_ECDSA_SHA256)) {
        return SEVFW_INVALID_CERTIFICATE;
    }
    if (sevfw_cert_signed_by(target->pdh, target->pek, SEVFW_USAGE_PEK) < 0 ||
        sevfw_cert_signed_by(target->pek, target->oca, SEVFW_USAGE_OCA) < 0 ||
        sevfw_cert_signed_by(target->oca, target->oca, SEVFW_USAGE_OCA) < 0 ||
        sevfw_cert_signed_by(target->pek, target->cek, SEVFW_USAGE_CEK) < 0 ||
        !sevfw_root_endorses(target->amd_certs, target->cek)) {
        return SEVFW_INVALID_CERTIFICATE;
    }
    if ((policy & SEVFW_POLICY_DOMAIN) &&
        memcmp(sevfw_cert_public(target->oca), sevfw_cert_public(fw->id.oca_cert), SEVFW_EC_SIG_SIZE) != 0) {
        return SEVFW_POLICY_FAILURE;
    }
    return SEVFW_SUCCESS;
}

static uint16_t open_to(struct sevfw *fw, struct sevfw_call *call, const struct target *target)
{
    struct sevfw_guest *guest = call->guest;
    uint8_t session[SEVFW_SESSION_SIZE], z[SEVFW_EC_SIZE], tek[SEVFW_KEY_SIZE], tik[SEVFW_KEY_SIZE];
    uint16_t status = check_target(fw, guest->policy, target);

    if (status != SEVFW_SUCCESS) {
        return status;
    }
    (void)sevfw_ec_ecdh(fw->id.pdh, sevfw_cert_public(target->pdh), z); /* on the curve, as checked */
    sevfw_session_seal(fw, z, sizeof(z), guest->policy, session, tek, tik);
    status = sevfw_output(fw, sevfw_get64(call->buf + SESSION_PADDR), session, sizeof(session));
    if (status == SEVFW_SUCCESS) {
        memcpy(guest->tek, tek, sizeof(tek));
        memcpy(guest->tik, tik, sizeof(tik));
        guest->has_session = true;
        guest->state = SEVFW_GUEST_SUPDATE;
        sevfw_put32(call->buf + POLICY, guest->policy);
    }
    sevfw_wipe(z, sizeof(z));
    sevfw_wipe(tek, sizeof(tek));
    sevfw_wipe(tik, sizeof(tik));
    return status;
}

uint16_t sevfw_send_start(struct sevfw *fw, struct sevfw_call *call)
{
    struct target *target = (struct target *)fw->scratch;
    uint16_t status = read_target(fw, call, target) ? open_to(fw, call, target) : SEVFW_INVALID_ADDRESS;

    sevfw_wipe(fw->scratch, sizeof(fw->scratch));
    return status;
}

/* SEND_UPDATE_DATA's fields */
enum {
    HDR_PADDR = 0x08,
    GUEST_PADDR = 0x18,
    GUEST_LEN = 0x20,
    TRANS_PADDR = 0x28,
};

uint16_t sevfw_send_update_data(struct sevfw *fw, struct sevfw_call *call)
{
    const struct sevfw_guest *guest = call->guest;
    uint32_t len = sevfw_get32(call->buf + GUEST_LEN);
    uint8_t header[SEVFW_PACKET_HEADER_SIZE] = {0}, *iv = header + 4, *mac = header + 20;
    uint16_t status = SEVFW_INVALID_ADDRESS;

    if (fw->ops.read_guest(fw->opaque, guest->asid, sevfw_get64(call->buf + GUEST_PADDR), fw->scratch, len)) {
        sevfw_random(fw, 16, iv);
        sevfw_aes_ctr(guest->tek, iv, len, fw->scratch, fw->scratch);
        sevfw_packet_mac(guest->tik, PACKET_DATA, header, len, len, fw->scratch, NULL, mac);
        status = sevfw_output(fw, sevfw_get64(call->buf + HDR_PADDR), header, sizeof(header));
    }
    if (status == SEVFW_SUCCESS) {
        status = sevfw_output(fw, sevfw_get64(call->buf + TRANS_PADDR), fw->scratch, len);
    }
    sevfw_wipe(fw->scratch, sizeof(fw->scratch));
    return status;
}

uint16_t sevfw_send_finish(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    sevfw_session_end(call->guest, SEVFW_GUEST_SENT);
    return SEVFW_SUCCESS;
}

uint16_t sevfw_send_cancel(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    sevfw_session_end(call->guest, SEVFW_GUEST_RUNNING);
    return SEVFW_SUCCESS;
}

uint16_t sevfw_receive_update_data(struct sevfw *fw, struct sevfw_call *call)
{
    return sevfw_packet_open(fw, call, PACKET_DATA);
}

uint16_t sevfw_receive_finish(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    sevfw_session_end(call->guest, SEVFW_GUEST_RUNNING);
    return SEVFW_SUCCESS;
}
