/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The commands, one row each: SEV API reference sections 1, 3, 4 and 5. Offsets
 * are those of section 5. A command that has no row is INVALID_COMMAND: everything
 * of SEV-SNP.
 */
#include "internal.h"

#define IN_UNINIT (1u << SEVFW_PLATFORM_UNINIT)
#define IN_INIT (1u << SEVFW_PLATFORM_INIT)
#define IN_WORKING (1u << SEVFW_PLATFORM_WORKING)
#define UP (IN_INIT | IN_WORKING)
#define ANY_PLATFORM (IN_UNINIT | UP)

#define GUEST(state) (1u << SEVFW_GUEST_##state)
#define ANY_GUEST 0x7Fu

/* Handle, reserved word, address, in/out length. */
#define OUT_AT_8(bytes) {{.kind = BUFFER_OUT, .paddr = 0x08, .len = 0x10, .size = (bytes)}}

/* A packet out of the guest's memory, and into it. */
#define SEND_PACKET \
    .size = 0x34, .out = {0x10, 0x24}, .platform_states = UP, .guest_states = GUEST(SUPDATE), .need = NEED_ACTIVE, \
    .reserved = {{0x04, 4}, {0x14, 4}, {0x24, 4}}, \
    .buffers = {{.kind = BUFFER_OUT, .paddr = 0x08, .len = 0x10, .size = SEVFW_PACKET_HEADER_SIZE}, \
                {.kind = BUFFER_GUEST, .paddr = 0x18, .len = 0x20, .alignment = 16, .size = SEVFW_SEND_MAX}, \
                {.kind = BUFFER_OUT, .paddr = 0x28, .len = 0x30, .holds = 0x20, .size = SEVFW_SEND_MAX}}
#define RECEIVE_PACKET \
    .size = 0x34, .platform_states = UP, .guest_states = GUEST(RUPDATE), .need = NEED_ACTIVE, \
    .reserved = {{0x04, 4}, {0x14, 4}, {0x24, 4}}, \
    .buffers = {{.kind = BUFFER_IN, .paddr = 0x08, .len = 0x10, .size = SEVFW_PACKET_HEADER_SIZE}, \
                {.kind = BUFFER_GUEST, .paddr = 0x18, .len = 0x20, .alignment = 16, .size = SEVFW_SEND_MAX}, \
                {.kind = BUFFER_BLOCKS, .paddr = 0x28, .len = 0x30, .size = SEVFW_SEND_MAX}}

static const struct sevfw_command commands[] = {
    {.id = SEVFW_CMD_INIT, .size = 0x14, .platform_states = IN_UNINIT,
     .reserved = {{0x04, 4}},
     .check = {[CHECK_PARAM] = sevfw_init_param, [CHECK_ADDRESS] = sevfw_init_address}, .run = sevfw_init},
    {.id = SEVFW_CMD_INIT_EX, .size = 0x24, .platform_states = IN_UNINIT,
     .reserved = {{0x14, 4}},
     .buffers = {{.kind = BUFFER_IN, .paddr = 0x18, .len = 0x20, .size = SEVFW_NV_SIZE}},
     .check = {[CHECK_PARAM] = sevfw_init_ex_param, [CHECK_ADDRESS] = sevfw_init_ex_address}, .run = sevfw_init_ex},
    {.id = SEVFW_CMD_SHUTDOWN, .platform_states = ANY_PLATFORM, .run = sevfw_shutdown},
    {.id = SEVFW_CMD_PLATFORM_RESET, .platform_states = IN_UNINIT, .run = sevfw_platform_reset},
    {.id = SEVFW_CMD_PLATFORM_STATUS, .size = 0x0C, .out = {0x00, 0x0C}, .platform_states = ANY_PLATFORM,
     .run = sevfw_platform_status},
    {.id = SEVFW_CMD_PEK_GEN, .platform_states = IN_INIT, .run = sevfw_pek_gen},
    {.id = SEVFW_CMD_PEK_CSR, .size = 0x0C, .out = {0x08, 4}, .platform_states = UP,
     .buffers = {{.kind = BUFFER_OUT, .paddr = 0x00, .len = 0x08, .size = SEVFW_CERT_SIZE}}, .run = sevfw_pek_csr},
    {.id = SEVFW_CMD_PEK_CERT_IMPORT, .size = 0x1C, .platform_states = IN_INIT,
     .reserved = {{0x0C, 4}},
     .buffers = {{.kind = BUFFER_IN, .paddr = 0x00, .len = 0x08, .size = SEVFW_CERT_SIZE},
                 {.kind = BUFFER_IN, .paddr = 0x10, .len = 0x18, .size = SEVFW_CERT_SIZE}},
     .check = {[CHECK_POLICY] = sevfw_pek_cert_import_owner}, .run = sevfw_pek_cert_import},
    {.id = SEVFW_CMD_PDH_CERT_EXPORT, .size = 0x1C, .out = {0x08, 0x14}, .platform_states = UP,
     .reserved = {{0x0C, 4}},
     .buffers = {{.kind = BUFFER_OUT, .paddr = 0x00, .len = 0x08, .size = SEVFW_CERT_SIZE},
                 {.kind = BUFFER_OUT, .paddr = 0x10, .len = 0x18, .size = SEVFW_CHAIN_SIZE}},
     .run = sevfw_pdh_cert_export},
    {.id = SEVFW_CMD_PDH_GEN, .platform_states = UP, .run = sevfw_pdh_gen},
    {.id = SEVFW_CMD_DF_FLUSH, .platform_states = UP, .run = sevfw_df_flush},
    {.id = SEVFW_CMD_DOWNLOAD_FIRMWARE, .size = 0x0C, .platform_states = IN_UNINIT,
     .buffers = {{.kind = BUFFER_BLOCKS, .paddr = 0x00, .len = 0x08, .alignment = 32, .size = SEVFW_IMAGE_MAX}},
     .run = sevfw_download_firmware},
    {.id = SEVFW_CMD_GET_ID, .size = 0x0C, .out = {0x08, 4}, .platform_states = ANY_PLATFORM,
     .buffers = {{.kind = BUFFER_OUT, .paddr = 0x00, .len = 0x08, .alignment = 8, .size = SEVFW_CHIP_ID_SIZE}},
     .run = sevfw_get_id},
    {.id = SEVFW_CMD_NOP, .platform_states = ANY_PLATFORM, .run = sevfw_nop},

    {.id = SEVFW_CMD_DECOMMISSION, .size = 0x04, .platform_states = UP, .guest_states = ANY_GUEST,
     .need = NEED_INACTIVE, .run = sevfw_decommission},
    {.id = SEVFW_CMD_ACTIVATE, .size = 0x08, .platform_states = UP, .guest_states = ANY_GUEST, .need = NEED_INACTIVE,
     .check = {[CHECK_ASID] = sevfw_activate_asid}, .run = sevfw_activate},
    {.id = SEVFW_CMD_ACTIVATE_EX, .size = 0x18, .platform_states = UP, .guest_states = ANY_GUEST, .handle = 0x04,
     .need = NEED_INACTIVE,
     .check = {[CHECK_PARAM] = sevfw_activate_ex_param, [CHECK_ASID] = sevfw_activate_ex_asid,
               [CHECK_ADDRESS] = sevfw_activate_ex_address},
     .run = sevfw_activate_ex},
    {.id = SEVFW_CMD_DEACTIVATE, .size = 0x04, .platform_states = UP, .guest_states = ANY_GUEST, .need = NEED_ACTIVE,
     .run = sevfw_deactivate},
    {.id = SEVFW_CMD_GUEST_STATUS, .size = 0x0D, .out = {0x04, 0x09}, .platform_states = UP, .guest_states = ANY_GUEST,
     .run = sevfw_guest_status},
    {.id = SEVFW_CMD_COPY, .size = 0x18, .platform_states = UP, .guest_states = GUEST(RUNNING), .need = NEED_ACTIVE,
     .buffers = {{.kind = BUFFER_GUEST, .paddr = 0x08, .len = 0x04, .alignment = 16},
                 {.kind = BUFFER_GUEST, .paddr = 0x10, .len = 0x04, .alignment = 16}},
     .check = {[CHECK_ADDRESS] = sevfw_copy_overlap}, .run = sevfw_copy},

    /* Names a guest only to share its key: no row can say so, the handle step does. */
    {.id = SEVFW_CMD_LAUNCH_START, .size = 0x24, .out = {0x00, 4}, .platform_states = UP,
     .reserved = {{0x14, 4}},
     .buffers = {{.kind = BUFFER_IN_OPTIONAL, .paddr = 0x08, .len = 0x10, .size = SEVFW_CERT_SIZE},
                 {.kind = BUFFER_IN_OPTIONAL, .paddr = 0x18, .len = 0x20, .size = SEVFW_SESSION_SIZE}},
     .check = {[CHECK_HANDLE] = sevfw_start_handle, [CHECK_PARAM] = sevfw_start_param,
               [CHECK_LENGTH] = sevfw_launch_start_length, [CHECK_POLICY] = sevfw_start_policy},
     .run = sevfw_launch_start},
    {.id = SEVFW_CMD_LAUNCH_UPDATE_DATA, .size = 0x14, .platform_states = UP, .guest_states = GUEST(LUPDATE),
     .need = NEED_ACTIVE, .reserved = {{0x04, 4}},
     .buffers = {{.kind = BUFFER_BLOCKS, .paddr = 0x08, .len = 0x10, .alignment = 16}},
     .run = sevfw_launch_update_data},
    {.id = SEVFW_CMD_LAUNCH_UPDATE_VMSA, .size = 0x14, .platform_states = UP, .guest_states = GUEST(LUPDATE),
     .need = NEED_ACTIVE, .reserved = {{0x04, 4}},
     .check = {[CHECK_POLICY] = sevfw_vmsa_policy}, .run = sevfw_unsupported},
    {.id = SEVFW_CMD_LAUNCH_MEASURE, .size = 0x14, .out = {0x10, 4}, .platform_states = UP,
     .guest_states = GUEST(LUPDATE), .reserved = {{0x04, 4}}, .buffers = OUT_AT_8(SEVFW_MEASURE_SIZE),
     .run = sevfw_launch_measure},
    {.id = SEVFW_CMD_LAUNCH_SECRET, .size = 0x34, .platform_states = UP, .guest_states = GUEST(LSECRET),
     .need = NEED_ACTIVE, .reserved = {{0x04, 4}, {0x14, 4}, {0x24, 4}},
     .buffers = {{.kind = BUFFER_IN, .paddr = 0x08, .len = 0x10, .size = SEVFW_PACKET_HEADER_SIZE},
                 {.kind = BUFFER_GUEST, .paddr = 0x18, .len = 0x20, .alignment = 16, .size = SEVFW_SECRET_MAX},
                 {.kind = BUFFER_BLOCKS, .paddr = 0x28, .len = 0x30, .size = SEVFW_SECRET_MAX}},
     .check = {[CHECK_LENGTH] = sevfw_packet_length}, .run = sevfw_launch_secret},
    {.id = SEVFW_CMD_LAUNCH_FINISH, .size = 0x04, .platform_states = UP, .guest_states = GUEST(LSECRET),
     .run = sevfw_launch_finish},
    {.id = SEVFW_CMD_ATTESTATION, .size = 0x24, .out = {0x20, 4}, .platform_states = UP,
     .guest_states = GUEST(RUNNING), .reserved = {{0x04, 4}},
     .buffers = {{.kind = BUFFER_OUT, .paddr = 0x08, .len = 0x20, .size = SEVFW_REPORT_SIZE}},
     .check = {[CHECK_GUEST_STATE] = sevfw_attestation_state}, .run = sevfw_attestation},

    {.id = SEVFW_CMD_SEND_START, .size = 0x44, .out = {0x04, 0x40}, .platform_states = UP,
     .guest_states = GUEST(RUNNING), .policy_forbids = SEVFW_POLICY_NOSEND,
     .reserved = {{0x14, 4}, {0x24, 4}, {0x34, 4}},
     .buffers = {{.kind = BUFFER_IN, .paddr = 0x08, .len = 0x10, .size = SEVFW_CERT_SIZE},
                 {.kind = BUFFER_IN, .paddr = 0x18, .len = 0x20, .size = SEVFW_CHAIN_SIZE},
                 {.kind = BUFFER_IN, .paddr = 0x28, .len = 0x30, .size = SEVFW_AMD_CERTS_SIZE},
                 {.kind = BUFFER_OUT_EXACT, .paddr = 0x38, .len = 0x40, .size = SEVFW_SESSION_SIZE}},
     .run = sevfw_send_start},
    {.id = SEVFW_CMD_SEND_UPDATE_DATA, SEND_PACKET, .run = sevfw_send_update_data},
    {.id = SEVFW_CMD_SEND_UPDATE_VMSA, SEND_PACKET, .check = {[CHECK_POLICY] = sevfw_vmsa_policy},
     .run = sevfw_unsupported},
    {.id = SEVFW_CMD_SEND_FINISH, .size = 0x04, .platform_states = UP, .guest_states = GUEST(SUPDATE),
     .run = sevfw_send_finish},
    {.id = SEVFW_CMD_SEND_CANCEL, .size = 0x04, .platform_states = UP, .guest_states = GUEST(SUPDATE),
     .run = sevfw_send_cancel},
    {.id = SEVFW_CMD_RECEIVE_START, .size = 0x24, .out = {0x00, 4}, .platform_states = UP,
     .reserved = {{0x14, 4}},
     .buffers = {{.kind = BUFFER_IN, .paddr = 0x08, .len = 0x10, .size = SEVFW_CERT_SIZE},
                 {.kind = BUFFER_IN, .paddr = 0x18, .len = 0x20, .size = SEVFW_SESSION_SIZE}},
     .check = {[CHECK_HANDLE] = sevfw_start_handle, [CHECK_PARAM] = sevfw_start_param,
               [CHECK_POLICY] = sevfw_start_policy},
     .run = sevfw_receive_start},
    {.id = SEVFW_CMD_RECEIVE_UPDATE_DATA, RECEIVE_PACKET, .check = {[CHECK_LENGTH] = sevfw_packet_length},
     .run = sevfw_receive_update_data},
    {.id = SEVFW_CMD_RECEIVE_UPDATE_VMSA, RECEIVE_PACKET,
     .check = {[CHECK_LENGTH] = sevfw_packet_length, [CHECK_POLICY] = sevfw_vmsa_policy}, .run = sevfw_unsupported},
    {.id = SEVFW_CMD_RECEIVE_FINISH, .size = 0x04, .platform_states = UP, .guest_states = GUEST(RUPDATE),
     .run = sevfw_receive_finish},

    {.id = SEVFW_CMD_DBG_DECRYPT, .size = 0x1C, .platform_states = UP, .guest_states = GUEST(RUNNING),
     .need = NEED_ACTIVE, .policy_forbids = SEVFW_POLICY_NODBG, .reserved = {{0x04, 4}},
     .buffers = {{.kind = BUFFER_GUEST, .paddr = 0x08, .len = 0x18, .alignment = 16},
                 {.kind = BUFFER_BLOCKS, .paddr = 0x10, .len = 0x18, .alignment = 16}},
     .run = sevfw_dbg_decrypt},
    {.id = SEVFW_CMD_DBG_ENCRYPT, .size = 0x1C, .platform_states = UP, .guest_states = GUEST(RUNNING),
     .need = NEED_ACTIVE, .policy_forbids = SEVFW_POLICY_NODBG, .reserved = {{0x04, 4}},
     .buffers = {{.kind = BUFFER_BLOCKS, .paddr = 0x08, .len = 0x18, .alignment = 16},
                 {.kind = BUFFER_GUEST, .paddr = 0x10, .len = 0x18, .alignment = 16}},
     .run = sevfw_dbg_encrypt},

    /* Layouts are known, what is in a swapped page and how the rings go on is not: refused in words. */
    {.id = SEVFW_CMD_SWAP_OUT, .size = 0x28, .platform_states = UP, .guest_states = GUEST(RUNNING),
     .run = sevfw_unsupported},
    {.id = SEVFW_CMD_SWAP_IN, .size = 0x20, .platform_states = UP, .guest_states = GUEST(RUNNING),
     .run = sevfw_unsupported},
    {.id = SEVFW_CMD_RING_BUFFER, .size = 0x28, .platform_states = UP, .run = sevfw_unsupported},
};

const struct sevfw_command *sevfw_commands_find(uint32_t id)
{
    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (commands[i].id == id) {
            return &commands[i];
        }
    }
    return NULL;
}
