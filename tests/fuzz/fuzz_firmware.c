/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Any sequence of commands and mailbox accesses, with any buffers: the firmware model
 * stays consistent with itself. Each step of the input is a byte that says what to do
 * and the bytes that it needs. A command starts as its row in the table has it, so that
 * long sequences get far, and then has some of its fields changed.
 */
#include <stdlib.h>

#include "internal.h"
#include "kds.h"
#include "mailbox.h"

#define RAM_SIZE 0x20000u
#define AT_COMMAND 0x1000u
#define AT_DATA 0x8000u /* four buffers of 16 KiB */
#define AT_CERT 0x2000u
#define AT_SESSION 0x3000u
#define CPUS 2u
#define MAX_ASID 6u
#define C_BIT (UINT64_C(1) << 47)

#define CHECK(condition)    \
    do {                    \
        if (!(condition)) { \
            abort();        \
        }                   \
    } while (0)

static uint8_t ram[RAM_SIZE];
static bool installed[MAX_ASID + 1];
static bool encryption;
static uint8_t nv[SEVFW_NV_SIZE];
static bool nv_there;
static uint64_t seed;

static bool in_ram(uint64_t spa, size_t len)
{
    spa &= ~C_BIT;
    return spa < RAM_SIZE && len <= RAM_SIZE - spa;
}

static bool op_read(void *opaque, uint64_t spa, void *buf, size_t len)
{
    (void)opaque;
    if (!in_ram(spa, len)) {
        return false;
    }
    memcpy(buf, ram + (spa & ~C_BIT), len);
    return true;
}

static bool op_write(void *opaque, uint64_t spa, const void *buf, size_t len)
{
    (void)opaque;
    if (!in_ram(spa, len)) {
        return false;
    }
    memcpy(ram + (spa & ~C_BIT), buf, len);
    return true;
}

static bool op_read_guest(void *opaque, uint32_t asid, uint64_t spa, void *buf, size_t len)
{
    CHECK(asid >= 1 && asid <= MAX_ASID && installed[asid]);
    return op_read(opaque, spa, buf, len);
}

static bool op_write_guest(void *opaque, uint32_t asid, uint64_t spa, const void *buf, size_t len)
{
    CHECK(asid >= 1 && asid <= MAX_ASID && installed[asid]);
    return op_write(opaque, spa, buf, len);
}

static void op_install_key(void *opaque, uint32_t asid, const uint8_t vek[SEVFW_VEK_SIZE])
{
    (void)opaque;
    (void)vek;
    CHECK(asid >= 1 && asid <= MAX_ASID && !installed[asid]);
    installed[asid] = true;
}

static void op_remove_key(void *opaque, uint32_t asid)
{
    (void)opaque;
    CHECK(asid >= 1 && asid <= MAX_ASID && installed[asid]);
    installed[asid] = false;
}

static bool op_enabled(void *opaque)
{
    (void)opaque;
    return encryption;
}

static bool op_nv_load(void *opaque, uint8_t to[SEVFW_NV_SIZE])
{
    (void)opaque;
    memcpy(to, nv, sizeof(nv));
    return nv_there;
}

static void op_nv_store(void *opaque, const uint8_t from[SEVFW_NV_SIZE])
{
    (void)opaque;
    memcpy(nv, from, sizeof(nv));
    nv_there = true;
}

static void op_random(void *opaque, void *buf, size_t len)
{
    (void)opaque;
    for (size_t i = 0; i < len; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        ((uint8_t *)buf)[i] = (uint8_t)(seed >> 56);
    }
}

static const struct sevfw_ops ops = {
    .read = op_read,
    .write = op_write,
    .read_guest = op_read_guest,
    .write_guest = op_write_guest,
    .install_key = op_install_key,
    .remove_key = op_remove_key,
    .memory_encryption_enabled = op_enabled,
    .nv_load = op_nv_load,
    .nv_store = op_nv_store,
    .random = op_random,
};

static const struct sevfw_config config = {
    .api_major = 1,
    .api_minor = 55,
    .build = 1,
    .cpus = CPUS,
    .max_sev_asid = MAX_ASID,
    .min_sev_asid = 2,
    .max_guests = 4,
    .c_bit = 47,
    .phys_bits = 36,
    .keep_pdh = true,
};

/* What must hold after every step. */
static void check_invariants(const struct sevfw *fw)
{
    static const uint8_t no_key[SEVFW_KEY_SIZE];
    uint32_t guests = 0, active = 0, keys = 0;

    for (uint32_t i = 0; i < config.max_guests; i++) {
        const struct sevfw_guest *guest = &fw->guests[i];

        if (guest->handle == 0) {
            CHECK(guest->asid == 0 && guest->policy == 0);
            continue;
        }
        guests++;
        CHECK(guest->state >= SEVFW_GUEST_LUPDATE && guest->state <= SEVFW_GUEST_SENT);
        if (guest->state == SEVFW_GUEST_SUPDATE || guest->state == SEVFW_GUEST_RUPDATE) {
            CHECK(guest->has_session);
        }
        if (guest->state == SEVFW_GUEST_RUNNING || guest->state == SEVFW_GUEST_SENT) {
            CHECK(!guest->has_session && memcmp(guest->tek, no_key, sizeof(no_key)) == 0 &&
                  memcmp(guest->tik, no_key, sizeof(no_key)) == 0);
        }
        if (guest->asid != 0) {
            active++;
            CHECK(fw->asids[guest->asid].handle == guest->handle && !fw->asids[guest->asid].dirty);
        }
        for (uint32_t other = 0; other < i; other++) {
            CHECK(fw->guests[other].handle != guest->handle);
        }
    }
    for (uint32_t asid = 0; asid <= MAX_ASID; asid++) {
        keys += installed[asid];
        CHECK(installed[asid] == sevfw_asid_active(fw, asid));
    }
    CHECK(guests == fw->guest_count && active == keys);
    CHECK((fw->state == SEVFW_PLATFORM_WORKING) == (guests > 0));
    for (size_t i = 0; i < sizeof(fw->scratch); i++) {
        CHECK(fw->scratch[i] == 0);
    }
}

struct input {
    const uint8_t *data;
    size_t left;
};

static uint8_t take(struct input *in)
{
    if (in->left == 0) {
        return 0;
    }
    in->left--;
    return *in->data++;
}

static const uint8_t ids[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E,
                              0x20, 0x21, 0x22, 0x23, 0x25, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x60, 0x61,
                              0x40, 0x00, 0x0F, 0x24, 0x41, 0x42, 0x43, 0x44, 0x50, 0x51, 0x52, 0x53, 0x70, 0x71};

/* A 32-bit field: mostly a number that means something. */
static uint32_t field(struct input *in, const struct sevfw *fw)
{
    static const uint32_t lengths[] = {2084,   128,      6252,   48,   52,   208,  64,
                                       0x8000, 0x100000, 0x4000, 0x24, 0x18, 3200, 4096};
    uint8_t how = take(in);
    uint32_t number = 0;

    switch (how % 8) {
    case 0:
        return 0;
    case 1:
        return how / 8;
    case 2:
        return lengths[how / 8 % (sizeof(lengths) / sizeof(lengths[0]))];
    case 3:
        return fw->guests[how / 8 % config.max_guests].handle;
    case 4:
        return AT_DATA + how / 8 * 0x400u;
    case 5:
        return how / 8 * 16u;
    case 6:
        return 1u << how / 8;
    default:
        for (int i = 0; i < 4; i++) {
            number = number << 8 | take(in);
        }
        return number;
    }
}

/* Where the i-th buffer of a command is; the owner's (or sender's) certificate and session have theirs. */
static uint64_t buffer_at(uint32_t id, size_t i)
{
    if (id == SEVFW_CMD_LAUNCH_START || id == SEVFW_CMD_RECEIVE_START) {
        return i == 0 ? AT_CERT : AT_SESSION;
    }
    return AT_DATA + i * 0x4000u;
}

/* The command's buffer as its row describes it, without a handle; `what` varies it. */
static const struct sevfw_command *good_buffers(uint32_t id, uint8_t what)
{
    const struct sevfw_command *row = sevfw_commands_find(id);
    uint8_t *buf = ram + AT_COMMAND;

    memset(buf, 0, SEVFW_BUFFER_MAX);
    for (size_t i = 0; row && i < SEVFW_BUFFERS; i++) {
        const struct sevfw_buffer *buffer = &row->buffers[i];

        if (buffer->kind != BUFFER_UNUSED && !(buffer->kind == BUFFER_IN_OPTIONAL && what % 2 == 0)) {
            sevfw_put32(buf + buffer->paddr, (uint32_t)buffer_at(id, i));
            sevfw_put32(buf + buffer->len, buffer->kind < BUFFER_BLOCKS ? buffer->size : 16u + what / 8 * 16u);
        }
    }
    return row;
}

/* The command as its row describes it, then as many fields changed as the input asks. */
static void one_command(struct input *in, struct sevfw *fw)
{
    const struct sevfw_command *row;
    uint8_t id = ids[take(in) % sizeof(ids)], what = take(in), changes = take(in);
    uint8_t *buf = ram + AT_COMMAND;
    uint64_t spa = AT_COMMAND;

    row = good_buffers(id, what);
    if (row && row->guest_states != 0) {
        sevfw_put32(buf + row->handle, fw->guests[fw->guest_count > 0 ? what % fw->guest_count : 0].handle);
    }
    if (id == SEVFW_CMD_ACTIVATE) {
        sevfw_put32(buf + 4, 2u + what / 8 % 5u);
    }
    for (int i = 0; i < changes % 4; i++) {
        size_t at = take(in) % (SEVFW_BUFFER_MAX / 4) * 4;

        sevfw_put32(buf + at, field(in, fw));
    }
    if (changes >= 250) {
        spa = (uint64_t)field(in, fw) << 32 | field(in, fw);
    } else if (changes & 4) {
        spa |= C_BIT;
    }
    (void)sevfw_command(fw, id, spa);
}

/* As the key server has them: made once, since RSA takes its time. */
static uint8_t amd_certs[SEVFW_AMD_CERTS_SIZE], signed_cek[SEVFW_CERT_SIZE];

/* This platform sends guests to itself: its certificates as SEND_START's row lays them out. */
static void target_acts(const struct sevfw *fw)
{
    uint8_t *chain = ram + AT_DATA + 0x4000u;

    memcpy(ram + AT_DATA, fw->id.pdh_cert, SEVFW_CERT_SIZE);
    memcpy(chain, fw->id.pek_cert, SEVFW_CERT_SIZE);
    memcpy(chain + SEVFW_CERT_SIZE, fw->id.oca_cert, SEVFW_CERT_SIZE);
    memcpy(chain + 2 * SEVFW_CERT_SIZE, signed_cek, SEVFW_CERT_SIZE);
    memcpy(ram + AT_DATA + 0x8000u, amd_certs, sizeof(amd_certs));
}

/* What SEND_START made goes to where RECEIVE_START's row has it. A packet lies where both commands want it. */
static void sender_acts(const struct sevfw *fw)
{
    memcpy(ram + AT_CERT, fw->id.pdh_cert, SEVFW_CERT_SIZE);
    memcpy(ram + AT_SESSION, ram + AT_DATA + 0xC000u, SEVFW_SESSION_SIZE);
}

/* The guest owner's part, so that sessions open and packets are genuine. */
static void owner_acts(struct input *in, struct sevfw *fw)
{
    static uint8_t d[SEVFW_EC_SIZE] = {[47] = 9};
    static const uint8_t tk[2 * SEVFW_KEY_SIZE] = {1}, zero[16];
    uint8_t z[SEVFW_EC_SIZE], kek[SEVFW_KEY_SIZE], kik[SEVFW_KEY_SIZE], policy[4] = {0};
    uint8_t *session = ram + AT_SESSION, *header = ram + AT_DATA;
    uint8_t what = take(in);

    switch (what % 6) {
    case 0: /* a session for the present PDH */
        if (fw->state == SEVFW_PLATFORM_UNINIT) {
            return;
        }
        CHECK(sevfw_ec_ecdh(d, sevfw_cert_public(fw->id.pdh_cert), z));
        sevfw_derive_kek_kik(z, sizeof(z), zero, kek, kik);
        memset(session, 0, SEVFW_SESSION_SIZE);
        sevfw_aes_ctr(kek, zero, sizeof(tk), session + 0x10, tk);
        sevfw_hmac(kik, sizeof(kik), session + 0x10, sizeof(tk), session + 0x40);
        sevfw_hmac(tk + SEVFW_KEY_SIZE, SEVFW_KEY_SIZE, policy, sizeof(policy), session + 0x60);
        sevfw_cert_make(ram + AT_CERT, 0, 0, SEVFW_USAGE_PDH, SEVFW_ALGO_ECDH_SHA256, d);
        break;
    case 1: { /* a secret for one of the guests, as LAUNCH_SECRET's row lays it out */
        const struct sevfw_guest *guest = &fw->guests[what / 4 % config.max_guests];
        uint32_t len = 16u + what / 8 * 16u;

        memset(header, 0, SEVFW_PACKET_HEADER_SIZE);
        sevfw_packet_mac(guest->tik, PACKET_SECRET, header, len, len, ram + AT_DATA + 0x8000u, guest->measure,
                         header + 20);
        break;
    }
    case 2:
        target_acts(fw);
        break;
    case 3:
        sender_acts(fw);
        break;
    default: /* an owner's certificates for PEK_CERT_IMPORT, as its row lays them out */
        if (fw->state == SEVFW_PLATFORM_UNINIT) {
            return;
        }
        sevfw_cert_make(ram + AT_DATA + 0x4000u, 0, 0, SEVFW_USAGE_OCA, SEVFW_ALGO_ECDSA_SHA256, d);
        sevfw_cert_sign(fw, ram + AT_DATA + 0x4000u, 0, SEVFW_USAGE_OCA, d);
        sevfw_cert_make(ram + AT_DATA, 1, 55, SEVFW_USAGE_PEK, SEVFW_ALGO_ECDSA_SHA256, fw->id.pek);
        sevfw_cert_sign(fw, ram + AT_DATA, what / 4 % 2, SEVFW_USAGE_OCA, d);
        break;
    }
}

static void bring_up(struct sevfw *fw)
{
    memset(ram + AT_COMMAND, 0, SEVFW_BUFFER_MAX);
    (void)sevfw_command(fw, SEVFW_CMD_INIT, AT_COMMAND);
    for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
        sevfw_wbinvd(fw, cpu);
    }
    (void)sevfw_command(fw, SEVFW_CMD_DF_FLUSH, 0);
}

/* A guest without a session, as far along as the bits of `how` say. */
static void launch(struct sevfw *fw, uint8_t how)
{
    uint8_t *buf = ram + AT_COMMAND;
    uint32_t handle;

    memset(buf, 0, SEVFW_BUFFER_MAX);
    if (sevfw_command(fw, SEVFW_CMD_LAUNCH_START, AT_COMMAND) != SEVFW_SUCCESS) {
        return;
    }
    handle = sevfw_get32(buf);
    if (how & 1) {
        sevfw_put32(buf + 4, 2u + how / 8 % 5u);
        (void)sevfw_command(fw, SEVFW_CMD_ACTIVATE, AT_COMMAND);
    }
    if (how & 2) {
        memset(buf, 0, SEVFW_BUFFER_MAX);
        sevfw_put32(buf, handle);
        sevfw_put32(buf + 0x08, AT_DATA);
        sevfw_put32(buf + 0x10, SEVFW_MEASURE_SIZE);
        CHECK(sevfw_command(fw, SEVFW_CMD_LAUNCH_MEASURE, AT_COMMAND) == SEVFW_SUCCESS);
    }
    if ((how & 6) == 6) {
        CHECK(sevfw_command(fw, SEVFW_CMD_LAUNCH_FINISH, AT_COMMAND) == SEVFW_SUCCESS);
    }
}

/* A guest that runs is sent to this very platform and received, as far as the bits of `how` say. */
static void migrate(struct sevfw *fw, uint8_t how)
{
    uint8_t *buf = ram + AT_COMMAND;
    uint32_t sent = 0, received;

    for (uint32_t i = 0; i < config.max_guests && sent == 0; i++) {
        sent = fw->guests[i].state == SEVFW_GUEST_RUNNING ? fw->guests[i].handle : 0;
    }
    if (sent == 0) {
        return;
    }
    target_acts(fw);
    (void)good_buffers(SEVFW_CMD_SEND_START, how);
    sevfw_put32(buf, sent);
    if (sevfw_command(fw, SEVFW_CMD_SEND_START, AT_COMMAND) != SEVFW_SUCCESS) {
        return; /* its policy, or another owner's certificates */
    }
    sender_acts(fw);
    (void)good_buffers(SEVFW_CMD_RECEIVE_START, how);
    if (!(how & 1) || sevfw_command(fw, SEVFW_CMD_RECEIVE_START, AT_COMMAND) != SEVFW_SUCCESS) {
        return;
    }
    received = sevfw_get32(buf);
    if (how & 2) {
        sevfw_put32(buf + 4, 2u + how / 8 % 5u);
        (void)sevfw_command(fw, SEVFW_CMD_ACTIVATE, AT_COMMAND);
    }
    (void)good_buffers(SEVFW_CMD_SEND_UPDATE_DATA, how);
    sevfw_put32(buf, sent);
    if ((how & 4) && sevfw_command(fw, SEVFW_CMD_SEND_UPDATE_DATA, AT_COMMAND) == SEVFW_SUCCESS) {
        (void)good_buffers(SEVFW_CMD_RECEIVE_UPDATE_DATA, how);
        sevfw_put32(buf, received);
        (void)sevfw_command(fw, SEVFW_CMD_RECEIVE_UPDATE_DATA, AT_COMMAND);
    }
}

static void one_access(struct input *in, struct sevfw *fw, struct mailbox *mb, uint64_t *now)
{
    static const uint32_t offsets[] = {0x10980, 0x109E0, 0x109E4, 0x109FC, 0x10690, 0x10694, 0};
    uint32_t offset = offsets[take(in) % 7];
    uint32_t value = field(in, fw);

    *now += take(in);
    mailbox_write(mb, offset, value, *now);
    (void)mailbox_read(mb, offset);
    (void)mailbox_run(mb, *now);
}

static void one_fault(struct input *in, struct mailbox *mb)
{
    char text[40];
    struct mailbox_fault fault;
    size_t len = take(in) % sizeof(text);

    for (size_t i = 0; i < len; i++) {
        text[i] = (char)take(in);
    }
    text[len] = '\0';
    if (mailbox_parse_fault(text, &fault)) {
        mailbox_set_fault(mb, &fault);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct mailbox_config mailbox_config = {
        .c2pmsg_base = 0x10900, .int_enable = 0x10690, .int_status = 0x10694, .latency_ns = 100};
    struct input in = {data, size};
    struct sevfw *fw;
    struct mailbox *mb;
    uint64_t now = 0;

    static uint8_t first_nv[SEVFW_NV_SIZE];
    static bool made;

    /* One identity for all runs: making keys is what takes time. */
    if (!made) {
        encryption = true;
        seed = 1;
        fw = sevfw_new(&config, &ops, NULL);
        CHECK(fw);
        bring_up(fw);
        memcpy(first_nv, nv, sizeof(nv));
        kds_ask(amd_certs);
        kds_ark(amd_certs + SEVFW_ROOT_CERT_SIZE);
        kds_cek(config.chip_id, config.api_major, config.api_minor, signed_cek);
        sevfw_free(fw);
        made = true;
    }
    memcpy(nv, first_nv, sizeof(nv));
    memset(ram, 0, sizeof(ram));
    memset(installed, 0, sizeof(installed));
    encryption = true;
    seed = 1;
    fw = sevfw_new(&config, &ops, NULL);
    CHECK(fw);
    mb = mailbox_new(&mailbox_config, fw);
    CHECK(mb);
    for (int steps = 0; in.left > 0 && steps < 64; steps++) {
        switch (take(&in) % 8) {
        case 0:
        case 1:
        case 2:
            one_command(&in, fw);
            break;
        case 3:
            bring_up(fw);
            launch(fw, take(&in));
            break;
        case 4:
            owner_acts(&in, fw);
            break;
        case 5:
            one_access(&in, fw, mb, &now);
            break;
        case 6:
            ram[(AT_DATA + take(&in) * 64u + take(&in)) % RAM_SIZE] = take(&in);
            sevfw_wbinvd(fw, take(&in));
            break;
        default:
            switch (take(&in) % 16) {
            case 0:
                sevfw_reset(fw);
                mailbox_reset(mb);
                break;
            case 1:
                encryption = !encryption;
                break;
            case 2:
            case 3:
                migrate(fw, take(&in));
                break;
            default:
                one_fault(&in, mb);
                break;
            }
            break;
        }
        check_invariants(fw);
    }
    mailbox_free(mb);
    sevfw_free(fw);
    return 0;
}
