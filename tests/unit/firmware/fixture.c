/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fixture.h"

#include <stdlib.h>

#include "kds.h"

/* ---------------------------------------------------------------- memory */

/* Not AES: enough that bytes seen through the wrong key are wrong. */
static uint8_t pad(const uint8_t key[16], uint64_t address)
{
    return (uint8_t)(key[address % 16] ^ (address >> 4) * 37u ^ (address >> 12) * 11u ^ 0x5Au);
}

static const uint8_t host_key[16] = "the host's key!";

static bool in_ram(uint64_t address, size_t len)
{
    return address < RAM_SIZE && len <= RAM_SIZE - address;
}

static bool host_access(struct machine *m, uint64_t spa, uint8_t *buf, const uint8_t *data, size_t len)
{
    uint64_t address = spa & ~C_BIT;

    if (!in_ram(address, len)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        uint8_t mask = spa & C_BIT ? pad(host_key, address + i) : 0;

        if (data) {
            m->ram[address + i] = data[i] ^ mask;
        } else {
            buf[i] = m->ram[address + i] ^ mask;
        }
    }
    return true;
}

static bool op_read(void *opaque, uint64_t spa, void *buf, size_t len)
{
    ((struct machine *)opaque)->reads++;
    return host_access(opaque, spa, buf, NULL, len);
}

static bool op_write(void *opaque, uint64_t spa, const void *data, size_t len)
{
    ((struct machine *)opaque)->writes++;
    return host_access(opaque, spa, NULL, data, len);
}

static bool op_is_ram(void *opaque, uint64_t spa, uint64_t len)
{
    (void)opaque;
    return in_ram(spa, len);
}

static bool op_read_guest(void *opaque, uint32_t asid, uint64_t spa, void *buf, size_t len)
{
    struct machine *m = opaque;
    uint64_t address = spa & ~C_BIT;

    assert_true(asid <= MAX_ASID && m->installed[asid]);
    if (!in_ram(address, len)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        ((uint8_t *)buf)[i] = m->ram[address + i] ^ pad(m->keys[asid], address + i);
    }
    return true;
}

static bool op_write_guest(void *opaque, uint32_t asid, uint64_t spa, const void *data, size_t len)
{
    struct machine *m = opaque;
    uint64_t address = spa & ~C_BIT;

    assert_true(asid <= MAX_ASID && m->installed[asid]);
    if (!in_ram(address, len)) {
        return false;
    }
    for (size_t i = 0; i < len; i++) {
        m->ram[address + i] = ((const uint8_t *)data)[i] ^ pad(m->keys[asid], address + i);
    }
    return true;
}

static void op_install_key(void *opaque, uint32_t asid, const uint8_t vek[SEVFW_VEK_SIZE])
{
    struct machine *m = opaque;

    assert_true(asid >= 1 && asid <= MAX_ASID && !m->installed[asid]);
    m->installed[asid] = true;
    memcpy(m->keys[asid], vek, SEVFW_VEK_SIZE);
}

static void op_remove_key(void *opaque, uint32_t asid)
{
    struct machine *m = opaque;

    assert_true(asid >= 1 && asid <= MAX_ASID && m->installed[asid]);
    m->installed[asid] = false;
}

static bool op_smee(void *opaque)
{
    return ((struct machine *)opaque)->smee;
}

static bool op_nv_load(void *opaque, uint8_t nv[SEVFW_NV_SIZE])
{
    struct machine *m = opaque;

    memcpy(nv, m->nv, sizeof(m->nv));
    return m->nv_there;
}

static void op_nv_store(void *opaque, const uint8_t nv[SEVFW_NV_SIZE])
{
    struct machine *m = opaque;

    m->nv_there = true;
    m->nv_stores++;
    memcpy(m->nv, nv, sizeof(m->nv));
}

static void op_random(void *opaque, void *buf, size_t len)
{
    struct machine *m = opaque;

    for (size_t i = 0; i < len; i++) {
        if (m->forced_at < m->forced_len) {
            ((uint8_t *)buf)[i] = m->forced[m->forced_at++];
        } else {
            m->seed = m->seed * 6364136223846793005u + 1442695040888963407u;
            ((uint8_t *)buf)[i] = (uint8_t)(m->seed >> 56);
        }
    }
}

static const struct sevfw_ops ops = {
    .read = op_read,
    .write = op_write,
    .read_guest = op_read_guest,
    .write_guest = op_write_guest,
    .is_ram = op_is_ram,
    .install_key = op_install_key,
    .remove_key = op_remove_key,
    .memory_encryption_enabled = op_smee,
    .nv_load = op_nv_load,
    .nv_store = op_nv_store,
    .random = op_random,
};

const struct sevfw_ops *machine_ops(void)
{
    return &ops;
}

int machine_setup(void **state)
{
    struct machine *m = calloc(1, sizeof(*m));

    m->ram = calloc(1, RAM_SIZE);
    m->smee = true;
    m->seed = 20260101;
    m->config = (struct sevfw_config){
        .api_major = API_MAJOR_,
        .api_minor = API_MINOR_,
        .build = BUILD_,
        .cpus = CPUS,
        .max_sev_asid = MAX_ASID,
        .min_sev_asid = MIN_ASID,
        .max_guests = MAX_GUESTS,
        .c_bit = C_BIT_POSITION,
        .phys_bits = PHYS_BITS,
        .part = PART,
    };
    seq(0x11, sizeof(m->config.chip_id), m->config.chip_id);
    machine_rebuild(m);
    *state = m;
    return 0;
}

int machine_teardown(void **state)
{
    struct machine *m = *state;

    sevfw_free(m->fw);
    free(m->ram);
    free(m);
    return 0;
}

void machine_rebuild(struct machine *m)
{
    sevfw_free(m->fw);
    memset(m->installed, 0, sizeof(m->installed));
    m->fw = sevfw_new(&m->config, &ops, m);
    assert_non_null(m->fw);
}

void ram_put(struct machine *m, uint64_t spa, const void *data, size_t len)
{
    assert_true(host_access(m, spa, NULL, data, len));
}

void ram_get(struct machine *m, uint64_t spa, void *data, size_t len)
{
    assert_true(host_access(m, spa, data, NULL, len));
}

void ram_fill(struct machine *m, uint64_t spa, uint8_t value, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        ram_put(m, spa + i, &value, 1);
    }
}

void guest_get(struct machine *m, uint32_t asid, uint64_t spa, void *data, size_t len)
{
    assert_true(op_read_guest(m, asid, spa, data, len));
}

void guest_put(struct machine *m, uint32_t asid, uint64_t spa, const void *data, size_t len)
{
    assert_true(op_write_guest(m, asid, spa, data, len));
}

/* -------------------------------------------------------------- commands */

void set32(uint8_t *buf, size_t offset, uint32_t value)
{
    sevfw_put32(buf + offset, value);
}

void set64(uint8_t *buf, size_t offset, uint64_t value)
{
    sevfw_put32(buf + offset, (uint32_t)value);
    sevfw_put32(buf + offset + 4, (uint32_t)(value >> 32));
}

uint16_t command(struct machine *m, uint32_t id, void *buf, size_t size)
{
    uint8_t behind[16];
    uint16_t status;

    ram_put(m, AT_COMMAND, buf, size);
    ram_fill(m, AT_COMMAND + size, 0xEE, sizeof(behind));
    status = sevfw_command(m->fw, id, AT_COMMAND);
    ram_get(m, AT_COMMAND, buf, size);
    ram_get(m, AT_COMMAND + size, behind, sizeof(behind));
    for (size_t i = 0; i < sizeof(behind); i++) {
        assert_int_equal(behind[i], 0xEE); /* nothing is written behind the buffer */
    }
    return status;
}

uint16_t command0(struct machine *m, uint32_t id)
{
    return sevfw_command(m->fw, id, 0);
}

uint16_t do_init(struct machine *m)
{
    uint8_t buf[0x14] = {0};

    return command(m, SEVFW_CMD_INIT, buf, sizeof(buf));
}

void wbinvd_everywhere(struct machine *m)
{
    for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
        sevfw_wbinvd(m->fw, cpu);
    }
}

void bring_up(struct machine *m)
{
    assert_status(SUCCESS, do_init(m));
    wbinvd_everywhere(m);
    assert_status(SUCCESS, command0(m, SEVFW_CMD_DF_FLUSH));
}

uint16_t do_status(struct machine *m, uint8_t out[12])
{
    memset(out, 0xFF, 12);
    return command(m, SEVFW_CMD_PLATFORM_STATUS, out, 12);
}

unsigned platform_state(struct machine *m)
{
    uint8_t out[12];

    assert_status(SUCCESS, do_status(m, out));
    return out[2];
}

uint16_t launch_start(struct machine *m, uint32_t policy, uint32_t share, uint32_t *handle)
{
    uint8_t buf[0x24] = {0};
    uint16_t status;

    set32(buf, 0x00, share);
    set32(buf, 0x04, policy);
    status = command(m, SEVFW_CMD_LAUNCH_START, buf, sizeof(buf));
    *handle = sevfw_get32(buf);
    return status;
}

uint16_t launch_start_session(struct machine *m, const struct owner *owner, uint32_t policy, uint32_t *handle)
{
    uint8_t buf[0x24] = {0};
    uint16_t status;

    owner_session(m, owner);
    set32(buf, 0x04, policy);
    set64(buf, 0x08, AT_CERT);
    set32(buf, 0x10, 2084);
    set64(buf, 0x18, AT_SESSION);
    set32(buf, 0x20, 128);
    status = command(m, SEVFW_CMD_LAUNCH_START, buf, sizeof(buf));
    *handle = sevfw_get32(buf);
    return status;
}

uint16_t by_handle(struct machine *m, uint32_t id, uint32_t handle)
{
    uint8_t buf[4];

    set32(buf, 0, handle);
    return command(m, id, buf, sizeof(buf));
}

uint16_t activate(struct machine *m, uint32_t handle, uint32_t asid)
{
    uint8_t buf[8];

    set32(buf, 0, handle);
    set32(buf, 4, asid);
    return command(m, SEVFW_CMD_ACTIVATE, buf, sizeof(buf));
}

uint16_t update_data(struct machine *m, uint32_t handle, uint64_t spa, uint32_t len)
{
    uint8_t buf[0x14] = {0};

    set32(buf, 0, handle);
    set64(buf, 8, spa);
    set32(buf, 0x10, len);
    return command(m, SEVFW_CMD_LAUNCH_UPDATE_DATA, buf, sizeof(buf));
}

uint16_t measure(struct machine *m, uint32_t handle, uint8_t out[48])
{
    uint8_t buf[0x14] = {0};
    uint16_t status;

    set32(buf, 0, handle);
    set64(buf, 8, AT_OUT);
    set32(buf, 0x10, 48);
    status = command(m, SEVFW_CMD_LAUNCH_MEASURE, buf, sizeof(buf));
    ram_get(m, AT_OUT, out, 48);
    return status;
}

uint16_t packet(struct machine *m, uint32_t id, uint32_t handle, uint64_t guest_spa, uint32_t guest_len,
                uint32_t trans_len)
{
    uint8_t buf[0x34] = {0};

    set32(buf, 0, handle);
    set64(buf, 0x08, AT_HEADER);
    set32(buf, 0x10, 52);
    set64(buf, 0x18, guest_spa);
    set32(buf, 0x20, guest_len);
    set64(buf, 0x28, AT_PACKET);
    set32(buf, 0x30, trans_len);
    return command(m, id, buf, sizeof(buf));
}

uint16_t secret(struct machine *m, uint32_t handle, uint64_t guest_spa, uint32_t guest_len, uint32_t trans_len)
{
    return packet(m, SEVFW_CMD_LAUNCH_SECRET, handle, guest_spa, guest_len, trans_len);
}

void target_put(struct machine *m, struct machine *target)
{
    static uint8_t amd_certs[SEVFW_AMD_CERTS_SIZE]; /* the same each time, and slow to make */
    uint8_t pdh[2084], chain[6252];

    if (amd_certs[0] == 0) {
        kds_ask(amd_certs);
        kds_ark(amd_certs + SEVFW_ROOT_CERT_SIZE);
    }
    assert_status(SUCCESS, pdh_export(target, pdh, chain));
    kds_cek(target->config.chip_id, API_MAJOR_, API_MINOR_, chain + 2 * SEVFW_CERT_SIZE);
    ram_put(m, AT_CERT, pdh, sizeof(pdh));
    ram_put(m, AT_CHAIN, chain, sizeof(chain));
    ram_put(m, AT_AMD, amd_certs, sizeof(amd_certs));
}

uint16_t send_start(struct machine *m, uint32_t handle)
{
    uint8_t buf[0x44] = {0};

    set32(buf, 0x00, handle);
    set64(buf, 0x08, AT_CERT);
    set32(buf, 0x10, 2084);
    set64(buf, 0x18, AT_CHAIN);
    set32(buf, 0x20, 6252);
    set64(buf, 0x28, AT_AMD);
    set32(buf, 0x30, SEVFW_AMD_CERTS_SIZE);
    set64(buf, 0x38, AT_SESSION);
    set32(buf, 0x40, 128);
    return command(m, SEVFW_CMD_SEND_START, buf, sizeof(buf));
}

uint16_t receive_start(struct machine *m, uint32_t policy, uint32_t share, uint32_t *handle)
{
    uint8_t buf[0x24] = {0};
    uint16_t status;

    set32(buf, 0x00, share);
    set32(buf, 0x04, policy);
    set64(buf, 0x08, AT_CERT);
    set32(buf, 0x10, 2084);
    set64(buf, 0x18, AT_SESSION);
    set32(buf, 0x20, 128);
    status = command(m, SEVFW_CMD_RECEIVE_START, buf, sizeof(buf));
    *handle = sevfw_get32(buf);
    return status;
}

uint16_t copy(struct machine *m, uint32_t handle, uint64_t src, uint64_t dst, uint32_t len)
{
    uint8_t buf[0x18] = {0};

    set32(buf, 0x00, handle);
    set32(buf, 0x04, len);
    set64(buf, 0x08, src);
    set64(buf, 0x10, dst);
    return command(m, SEVFW_CMD_COPY, buf, sizeof(buf));
}

uint16_t dbg(struct machine *m, uint32_t id, uint32_t handle, uint64_t src, uint64_t dst, uint32_t len)
{
    uint8_t buf[0x1C] = {0};

    set32(buf, 0, handle);
    set64(buf, 0x08, src);
    set64(buf, 0x10, dst);
    set32(buf, 0x18, len);
    return command(m, id, buf, sizeof(buf));
}

uint16_t attest(struct machine *m, uint32_t handle, const uint8_t mnonce[16], uint8_t report[208])
{
    uint8_t buf[0x24] = {0};
    uint16_t status;

    set32(buf, 0, handle);
    set64(buf, 0x08, AT_OUT);
    memcpy(buf + 0x10, mnonce, 16);
    set32(buf, 0x20, 208);
    status = command(m, SEVFW_CMD_ATTESTATION, buf, sizeof(buf));
    ram_get(m, AT_OUT, report, 208);
    return status;
}

unsigned guest_state(struct machine *m, uint32_t handle)
{
    uint8_t buf[0x0D] = {0};

    set32(buf, 0, handle);
    assert_status(SUCCESS, command(m, SEVFW_CMD_GUEST_STATUS, buf, sizeof(buf)));
    return buf[0x0C];
}

uint16_t pdh_export(struct machine *m, uint8_t pdh[2084], uint8_t chain[6252])
{
    uint8_t buf[0x1C] = {0};
    uint16_t status;

    set64(buf, 0x00, AT_OUT);
    set32(buf, 0x08, 2084);
    set64(buf, 0x10, AT_CHAIN);
    set32(buf, 0x18, 6252);
    status = command(m, SEVFW_CMD_PDH_CERT_EXPORT, buf, sizeof(buf));
    ram_get(m, AT_OUT, pdh, 2084);
    ram_get(m, AT_CHAIN, chain, 6252);
    return status;
}

uint32_t image_put(struct machine *m, uint64_t spa, uint8_t part, uint32_t version)
{
    uint8_t image[IMAGE_SIZE];

    ram_put(m, spa, image, signed_image(m->fw, image, part, version));
    return sizeof(image);
}

uint16_t download(struct machine *m, uint64_t spa, uint32_t len)
{
    uint8_t buf[0x0C] = {0};

    set64(buf, 0, spa);
    set32(buf, 8, len);
    return command(m, SEVFW_CMD_DOWNLOAD_FIRMWARE, buf, sizeof(buf));
}

uint32_t guest_in(struct machine *m, unsigned state, uint32_t asid)
{
    struct owner sender;
    uint32_t handle;
    uint8_t out[48];

    if (state == SEVFW_GUEST_RUPDATE) {
        owner_make(&sender, 0);
        owner_session(m, &sender);
        assert_status(SUCCESS, receive_start(m, 0, 0, &handle));
        assert_status(SUCCESS, activate(m, handle, asid));
        assert_int_equal(guest_state(m, handle), state);
        return handle;
    }
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    assert_status(SUCCESS, activate(m, handle, asid));
    if (state >= SEVFW_GUEST_LSECRET) {
        assert_status(SUCCESS, measure(m, handle, out));
    }
    if (state >= SEVFW_GUEST_RUNNING) {
        assert_status(SUCCESS, by_handle(m, SEVFW_CMD_LAUNCH_FINISH, handle));
    }
    if (state >= SEVFW_GUEST_SUPDATE) {
        target_put(m, m); /* to itself */
        assert_status(SUCCESS, send_start(m, handle));
    }
    if (state == SEVFW_GUEST_SENT) {
        assert_status(SUCCESS, by_handle(m, SEVFW_CMD_SEND_FINISH, handle));
    }
    assert_int_equal(guest_state(m, handle), state);
    return handle;
}

/* ----------------------------------------------------------------- owner */

void seq(uint8_t first, size_t n, uint8_t *out)
{
    for (size_t i = 0; i < n; i++) {
        out[i] = (uint8_t)(first + i);
    }
}

void owner_make(struct owner *owner, uint32_t policy)
{
    owner->policy = policy;
    seq(0x00, 16, owner->nonce);
    seq(0xA0, 16, owner->tek);
    seq(0xB0, 16, owner->tik);
    seq(0xC0, 16, owner->wrap_iv);
}

void owner_session(struct machine *m, const struct owner *owner)
{
    uint8_t d[48], z[48], kek[16], kik[16], session[128], policy[4], pdh[2084], chain[6252], cert[2084];

    assert_status(SUCCESS, pdh_export(m, pdh, chain));
    seq(0x31, sizeof(d), d);
    assert_true(sevfw_ec_ecdh(d, sevfw_cert_public(pdh), z));
    sevfw_derive_kek_kik(z, sizeof(z), owner->nonce, kek, kik);
    memcpy(session, owner->nonce, 16);
    memcpy(session + 0x10, owner->tek, 16);
    memcpy(session + 0x20, owner->tik, 16);
    sevfw_aes_ctr(kek, owner->wrap_iv, 32, session + 0x10, session + 0x10);
    memcpy(session + 0x30, owner->wrap_iv, 16);
    sevfw_hmac(kik, 16, session + 0x10, 32, session + 0x40);
    set32(policy, 0, owner->policy);
    sevfw_hmac(owner->tik, 16, policy, 4, session + 0x60);
    ram_put(m, AT_SESSION, session, sizeof(session));
    sevfw_cert_make(cert, 0, 0, SEVFW_USAGE_PDH, SEVFW_ALGO_ECDH_SHA256, d);
    ram_put(m, AT_CERT, cert, sizeof(cert));
}

void owner_secret(struct machine *m, const struct owner *owner, const uint8_t measurement[32], const uint8_t *plain,
                  uint32_t len)
{
    uint8_t header[52] = {0}, *packet = malloc(len);

    seq(0xE0, 16, header + 4);
    sevfw_aes_ctr(owner->tek, header + 4, len, packet, plain);
    sevfw_packet_mac(owner->tik, PACKET_SECRET, header, len, len, packet, measurement, header + 20);
    ram_put(m, AT_HEADER, header, sizeof(header));
    ram_put(m, AT_PACKET, packet, len);
    free(packet);
}

void assert_status_at(uint16_t expected, uint16_t got, const char *what, const char *file, int line)
{
    if (expected != got) {
        print_error("%s: expected %s, got %s (0x%02x)\n", what, sevfw_status_name(expected),
                    sevfw_status_name(got) ? sevfw_status_name(got) : "?", got);
        _fail(file, line);
    }
}
