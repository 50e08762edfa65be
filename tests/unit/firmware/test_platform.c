/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* INIT to SHUTDOWN, persistent data, the owner's certificates. */
#include "fixture.h"

#include "kds.h"

static uint16_t init_with(struct machine *m, uint32_t flags, uint32_t reserved, uint64_t tmr, uint32_t tmr_len)
{
    uint8_t buf[0x14] = {0};

    set32(buf, 0, flags);
    set32(buf, 4, reserved);
    set64(buf, 8, tmr);
    set32(buf, 0x10, tmr_len);
    return command(m, SEVFW_CMD_INIT, buf, sizeof(buf));
}

static uint16_t init_ex(struct machine *m, uint64_t nv, uint32_t nv_len, uint32_t length, uint32_t reserved)
{
    uint8_t buf[0x24] = {0};

    set32(buf, 0x00, length);
    set32(buf, 0x14, reserved);
    set64(buf, 0x18, nv);
    set32(buf, 0x20, nv_len);
    return command(m, SEVFW_CMD_INIT_EX, buf, sizeof(buf));
}

static void init_needs_memory_encryption(void **state)
{
    struct machine *m = *state;

    m->smee = false;
    assert_status(HWERROR_PLATFORM, do_init(m));
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_UNINIT);
    m->smee = true;
    assert_status(SUCCESS, do_init(m));
}

static void init_checks_flags_and_tmr(void **state)
{
    struct machine *m = *state;
    uint8_t out[12];

    assert_status(INVALID_PARAM, init_with(m, 2, 0, 0, 0));
    assert_status(INVALID_PARAM, init_with(m, 0, 1, 0, 0));
    assert_status(INVALID_LENGTH, init_with(m, 1, 0, AT_TMR, 0));
    assert_status(INVALID_LENGTH, init_with(m, 1, 0, AT_TMR, 0x80000));
    assert_status(INVALID_ADDRESS, init_with(m, 1, 0, AT_TMR + 0x1000, 0x100000));
    assert_status(INVALID_ADDRESS, init_with(m, 1, 0, 0x300000, 0x200000)); /* 2 MiB long: 2 MiB aligned */
    assert_status(INVALID_ADDRESS, init_with(m, 1, 0, AT_TMR | C_BIT, 0x100000));
    assert_status(INVALID_ADDRESS, init_with(m, 1, 0, NOT_RAM, 0x100000));
    assert_status(SUCCESS, init_with(m, 1, 0, AT_TMR, 0x100000));
    assert_status(SUCCESS, do_status(m, out));
    assert_int_equal(out[4], 1);
    assert_status(SUCCESS, command0(m, SEVFW_CMD_SHUTDOWN));
    assert_status(SUCCESS, init_with(m, 1, 0, AT_TMR, 0x200000));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_SHUTDOWN));
    assert_status(SUCCESS, init_with(m, 0, 0, 0x123, 0x456)); /* no ES: ignored */
    assert_status(SUCCESS, do_status(m, out));
    assert_int_equal(out[4], 0);
}

static void status_is_told_in_every_state_and_hides_the_rest_in_uninit(void **state)
{
    struct machine *m = *state;
    uint8_t out[12];
    const uint8_t uninit[12] = {API_MAJOR_, API_MINOR_, 0, 0, 0, 0, 0, BUILD_, 0, 0, 0, 0};

    assert_status(SUCCESS, do_status(m, out));
    assert_memory_equal(out, uninit, 12);
    assert_status(SUCCESS, do_init(m));
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_INIT);
    assert_status(SUCCESS, command0(m, SEVFW_CMD_SHUTDOWN));
    assert_status(SUCCESS, do_status(m, out));
    assert_memory_equal(out, uninit, 12);
}

static void identity_survives_reset_but_pdh_does_not(void **state)
{
    struct machine *m = *state;
    uint8_t pdh[2][2084], chain[2][6252];

    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, pdh_export(m, pdh[0], chain[0]));
    sevfw_reset(m->fw);
    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, pdh_export(m, pdh[1], chain[1]));
    assert_memory_equal(chain[0], chain[1], sizeof(chain[0]));
    assert_memory_not_equal(pdh[0], pdh[1], sizeof(pdh[0]));
    m->config.keep_pdh = true;
    machine_rebuild(m);
    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, pdh_export(m, pdh[0], chain[0]));
    assert_memory_equal(pdh[0], pdh[1], sizeof(pdh[0]));
}

static void platform_reset_erases_the_identity(void **state)
{
    struct machine *m = *state;
    uint8_t pdh[2084], chain[2][6252];

    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, pdh_export(m, pdh, chain[0]));
    assert_status(INVALID_PLATFORM_STATE, command0(m, SEVFW_CMD_PLATFORM_RESET));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_SHUTDOWN));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_PLATFORM_RESET));
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_UNINIT);
    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, pdh_export(m, pdh, chain[1]));
    assert_memory_not_equal(chain[0], chain[1], 4168);             /* PEK, OCA */
    assert_memory_equal(chain[0] + 4168, chain[1] + 4168, 2084);   /* the chip stays the chip */
}

static void damaged_persistent_data_is_reported_once(void **state)
{
    struct machine *m = *state;
    uint8_t pdh[2084], chain[2][6252];

    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, pdh_export(m, pdh, chain[0]));
    sevfw_reset(m->fw);
    m->nv[0x1000] ^= 1;
    assert_status(SECURE_DATA_INVALID, do_init(m));
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_UNINIT);
    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, pdh_export(m, pdh, chain[1]));
    assert_memory_not_equal(chain[0], chain[1], 4168);
    sevfw_reset(m->fw);
    assert_status(SUCCESS, do_init(m)); /* what the retry wrote is whole */
}

static void blank_stores_of_either_kind_are_new(void **state)
{
    struct machine *m = *state;

    m->nv_there = true;
    memset(m->nv, 0xFF, sizeof(m->nv));
    assert_status(SUCCESS, do_init(m));
    sevfw_reset(m->fw);
    memset(m->nv, 0, sizeof(m->nv));
    assert_status(SUCCESS, do_init(m));
}

static void secrets_are_not_readable_in_persistent_data(void **state)
{
    struct machine *m = *state;

    assert_status(SUCCESS, do_init(m));
    for (size_t i = 0; i + 48 <= sizeof(m->nv); i++) {
        assert_memory_not_equal(m->nv + i, m->fw->id.pek, 48);
        assert_memory_not_equal(m->nv + i, m->fw->id.oca, 48);
    }
}

static void another_chips_persistent_data_is_invalid(void **state)
{
    struct machine *m = *state;

    assert_status(SUCCESS, do_init(m));
    m->config.chip_id[5] ^= 1;
    machine_rebuild(m);
    assert_status(SECURE_DATA_INVALID, do_init(m));
}

static void init_ex_keeps_its_data_in_the_hosts_buffer(void **state)
{
    struct machine *m = *state;
    uint8_t pdh[2084], chain[2][6252], first[64], second[64];
    unsigned stores = m->nv_stores;

    assert_status(INVALID_LENGTH, init_ex(m, AT_NV, 0x8000, 0x20, 0));
    assert_status(INVALID_LENGTH, init_ex(m, AT_NV, 0x7000, 0x24, 0));
    assert_status(INVALID_PARAM, init_ex(m, AT_NV, 0x8000, 0x24, 1));
    assert_status(INVALID_ADDRESS, init_ex(m, AT_NV + 0x10, 0x8000, 0x24, 0));
    assert_status(INVALID_ADDRESS, init_ex(m, NOT_RAM, 0x8000, 0x24, 0));
    assert_status(SUCCESS, init_ex(m, AT_NV | C_BIT, 0x8000, 0x24, 0) == SEVFW_SECURE_DATA_INVALID
                               ? init_ex(m, AT_NV | C_BIT, 0x8000, 0x24, 0)
                               : SEVFW_HWERROR_UNSAFE); /* zeros, seen through the host's key, are no blank store */
    assert_status(SUCCESS, pdh_export(m, pdh, chain[0]));
    ram_get(m, AT_NV | C_BIT, first, sizeof(first));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_PDH_GEN));
    ram_get(m, AT_NV | C_BIT, second, sizeof(second));
    assert_memory_not_equal(first, second, sizeof(first)); /* content changes: section 8 */
    sevfw_reset(m->fw);
    assert_status(SUCCESS, init_ex(m, AT_NV | C_BIT, 0x8000, 0x24, 0));
    assert_status(SUCCESS, pdh_export(m, pdh, chain[1]));
    assert_memory_equal(chain[0], chain[1], sizeof(chain[0]));
    assert_int_equal(m->nv_stores, stores); /* the flash is not written */
}

static void new_pek_means_new_owner_and_new_pdh(void **state)
{
    struct machine *m = *state;
    uint8_t pdh[2][2084], chain[2][6252];

    bring_up(m);
    assert_status(SUCCESS, pdh_export(m, pdh[0], chain[0]));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_PEK_GEN));
    assert_status(SUCCESS, pdh_export(m, pdh[1], chain[1]));
    assert_memory_not_equal(pdh[0], pdh[1], 2084);
    assert_memory_not_equal(chain[0], chain[1], 2084);
    assert_memory_not_equal(chain[0] + 2084, chain[1] + 2084, 2084);
    assert_status(SUCCESS, command0(m, SEVFW_CMD_PDH_GEN));
    assert_status(SUCCESS, pdh_export(m, pdh[0], chain[0]));
    assert_memory_not_equal(pdh[0], pdh[1], 2084);
    assert_memory_equal(chain[0], chain[1], 6252);
}

static void exported_chain_verifies(void **state)
{
    struct machine *m = *state;
    uint8_t pdh[2084], chain[6252], endorsed[2084];

    bring_up(m);
    assert_status(SUCCESS, pdh_export(m, pdh, chain));
    assert_int_equal(sevfw_cert_signed_by(pdh, chain, SEVFW_USAGE_PEK), 0);
    assert_true(sevfw_cert_signed_by(chain, chain + 2084, SEVFW_USAGE_OCA) >= 0);
    assert_true(sevfw_cert_signed_by(chain, chain + 4168, SEVFW_USAGE_CEK) >= 0);
    assert_int_equal(sevfw_cert_signed_by(chain + 2084, chain + 2084, SEVFW_USAGE_OCA), 0);
    kds_cek(m->config.chip_id, API_MAJOR_, API_MINOR_, endorsed);
    assert_memory_equal(endorsed, chain + 4168, 0x414); /* the server's copy is the firmware's, signed */
    assert_int_equal(sevfw_get32(endorsed + 0x414), SEVFW_USAGE_ASK);
    assert_int_equal(sevfw_get32(chain + 4168 + 0x414), SEVFW_USAGE_INVALID);
}

static void lengths_of_exports_are_reported(void **state)
{
    struct machine *m = *state;
    uint8_t buf[0x1C] = {0};

    bring_up(m);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_PDH_CERT_EXPORT, buf, sizeof(buf)));
    assert_int_equal(sevfw_get32(buf + 0x08), 2084);
    assert_int_equal(sevfw_get32(buf + 0x18), 6252);
    set32(buf, 0x08, 2084);
    set32(buf, 0x18, 6251);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_PDH_CERT_EXPORT, buf, sizeof(buf)));
    set32(buf, 0x0C, 1);
    assert_status(INVALID_PARAM, command(m, SEVFW_CMD_PDH_CERT_EXPORT, buf, sizeof(buf)));
    memset(buf, 0, sizeof(buf));
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_PEK_CSR, buf, 0x0C));
    assert_int_equal(sevfw_get32(buf + 8), 2084);
    set64(buf, 0, NOT_RAM);
    assert_status(INVALID_ADDRESS, command(m, SEVFW_CMD_PEK_CSR, buf, 0x0C));
    memset(buf, 0, sizeof(buf));
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_GET_ID, buf, 0x0C));
    assert_int_equal(sevfw_get32(buf + 8), 64);
}

static void chip_id_is_told_in_every_state(void **state)
{
    struct machine *m = *state;
    uint8_t buf[0x0C] = {0}, id[64];

    for (int i = 0; i < 2; i++) {
        set64(buf, 0, AT_OUT + 4);
        set32(buf, 8, 128); /* two sockets' worth, as Linux asks */
        assert_status(INVALID_ADDRESS, command(m, SEVFW_CMD_GET_ID, buf, sizeof(buf)));
        set64(buf, 0, AT_OUT);
        set32(buf, 8, 128);
        assert_status(SUCCESS, command(m, SEVFW_CMD_GET_ID, buf, sizeof(buf)));
        assert_int_equal(sevfw_get32(buf + 8), 64);
        ram_get(m, AT_OUT, id, 64);
        assert_memory_equal(id, m->config.chip_id, 64);
        assert_int_equal(do_init(m), i == 0 ? SEVFW_SUCCESS : SEVFW_INVALID_PLATFORM_STATE);
    }
}

static uint16_t import(struct machine *m, uint32_t pek_len, uint32_t oca_len, uint64_t pek)
{
    uint8_t buf[0x1C] = {0};

    set64(buf, 0x00, pek);
    set32(buf, 0x08, pek_len);
    set64(buf, 0x10, AT_CHAIN);
    set32(buf, 0x18, oca_len);
    return command(m, SEVFW_CMD_PEK_CERT_IMPORT, buf, sizeof(buf));
}

/* CSR, signed by an owner whose key is seq(0x91); the OCA certificate beside it. */
static void sign_csr(struct machine *m, uint8_t pek[2084], uint8_t oca[2084])
{
    uint8_t buf[0x0C] = {0}, d[48];

    set64(buf, 0, AT_OUT);
    set32(buf, 8, 2084);
    assert_status(SUCCESS, command(m, SEVFW_CMD_PEK_CSR, buf, sizeof(buf)));
    ram_get(m, AT_OUT, pek, 2084);
    seq(0x91, 48, d);
    sevfw_cert_make(oca, API_MAJOR_, API_MINOR_, SEVFW_USAGE_OCA, SEVFW_ALGO_ECDSA_SHA256, d);
    sevfw_cert_sign(m->fw, oca, 0, SEVFW_USAGE_OCA, d);
    sevfw_cert_sign(m->fw, pek, 0, SEVFW_USAGE_OCA, d);
    ram_put(m, AT_OUT, pek, 2084);
    ram_put(m, AT_CHAIN, oca, 2084);
}

static void imported_owner_certificate_makes_the_platform_owned(void **state)
{
    struct machine *m = *state;
    uint8_t pek[2084], oca[2084], pdh[2][2084], chain[6252], out[12];

    bring_up(m);
    assert_status(SUCCESS, pdh_export(m, pdh[0], chain));
    sign_csr(m, pek, oca);
    assert_status(SUCCESS, import(m, 2084, 2084, AT_OUT));
    assert_status(SUCCESS, do_status(m, out));
    assert_int_equal(out[3], 1);
    assert_status(SUCCESS, pdh_export(m, pdh[1], chain));
    assert_memory_not_equal(pdh[0], pdh[1], 2084);
    assert_memory_equal(chain + 2084, oca, 2084);
    assert_int_equal(sevfw_cert_signed_by(chain, oca, SEVFW_USAGE_OCA), 0);
    assert_int_equal(sevfw_cert_signed_by(chain, chain + 4168, SEVFW_USAGE_CEK), 1);
    ram_put(m, AT_OUT, pek, 2084);
    ram_put(m, AT_CHAIN, oca, 2084);
    assert_status(ALREADY_OWNED, import(m, 2084, 2084, AT_OUT));
    sevfw_reset(m->fw); /* and stays owned */
    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, do_status(m, out));
    assert_int_equal(out[3], 1);
    assert_status(SUCCESS, command0(m, SEVFW_CMD_PEK_GEN)); /* until this */
    assert_status(SUCCESS, do_status(m, out));
    assert_int_equal(out[3], 0);
}

static void shutdown_wipes_the_identity_from_memory(void **state)
{
    struct machine *m = *state;
    const struct sevfw_identity none = {0};
    uint8_t pek[2084], oca[2084], out[12];

    bring_up(m);
    sign_csr(m, pek, oca);
    assert_status(SUCCESS, import(m, 2084, 2084, AT_OUT));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_SHUTDOWN));
    assert_status(SUCCESS, do_status(m, out));
    assert_int_equal(out[3], 0); /* owner reads 0 in UNINIT */
    assert_memory_equal(&m->fw->id, &none, sizeof(none));
}

static void owner_certificates_are_refused_when_wrong(void **state)
{
    struct machine *m = *state;
    uint8_t pek[2084], oca[2084], bad[2084], d[48], out[12];

    bring_up(m);
    sign_csr(m, pek, oca);
    assert_status(INVALID_LENGTH, import(m, 2083, 2084, AT_OUT));
    assert_status(INVALID_LENGTH, import(m, 2084, 0, AT_OUT));
    assert_status(INVALID_ADDRESS, import(m, 2084, 2084, NOT_RAM));
    memcpy(bad, pek, sizeof(bad));
    bad[0x420] ^= 1;
    ram_put(m, AT_OUT, bad, 2084);
    assert_status(BAD_SIGNATURE, import(m, 2084, 2084, AT_OUT));
    seq(0x61, 48, d); /* well signed, but another key than the platform's */
    sevfw_cert_make(bad, API_MAJOR_, API_MINOR_, SEVFW_USAGE_PEK, SEVFW_ALGO_ECDSA_SHA256, d);
    ram_put(m, AT_OUT, bad, 2084);
    assert_status(INVALID_CERTIFICATE, import(m, 2084, 2084, AT_OUT));
    ram_put(m, AT_OUT, pek, 2084);
    memcpy(bad, oca, sizeof(bad));
    bad[0x420] ^= 1;
    ram_put(m, AT_CHAIN, bad, 2084);
    assert_status(BAD_SIGNATURE, import(m, 2084, 2084, AT_OUT));
    bad[0x14] ^= 1; /* x: off the curve now */
    ram_put(m, AT_CHAIN, bad, 2084);
    assert_status(INVALID_CERTIFICATE, import(m, 2084, 2084, AT_OUT));
    bad[0x14] ^= 1;
    bad[8] ^= 1; /* usage */
    ram_put(m, AT_CHAIN, bad, 2084);
    assert_status(INVALID_CERTIFICATE, import(m, 2084, 2084, AT_OUT));
    assert_status(SUCCESS, do_status(m, out));
    assert_int_equal(out[3], 0);
    ram_put(m, AT_CHAIN, oca, 2084);
    assert_status(SUCCESS, import(m, 2084, 2084, AT_OUT));
}

static void assert_runs(struct machine *m, unsigned major, unsigned minor, unsigned build)
{
    uint8_t out[12];

    assert_status(SUCCESS, do_status(m, out));
    assert_int_equal(out[0], major);
    assert_int_equal(out[1], minor);
    assert_int_equal(out[7], build);
}

static void a_newer_image_runs_until_the_machine_is_reset(void **state)
{
    struct machine *m = *state;
    uint32_t size = image_put(m, AT_OUT | C_BIT, PART, 0x013728);
    struct owner owner;
    uint8_t measured[48], expected[32], digest[32];
    const uint8_t api[3] = {1, 55, 40};
    uint32_t handle;

    assert_status(SUCCESS, download(m, AT_OUT | C_BIT, size));
    assert_runs(m, 1, 55, 40);
    /* The version is measured, so owners see which firmware launched their guest. */
    bring_up(m);
    owner_make(&owner, 0);
    assert_status(SUCCESS, launch_start_session(m, &owner, 0, &handle));
    assert_status(SUCCESS, measure(m, handle, measured));
    memcpy(digest, m->fw->guests[0].digest, sizeof(digest));
    sevfw_measure(owner.tik, api, 0, digest, measured + 32, expected);
    assert_memory_equal(measured, expected, sizeof(expected));
    sevfw_reset(m->fw);
    assert_runs(m, API_MAJOR_, API_MINOR_, BUILD_);
}

static void images_of_any_version_are_taken(void **state)
{
    struct machine *m = *state;

    assert_status(SUCCESS, download(m, AT_OUT, image_put(m, AT_OUT, PART, 0x01371f)));
    assert_status(SUCCESS, download(m, AT_OUT, image_put(m, AT_OUT, PART, 0x020000)));
    assert_status(SUCCESS, download(m, AT_OUT, image_put(m, AT_OUT, PART, 0x01ffff)));
    assert_runs(m, 1, 255, 255);
}

static void an_image_that_is_not_whole_genuine_and_of_this_family_changes_nothing(void **state)
{
    struct machine *m = *state;
    uint32_t size = image_put(m, AT_OUT, PART, 0x013728);
    static const unsigned bytes[] = {
        0x00, 0x07, 0x08, 0x09, 0x0C, 0x0E, 0x100, IMAGE_SIZE - SEVFW_EC_SIG_SIZE, IMAGE_SIZE - SEVFW_EC_FIELD_SIZE};
    uint8_t byte;

    assert_status(INVALID_LENGTH, download(m, AT_OUT, 0));
    assert_status(INVALID_LENGTH, download(m, AT_OUT, 16));
    assert_status(INVALID_LENGTH, download(m, AT_OUT, SEVFW_EC_SIG_SIZE));
    assert_status(BAD_SIGNATURE, download(m, AT_OUT, size - 16));
    assert_status(BAD_SIGNATURE, download(m, AT_OUT, size + 16));
    assert_status(INVALID_LENGTH, download(m, AT_OUT, SEVFW_IMAGE_MAX + 16));
    assert_status(INVALID_ADDRESS, download(m, AT_OUT + 16, size));
    assert_status(INVALID_ADDRESS, download(m, NOT_RAM, size));
    for (size_t i = 0; i < sizeof(bytes) / sizeof(bytes[0]); i++) {
        ram_get(m, AT_OUT + bytes[i], &byte, 1);
        byte ^= 1;
        ram_put(m, AT_OUT + bytes[i], &byte, 1);
        assert_status(BAD_SIGNATURE, download(m, AT_OUT, size));
        byte ^= 1;
        ram_put(m, AT_OUT + bytes[i], &byte, 1);
    }
    assert_status(BAD_SIGNATURE, download(m, AT_OUT, image_put(m, AT_OUT, PART - 1, 0x013728)));
    assert_runs(m, API_MAJOR_, API_MINOR_, BUILD_);
    assert_status(SUCCESS, download(m, AT_OUT, image_put(m, AT_OUT, PART, 0x013728)));
    assert_runs(m, 1, 55, 40);
}

static void contradictory_configurations_are_refused(void **state)
{
    struct machine *m = *state;
    struct sevfw_config config;

#define REFUSED(field, value) \
    config = m->config;       \
    config.field = (value);   \
    assert_null(sevfw_new(&config, machine_ops(), m))
    REFUSED(cpus, 0);
    REFUSED(cpus, SEVFW_MAX_CPUS + 1);
    REFUSED(max_guests, 0);
    REFUSED(min_sev_asid, 0);
    REFUSED(min_sev_asid, MAX_ASID + 1);
    REFUSED(c_bit, 64);
    REFUSED(phys_bits, 64);
#undef REFUSED
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(init_needs_memory_encryption),
        TEST(init_checks_flags_and_tmr),
        TEST(status_is_told_in_every_state_and_hides_the_rest_in_uninit),
        TEST(identity_survives_reset_but_pdh_does_not),
        TEST(platform_reset_erases_the_identity),
        TEST(damaged_persistent_data_is_reported_once),
        TEST(blank_stores_of_either_kind_are_new),
        TEST(secrets_are_not_readable_in_persistent_data),
        TEST(another_chips_persistent_data_is_invalid),
        TEST(init_ex_keeps_its_data_in_the_hosts_buffer),
        TEST(new_pek_means_new_owner_and_new_pdh),
        TEST(exported_chain_verifies),
        TEST(lengths_of_exports_are_reported),
        TEST(chip_id_is_told_in_every_state),
        TEST(imported_owner_certificate_makes_the_platform_owned),
        TEST(shutdown_wipes_the_identity_from_memory),
        TEST(owner_certificates_are_refused_when_wrong),
        TEST(a_newer_image_runs_until_the_machine_is_reset),
        TEST(images_of_any_version_are_taken),
        TEST(an_image_that_is_not_whole_genuine_and_of_this_family_changes_nothing),
        TEST(contradictory_configurations_are_refused),
    };

    return cmocka_run_group_tests_name("firmware platform", tests, NULL, NULL);
}
