/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The platform's life: SEV API reference, section 5 "Platform commands". */
#include "internal.h"

#define INIT_FLAG_ES (UINT32_C(1) << 0)
#define TMR_LEN UINT32_C(0x100000)     /* psp-mailbox section 6 */
#define TMR_LEN_SNP UINT32_C(0x200000)

/* The fields that INIT and INIT_EX share, at different offsets. */
struct init_args {
    uint32_t flags, tmr_len;
    uint64_t tmr_paddr;
};

static struct init_args args_of_init(const struct sevfw_call *call)
{
    return (struct init_args){.flags = sevfw_get32(call->buf + 0x00),
                              .tmr_paddr = sevfw_get64(call->buf + 0x08),
                              .tmr_len = sevfw_get32(call->buf + 0x10)};
}

static struct init_args args_of_init_ex(const struct sevfw_call *call)
{
    return (struct init_args){.flags = sevfw_get32(call->buf + 0x04),
                              .tmr_paddr = sevfw_get64(call->buf + 0x08),
                              .tmr_len = sevfw_get32(call->buf + 0x10)};
}

static uint16_t init_param(struct init_args args)
{
    if (args.flags & ~INIT_FLAG_ES) {
        return SEVFW_INVALID_PARAM;
    }
    if ((args.flags & INIT_FLAG_ES) && args.tmr_len != TMR_LEN && args.tmr_len != TMR_LEN_SNP) {
        return SEVFW_INVALID_LENGTH;
    }
    return SEVFW_SUCCESS;
}

static uint16_t init_address(struct sevfw *fw, struct init_args args)
{
    if (!(args.flags & INIT_FLAG_ES)) {
        return SEVFW_SUCCESS; /* no ES: the TMR fields are ignored */
    }
    /* The one address that never carries the C-bit (psp-mailbox section 4). */
    if (args.tmr_paddr % args.tmr_len != 0 || sevfw_strip_c_bit(fw, args.tmr_paddr) != args.tmr_paddr ||
        !sevfw_range_ok(fw, 0, args.tmr_paddr, args.tmr_len)) {
        return SEVFW_INVALID_ADDRESS;
    }
    return SEVFW_SUCCESS;
}

/* Every ASID needs WBINVD on all cores, then DF_FLUSH, before its first ACTIVATE. */
static void dirty_all_asids(struct sevfw *fw)
{
    for (uint32_t asid = 1; asid <= fw->config.max_sev_asid; asid++) {
        fw->asids[asid] = (struct sevfw_asid){.handle = 0, .dirty = true};
    }
    sevfw_forget_wbinvd(fw);
}

static uint16_t init_prerequisites(struct sevfw *fw)
{
    if (!fw->ops.memory_encryption_enabled(fw->opaque)) {
        return SEVFW_HWERROR_PLATFORM;
    }
    /* INIT has been seen to answer WBINVD_REQUIRED ([HW], AMDSEV #202), when is not
     * known. The model's reading: caches still hold lines of guests whose keys
     * SHUTDOWN removed. */
    if (fw->keys_torn_down && !sevfw_all_wbinvd(fw)) {
        return SEVFW_WBINVD_REQUIRED;
    }
    return SEVFW_SUCCESS;
}

static uint16_t init(struct sevfw *fw, struct init_args args)
{
    enum sevfw_nv_result nv = sevfw_nv_load(fw);
    const uint8_t no_pdh[SEVFW_EC_SIZE] = {0};

    if (nv == NV_INVALID && !fw->nv_rejected) {
        fw->nv_rejected = true; /* reported once; the retry starts afresh */
        return SEVFW_SECURE_DATA_INVALID;
    }
    fw->nv_rejected = false;
    sevfw_identity_load_cek(fw);
    if (nv != NV_FOUND) {
        sevfw_identity_new_owner(fw);
    }
    if (nv != NV_FOUND || !fw->config.keep_pdh || memcmp(fw->id.pdh, no_pdh, sizeof(no_pdh)) == 0) {
        sevfw_identity_new_pdh(fw);
    }
    sevfw_nv_store(fw);
    dirty_all_asids(fw);
    fw->keys_torn_down = false;
    fw->es = (args.flags & INIT_FLAG_ES) != 0;
    fw->state = SEVFW_PLATFORM_INIT;
    return SEVFW_SUCCESS;
}

uint16_t sevfw_init_param(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    return init_param(args_of_init(call));
}

uint16_t sevfw_init_address(struct sevfw *fw, struct sevfw_call *call)
{
    return init_address(fw, args_of_init(call));
}

uint16_t sevfw_init(struct sevfw *fw, struct sevfw_call *call)
{
    uint16_t status = init_prerequisites(fw);

    if (status != SEVFW_SUCCESS) {
        return status;
    }
    fw->nv_in_memory = false;
    return init(fw, args_of_init(call));
}

uint16_t sevfw_init_ex_param(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    if (sevfw_get32(call->buf + 0x00) != call->command->size) {
        return SEVFW_INVALID_LENGTH;
    }
    return init_param(args_of_init_ex(call));
}

uint16_t sevfw_init_ex_address(struct sevfw *fw, struct sevfw_call *call)
{
    if (sevfw_get64(call->buf + 0x18) % 0x1000 != 0) {
        return SEVFW_INVALID_ADDRESS;
    }
    return init_address(fw, args_of_init_ex(call));
}

uint16_t sevfw_init_ex(struct sevfw *fw, struct sevfw_call *call)
{
    uint16_t status = init_prerequisites(fw);

    if (status != SEVFW_SUCCESS) {
        return status;
    }
    fw->nv_in_memory = true;
    fw->nv_spa = sevfw_get64(call->buf + 0x18);
    return init(fw, args_of_init_ex(call));
}

uint16_t sevfw_shutdown(struct sevfw *fw, struct sevfw_call *call)
{
    (void)call;
    if (sevfw_guest_destroy_all(fw)) {
        fw->keys_torn_down = true;
    }
    sevfw_wipe(&fw->id, sizeof(fw->id));
    fw->es = false;
    fw->state = SEVFW_PLATFORM_UNINIT;
    return SEVFW_SUCCESS;
}

uint16_t sevfw_platform_reset(struct sevfw *fw, struct sevfw_call *call)
{
    (void)call;
    /* Also in the buffer of the last INIT_EX, if there was one: Linux saves that
     * buffer to its file after this command (section 8, [V1]). */
    sevfw_nv_erase(fw);
    fw->nv_rejected = false;
    return SEVFW_SUCCESS;
}

uint16_t sevfw_platform_status(struct sevfw *fw, struct sevfw_call *call)
{
    memset(call->buf, 0, call->command->size);
    call->buf[0x00] = fw->running.api_major;
    call->buf[0x01] = fw->running.api_minor;
    call->buf[0x02] = (uint8_t)fw->state;
    call->buf[0x03] = fw->id.owner;
    call->buf[0x04] = fw->es ? 1 : 0;
    call->buf[0x07] = fw->running.build;
    sevfw_put32(call->buf + 0x08, fw->guest_count);
    return SEVFW_SUCCESS;
}

uint16_t sevfw_df_flush(struct sevfw *fw, struct sevfw_call *call)
{
    (void)call;
    if (!sevfw_all_wbinvd(fw)) {
        return SEVFW_WBINVD_REQUIRED;
    }
    for (uint32_t asid = 1; asid <= fw->config.max_sev_asid; asid++) {
        fw->asids[asid].dirty = false;
    }
    return SEVFW_SUCCESS;
}

uint16_t sevfw_get_id(struct sevfw *fw, struct sevfw_call *call)
{
    return sevfw_output(fw, sevfw_get64(call->buf + 0x00), fw->config.chip_id, SEVFW_CHIP_ID_SIZE);
}

uint16_t sevfw_nop(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    (void)call;
    return SEVFW_SUCCESS;
}

uint16_t sevfw_unsupported(struct sevfw *fw, struct sevfw_call *call)
{
    (void)fw;
    (void)call;
    return SEVFW_UNSUPPORTED;
}
