/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What a running guest can still be asked: attestation, debugging, and to have its memory moved. */
#include "internal.h"

/* A received guest brought no digest along; what real firmware then reports is not known. */
uint16_t sevfw_attestation_state(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    return call->guest->launched ? SEVFW_SUCCESS : SEVFW_INVALID_GUEST_STATE;
}

/* The 208-byte report, sev-crypto section 8. */
uint16_t sevfw_attestation(struct sevfw *fw, struct sevfw_call *call)
{
    const struct sevfw_guest *guest = call->guest;
    uint8_t report[SEVFW_REPORT_SIZE] = {0};

    memcpy(report, call->buf + 0x10, 16); /* MNONCE */
    memcpy(report + 0x10, guest->digest, sizeof(guest->digest));
    sevfw_put32(report + 0x30, guest->policy);
    sevfw_put32(report + 0x34, SEVFW_USAGE_PEK);
    sevfw_put32(report + 0x38, SEVFW_ALGO_ECDSA_SHA256);
    sevfw_ec_sign(fw, fw->id.pek, report, 0x34, report + 0x40);
    return sevfw_output(fw, sevfw_get64(call->buf + 0x08), report, sizeof(report));
}

static uint16_t dbg_copy(struct sevfw *fw, struct sevfw_call *call, bool decrypt)
{
    uint64_t src = sevfw_get64(call->buf + 0x08), dst = sevfw_get64(call->buf + 0x10);
    uint32_t len = sevfw_get32(call->buf + 0x18), asid = call->guest->asid;
    uint16_t status = SEVFW_SUCCESS;

    if (decrypt) {
        fw->outputs[fw->output_count++] = (struct sevfw_output){.spa = dst, .size = len};
    }
    for (uint32_t done = 0; done < len && status == SEVFW_SUCCESS; done += SEVFW_SCRATCH_SIZE) {
        uint32_t part = len - done < SEVFW_SCRATCH_SIZE ? len - done : SEVFW_SCRATCH_SIZE;
        bool copied;

        if (decrypt) {
            copied = fw->ops.read_guest(fw->opaque, asid, src + done, fw->scratch, part) &&
                     fw->ops.write(fw->opaque, dst + done, fw->scratch, part);
        } else {
            copied = fw->ops.read(fw->opaque, src + done, fw->scratch, part) &&
                     fw->ops.write_guest(fw->opaque, asid, dst + done, fw->scratch, part);
        }
        status = copied ? SEVFW_SUCCESS : SEVFW_INVALID_ADDRESS;
    }
    sevfw_wipe(fw->scratch, sizeof(fw->scratch));
    return status;
}

uint16_t sevfw_dbg_decrypt(struct sevfw *fw, struct sevfw_call *call)
{
    return dbg_copy(fw, call, true);
}

uint16_t sevfw_dbg_encrypt(struct sevfw *fw, struct sevfw_call *call)
{
    return dbg_copy(fw, call, false);
}

/* COPY's fields */
enum {
    COPY_LEN = 0x04,
    COPY_SRC = 0x08,
    COPY_DST = 0x10,
};

/* Overlapping ranges: no source says what becomes of them. */
uint16_t sevfw_copy_overlap(struct sevfw *fw, struct sevfw_call *call)
{
    uint64_t src = sevfw_strip_c_bit(fw, sevfw_get64(call->buf + COPY_SRC));
    uint64_t dst = sevfw_strip_c_bit(fw, sevfw_get64(call->buf + COPY_DST));
    uint32_t len = sevfw_get32(call->buf + COPY_LEN);

    return src < dst + len && dst < src + len ? SEVFW_INVALID_ADDRESS : SEVFW_SUCCESS;
}

/* The same bytes at another address, where the same key makes other ciphertext of them. */
uint16_t sevfw_copy(struct sevfw *fw, struct sevfw_call *call)
{
    uint64_t src = sevfw_get64(call->buf + COPY_SRC), dst = sevfw_get64(call->buf + COPY_DST);
    uint32_t len = sevfw_get32(call->buf + COPY_LEN), asid = call->guest->asid;
    uint16_t status = SEVFW_SUCCESS;

    for (uint32_t done = 0; done < len && status == SEVFW_SUCCESS; done += SEVFW_SCRATCH_SIZE) {
        uint32_t part = len - done < SEVFW_SCRATCH_SIZE ? len - done : SEVFW_SCRATCH_SIZE;

        if (!fw->ops.read_guest(fw->opaque, asid, src + done, fw->scratch, part) ||
            !fw->ops.write_guest(fw->opaque, asid, dst + done, fw->scratch, part)) {
            status = SEVFW_INVALID_ADDRESS;
        }
    }
    sevfw_wipe(fw->scratch, sizeof(fw->scratch));
    return status;
}
