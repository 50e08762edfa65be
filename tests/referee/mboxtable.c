/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What the SEV API reference says of each command: ids and sizes from section 1,
 * states from 3 and 4, layouts from 5, lengths from 6. Written from that text, not
 * from the firmware model, whose own table is judged by this one.
 */
#include "mbox.h"

#define RUNS (UP | WORKING)
#define ROW(command, bytes, states) .name = #command, .id = (command), .size = (bytes), .platform = (states)
#define CERT(address_at, length_at) {.kind = INPUT, .address = (address_at), .length = (length_at), .size = CERT_SIZE}
#define OUT(address_at, length_at, bytes) \
    {.kind = OUTPUT, .address = (address_at), .length = (length_at), .size = (bytes)}
#define PACKET(header, data, states)                                                           \
    .guest = (states), .active = true, .reserved = {0x04, 0x14, 0x24},                         \
    .fields = {{.kind = (header), .address = 0x08, .length = 0x10, .size = 52},                \
               {.kind = BLOCKS, .address = 0x18, .length = 0x20, .size = 64, .alignment = 16}, \
               {.kind = (data), .address = 0x28, .length = 0x30, .size = 64}}
#define MEMORY(address_at, length_at) \
    {.kind = BLOCKS, .address = (address_at), .length = (length_at), .size = 64, .alignment = 16}

const struct command commands[] = {
    {ROW(INIT, 0x14, UNINIT), .reserved = {0x04}},
    {ROW(SHUTDOWN, 0, ALWAYS)},
    {ROW(PLATFORM_RESET, 0, UNINIT)},
    {ROW(PLATFORM_STATUS, 0x0c, ALWAYS)},
    {ROW(PEK_GEN, 0, UP)},
    {ROW(PEK_CSR, 0x0c, RUNS), .fields = {OUT(0x00, 0x08, CERT_SIZE)}},
    {ROW(PEK_CERT_IMPORT, 0x1c, UP), .reserved = {0x0c}, .fields = {CERT(0x00, 0x08), CERT(0x10, 0x18)}},
    {ROW(PDH_CERT_EXPORT, 0x1c, RUNS), .reserved = {0x0c},
     .fields = {OUT(0x00, 0x08, CERT_SIZE), OUT(0x10, 0x18, 3 * CERT_SIZE)}},
    {ROW(PDH_GEN, 0, RUNS)},
    {ROW(DF_FLUSH, 0, RUNS)},
    {ROW(DOWNLOAD_FIRMWARE, 0x0c, UNINIT),
     .fields = {{.kind = BLOCKS, .address = 0x00, .length = 0x08, .size = 4096, .alignment = 32}}},
    {ROW(GET_ID, 0x0c, ALWAYS),
     .fields = {{.kind = OUTPUT, .address = 0x00, .length = 0x08, .size = 64, .alignment = 8}}},
    {ROW(INIT_EX, 0x24, UNINIT), .reserved = {0x14}, .words = {{0x00, 0x24}},
     .fields = {{.kind = INPUT, .address = 0x18, .length = 0x20, .size = 0x8000, .alignment = PAGE}}},
    {ROW(NOP, 0, ALWAYS)},
    {ROW(RING_BUFFER, 0x28, RUNS)},

    {ROW(DECOMMISSION, 0x04, RUNS), .guest = ANY_GUEST},
    {ROW(ACTIVATE, 0x08, RUNS), .guest = ANY_GUEST, .words = {{0x04, 1}}},
    {ROW(DEACTIVATE, 0x04, RUNS), .guest = ANY_GUEST, .active = true},
    {ROW(GUEST_STATUS, 0x0d, RUNS), .guest = ANY_GUEST},
    {ROW(ACTIVATE_EX, 0x18, RUNS), .guest = ANY_GUEST, .handle = 0x04, .words = {{0x00, 0x18}, {0x08, 1}, {0x0c, 1}},
     .fields = {{.kind = OPTIONAL, .address = 0x10, .length = 0x0c, .size = 1}}},
    {ROW(COPY, 0x18, RUNS), .guest = IN(RUNNING), .active = true, .fields = {MEMORY(0x08, 0x04), MEMORY(0x10, 0x04)}},

    /* Its handle is optional, so are its certificate and session: each tried on its own. */
    {ROW(LAUNCH_START, 0x24, RUNS), .reserved = {0x14}, .words = {{0x04, SEV_POLICY_NODBG}},
     .fields = {{.kind = OPTIONAL, .address = 0x08, .length = 0x10, .size = CERT_SIZE},
                {.kind = OPTIONAL, .address = 0x18, .length = 0x20, .size = 128}}},
    {ROW(LAUNCH_UPDATE_DATA, 0x14, RUNS), .guest = IN(LUPDATE), .active = true, .reserved = {0x04},
     .fields = {MEMORY(0x08, 0x10)}},
    /* Without SEV-ES no address is good or bad. */
    {ROW(LAUNCH_UPDATE_VMSA, 0x14, RUNS), .guest = IN(LUPDATE), .active = true, .reserved = {0x04}},
    {ROW(LAUNCH_MEASURE, 0x14, RUNS), .guest = IN(LUPDATE), .reserved = {0x04}, .fields = {OUT(0x08, 0x10, 48)}},
    {ROW(LAUNCH_SECRET, 0x34, RUNS), .guest = IN(LSECRET), .active = true, .reserved = {0x04, 0x14, 0x24},
     .fields = {{.kind = INPUT, .address = 0x08, .length = 0x10, .size = 52},
                {.kind = BLOCKS, .address = 0x18, .length = 0x20, .size = 64, .alignment = 16, .limit = 0x4000},
                {.kind = BLOCKS, .address = 0x28, .length = 0x30, .size = 64, .limit = 0x4000}}},
    {ROW(LAUNCH_FINISH, 0x04, RUNS), .guest = IN(LSECRET)},
    {ROW(ATTESTATION, 0x24, RUNS), .guest = IN(RUNNING), .reserved = {0x04}, .fields = {OUT(0x08, 0x20, 208)}},
    {ROW(DBG_DECRYPT, 0x1c, RUNS), .guest = IN(RUNNING), .active = true, .reserved = {0x04},
     .fields = {MEMORY(0x08, 0x18), MEMORY(0x10, 0x18)}},
    {ROW(DBG_ENCRYPT, 0x1c, RUNS), .guest = IN(RUNNING), .active = true, .reserved = {0x04},
     .fields = {MEMORY(0x08, 0x18), MEMORY(0x10, 0x18)}},

    {ROW(SEND_START, 0x44, RUNS), .guest = IN(RUNNING), .reserved = {0x14, 0x24, 0x34},
     .fields = {CERT(0x08, 0x10),
                {.kind = INPUT, .address = 0x18, .length = 0x20, .size = 3 * CERT_SIZE},
                {.kind = INPUT, .address = 0x28, .length = 0x30, .size = 2 * 1600},
                OUT(0x38, 0x40, 128)}},
    {ROW(SEND_UPDATE_DATA, 0x34, RUNS), PACKET(OUTPUT, OUTPUT, IN(SUPDATE))},
    {ROW(SEND_UPDATE_VMSA, 0x34, RUNS), PACKET(OUTPUT, OUTPUT, IN(SUPDATE))},
    {ROW(SEND_FINISH, 0x04, RUNS), .guest = IN(SUPDATE)},
    {ROW(SEND_CANCEL, 0x04, RUNS), .guest = IN(SUPDATE)},
    {ROW(RECEIVE_START, 0x24, RUNS), .reserved = {0x14},
     .fields = {CERT(0x08, 0x10), {.kind = INPUT, .address = 0x18, .length = 0x20, .size = 128}}},
    {ROW(RECEIVE_UPDATE_DATA, 0x34, RUNS), PACKET(INPUT, BLOCKS, IN(RUPDATE))},
    {ROW(RECEIVE_UPDATE_VMSA, 0x34, RUNS), PACKET(INPUT, BLOCKS, IN(RUPDATE))},
    {ROW(RECEIVE_FINISH, 0x04, RUNS), .guest = IN(RUPDATE)},
    {ROW(SWAP_OUT, 0x28, RUNS), .guest = IN(RUNNING)},
    {ROW(SWAP_IN, 0x20, RUNS), .guest = IN(RUNNING)},
};

const size_t command_count = sizeof(commands) / sizeof(commands[0]);
