/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Any sequence of commands and mailbox accesses, with any buffers: the firmware model
 * stays consistent with itself. Each step of the input is a byte that says what to do
 * and the bytes that it needs; handles, ASIDs and addresses are drawn from few values,
 * so that long sequences make sense often.
 */
#include <stdlib.h>

#include "internal.h"
#include "kds.h"
#include "mailbox.h"

#define RAM_SIZE 0x20000u
#define AT_COMMAND 0x1000u
#define AT_DATA 0x8000u
#define CPUS 2u
#define MAX_ASID 6u
#define C_BIT (UINT64_C(1) << 47)

#define CHECK(condition) \
    do { \
        if (!(condition)) { \
            abort(); \
        } \
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

/* The first identity is kept for all runs: making keys is what takes time. */
static void op_nv_store(void *opaque, const uint8_t from[SEVFW_NV_SIZE])
{
    (void)opaque;
    if (!nv_there) {
        memcpy(nv, from, sizeof(nv));
        nv_there = true;
    }
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
    .read = op_read, .write = op_write, .read_guest = op_read_guest, .write_guest = op_write_guest,
    .install_key = op_install_key, .remove_key = op_remove_key, .memory_encryption_enabled = op_enabled,
    .nv_load = op_nv_load, .nv_store = op_nv_store, .random = op_random,
};

static const struct sevfw_config config = {
    .api_major = 1, .api_minor = 55, .build = 1, .cpus = CPUS, .max_sev_asid = MAX_ASID, .min_sev_asid = 2,
    .max_guests = 4, .c_bit = 47, .phys_bits = 36, .keep_pdh = true,
};

/* What must hold after every step. */
static void check_invariants(const struct sevfw *fw)
{
    uint32_t guests = 0, active = 0, keys = 0;

    for (uint32_t i = 0; i < config.max_guests; i++) {
        const struct sevfw_guest *guest = &fw->guests[i];

        if (guest->handle == 0) {
            CHECK(guest->asid == 0 && guest->policy == 0);
            continue;
        }
        guests++;
        CHECK(guest->state >= SEVFW_GUEST_LUPDATE && guest->state <= SEVFW_GUEST_RUNNING);
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

static const uint8_t ids[] = {0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x20,
                              0x21, 0x22, 0x23, 0x25, 0x30, 0x31, 0x32, 0x33, 0x34, 0x35, 0x36, 0x60, 0x61, 0x40, 0x00};

/* A 32-bit field: mostly a number that means something. */
static uint32_t field(struct input *in, const struct sevfw *fw)
{
    static const uint32_t lengths[] = {2084, 128, 6252, 48, 52, 208, 64, 0x8000, 0x100000, 0x4000, 0x24, 0x18};
    uint8_t how = take(in);
    uint32_t number = 0;

    switch (how % 8) {
    case 0:
        return 0;
    case 1:
        return how / 8;
    case 2:
        return lengths[how / 8 % 12];
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

static void one_command(struct input *in, struct sevfw *fw)
{
    uint8_t id = ids[take(in) % sizeof(ids)];
    uint8_t where = take(in);
    uint64_t spa = AT_COMMAND;

    for (size_t at = 0; at < SEVFW_BUFFER_MAX; at += 4) {
        sevfw_put32(ram + AT_COMMAND + at, field(in, fw));
    }
    if (where == 255) {
        spa = (uint64_t)field(in, fw) << 32 | field(in, fw);
    } else if (where & 1) {
        spa |= C_BIT;
    }
    (void)sevfw_command(fw, id, spa);
}

/* A short way through what is legal, so that later steps find guests in each state. */
static void shortcut(struct input *in, struct sevfw *fw)
{
    uint8_t what = take(in);
    uint32_t handle = fw->guests[what / 8 % config.max_guests].handle;
    uint8_t *buf = ram + AT_COMMAND;

    memset(buf, 0, SEVFW_BUFFER_MAX);
    switch (what % 8) {
    case 0:
        (void)sevfw_command(fw, SEVFW_CMD_INIT, AT_COMMAND);
        for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
            sevfw_wbinvd(fw, cpu);
        }
        (void)sevfw_command(fw, SEVFW_CMD_DF_FLUSH, 0);
        break;
    case 1:
        (void)sevfw_command(fw, SEVFW_CMD_LAUNCH_START, AT_COMMAND);
        break;
    case 2:
        sevfw_put32(buf, handle);
        sevfw_put32(buf + 4, 2u + what / 8 % 5u);
        (void)sevfw_command(fw, SEVFW_CMD_ACTIVATE, AT_COMMAND);
        break;
    case 3:
        sevfw_put32(buf, handle);
        sevfw_put32(buf + 8, AT_DATA);
        sevfw_put32(buf + 0x10, 48);
        (void)sevfw_command(fw, SEVFW_CMD_LAUNCH_MEASURE, AT_COMMAND);
        break;
    default:
        sevfw_put32(buf, handle);
        (void)sevfw_command(fw, ids[14 + what % 14], AT_COMMAND);
        break;
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
    const struct mailbox_config mailbox_config = {.c2pmsg_base = 0x10900, .int_enable = 0x10690,
                                                  .int_status = 0x10694, .latency_ns = 100};
    struct input in = {data, size};
    struct sevfw *fw;
    struct mailbox *mb;
    uint64_t now = 0;

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
        case 4:
            shortcut(&in, fw);
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
