/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which command is legal in which state, written down a second time from the reference
 * (sections 3 and 4), and each status that the firmware is documented to give. */
#include "fixture.h"

#define U 1u /* platform UNINIT, INIT, WORKING */
#define I 2u
#define W 4u
#define LU 1u /* guest LUPDATE, LSECRET, RUNNING, SUPDATE, RUPDATE, SENT */
#define LS 2u
#define RU 4u
#define SU 8u
#define RE 16u
#define SE 32u
#define ALL (LU | LS | RU | SU | RE | SE)

static const struct row {
    uint32_t id;
    uint8_t size;
    uint8_t platform;
    uint8_t guest;         /* 0: names no guest */
    uint8_t handle_offset;
} rows[] = {
    {SEVFW_CMD_INIT, 0x14, U, 0, 0},
    {SEVFW_CMD_SHUTDOWN, 0, U | I | W, 0, 0},
    {SEVFW_CMD_PLATFORM_RESET, 0, U, 0, 0},
    {SEVFW_CMD_PLATFORM_STATUS, 0x0C, U | I | W, 0, 0},
    {SEVFW_CMD_PEK_GEN, 0, I, 0, 0},
    {SEVFW_CMD_PEK_CSR, 0x0C, I | W, 0, 0},
    {SEVFW_CMD_PEK_CERT_IMPORT, 0x1C, I, 0, 0},
    {SEVFW_CMD_PDH_CERT_EXPORT, 0x1C, I | W, 0, 0},
    {SEVFW_CMD_PDH_GEN, 0, I | W, 0, 0},
    {SEVFW_CMD_DF_FLUSH, 0, I | W, 0, 0},
    {SEVFW_CMD_DOWNLOAD_FIRMWARE, 0x0C, U, 0, 0},
    {SEVFW_CMD_GET_ID, 0x0C, U | I | W, 0, 0},
    {SEVFW_CMD_INIT_EX, 0x24, U, 0, 0},
    {SEVFW_CMD_NOP, 0, U | I | W, 0, 0},
    {SEVFW_CMD_DECOMMISSION, 0x04, I | W, ALL, 0},
    {SEVFW_CMD_ACTIVATE, 0x08, I | W, ALL, 0},
    {SEVFW_CMD_DEACTIVATE, 0x04, I | W, ALL, 0},
    {SEVFW_CMD_GUEST_STATUS, 0x0D, I | W, ALL, 0},
    {SEVFW_CMD_ACTIVATE_EX, 0x18, I | W, ALL, 4},
    {SEVFW_CMD_LAUNCH_START, 0x24, I | W, 0, 0},
    {SEVFW_CMD_LAUNCH_UPDATE_DATA, 0x14, I | W, LU, 0},
    {SEVFW_CMD_LAUNCH_UPDATE_VMSA, 0x14, I | W, LU, 0},
    {SEVFW_CMD_LAUNCH_MEASURE, 0x14, I | W, LU, 0},
    {SEVFW_CMD_LAUNCH_SECRET, 0x34, I | W, LS, 0},
    {SEVFW_CMD_LAUNCH_FINISH, 0x04, I | W, LS, 0},
    {SEVFW_CMD_ATTESTATION, 0x24, I | W, RU, 0},
    {SEVFW_CMD_DBG_DECRYPT, 0x1C, I | W, RU, 0},
    {SEVFW_CMD_DBG_ENCRYPT, 0x1C, I | W, RU, 0},
    {SEVFW_CMD_COPY, 0x18, I | W, RU, 0},
    {SEVFW_CMD_SEND_START, 0x44, I | W, RU, 0},
    {SEVFW_CMD_SEND_UPDATE_DATA, 0x34, I | W, SU, 0},
    {SEVFW_CMD_SEND_UPDATE_VMSA, 0x34, I | W, SU, 0},
    {SEVFW_CMD_SEND_FINISH, 0x04, I | W, SU, 0},
    {SEVFW_CMD_SEND_CANCEL, 0x04, I | W, SU, 0},
    {SEVFW_CMD_RECEIVE_START, 0x24, I | W, 0, 0},
    {SEVFW_CMD_RECEIVE_UPDATE_DATA, 0x34, I | W, RE, 0},
    {SEVFW_CMD_RECEIVE_UPDATE_VMSA, 0x34, I | W, RE, 0},
    {SEVFW_CMD_RECEIVE_FINISH, 0x04, I | W, RE, 0},
    {SEVFW_CMD_SWAP_OUT, 0x28, I | W, RU, 0},
    {SEVFW_CMD_SWAP_IN, 0x20, I | W, RU, 0},
    {SEVFW_CMD_RING_BUFFER, 0x28, I | W, 0, 0},
};

#define ROWS (sizeof(rows) / sizeof(rows[0]))

static uint16_t run(struct machine *m, const struct row *row, uint32_t handle)
{
    uint8_t buf[0x48] = {0};

    if (row->guest) {
        set32(buf, row->handle_offset, handle);
    }
    return command(m, row->id, buf, row->size);
}

/* A fresh machine in the wanted platform state. */
static void to_platform(struct machine *m, uint8_t wanted)
{
    uint32_t handle;

    sevfw_reset(m->fw);
    m->nv_there = false;
    if (wanted != U) {
        bring_up(m);
    }
    if (wanted == W) {
        assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    }
}

static void commands_are_legal_in_their_platform_states_only(void **state)
{
    struct machine *m = *state;

    for (size_t i = 0; i < ROWS; i++) {
        for (uint8_t wanted = U; wanted <= W; wanted = (uint8_t)(wanted << 1)) {
            uint16_t status;

            to_platform(m, wanted);
            status = run(m, &rows[i], 0x4711);
            if (rows[i].platform & wanted) {
                assert_int_not_equal(status, SEVFW_INVALID_PLATFORM_STATE);
            } else {
                assert_status(INVALID_PLATFORM_STATE, status);
            }
            if (rows[i].guest && (rows[i].platform & wanted)) {
                assert_status(INVALID_GUEST, status); /* no guest 0x4711 */
            }
        }
    }
}

static void commands_are_legal_in_their_guest_states_only(void **state)
{
    struct machine *m = *state;

    for (size_t i = 0; i < ROWS; i++) {
        for (unsigned in = SEVFW_GUEST_LUPDATE; rows[i].guest && in <= SEVFW_GUEST_SENT; in++) {
            uint32_t handle;
            uint16_t status;

            sevfw_reset(m->fw);
            bring_up(m);
            handle = guest_in(m, in, MIN_ASID);
            status = run(m, &rows[i], handle);
            if (rows[i].guest & 1u << (in - SEVFW_GUEST_LUPDATE)) {
                assert_int_not_equal(status, SEVFW_INVALID_GUEST_STATE);
            } else {
                assert_status(INVALID_GUEST_STATE, status);
                assert_int_equal(guest_state(m, handle), in);
            }
            assert_int_not_equal(status, SEVFW_INVALID_GUEST);
        }
    }
}

static void commands_that_work_on_memory_want_an_active_guest(void **state)
{
    struct machine *m = *state;
    static const struct {
        uint32_t id;
        unsigned in;
    } needy[] = {{SEVFW_CMD_LAUNCH_UPDATE_DATA, SEVFW_GUEST_LUPDATE},
                 {SEVFW_CMD_LAUNCH_SECRET, SEVFW_GUEST_LSECRET},
                 {SEVFW_CMD_DBG_DECRYPT, SEVFW_GUEST_RUNNING},
                 {SEVFW_CMD_DBG_ENCRYPT, SEVFW_GUEST_RUNNING},
                 {SEVFW_CMD_COPY, SEVFW_GUEST_RUNNING},
                 {SEVFW_CMD_SEND_UPDATE_DATA, SEVFW_GUEST_SUPDATE},
                 {SEVFW_CMD_RECEIVE_UPDATE_DATA, SEVFW_GUEST_RUPDATE}};

    bring_up(m);
    for (size_t i = 0; i < sizeof(needy) / sizeof(needy[0]); i++) {
        uint32_t handle = guest_in(m, needy[i].in, MIN_ASID + (uint32_t)i);
        uint16_t status;

        assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DEACTIVATE, handle));
        if (needy[i].id == SEVFW_CMD_LAUNCH_UPDATE_DATA) {
            status = update_data(m, handle, AT_GUEST, 16);
        } else if (needy[i].id == SEVFW_CMD_COPY) {
            status = copy(m, handle, AT_GUEST, AT_TMR, 16);
        } else if (needy[i].id != SEVFW_CMD_DBG_DECRYPT && needy[i].id != SEVFW_CMD_DBG_ENCRYPT) {
            status = packet(m, needy[i].id, handle, AT_GUEST, 16, 16);
        } else {
            status = dbg(m, needy[i].id, handle, AT_GUEST, AT_TMR, 16);
        }
        assert_status(INACTIVE, status);
    }
}

static void unknown_commands_are_invalid_in_every_state(void **state)
{
    struct machine *m = *state;

    for (uint8_t wanted = U; wanted <= W; wanted = (uint8_t)(wanted << 1)) {
        to_platform(m, wanted);
        for (uint32_t id = 0; id < 0x800; id++) {
            bool known = false;

            for (size_t i = 0; i < ROWS; i++) {
                known |= rows[i].id == id;
            }
            if (!known) {
                assert_status(INVALID_COMMAND, sevfw_command(m->fw, id, NOT_RAM));
            }
        }
        assert_status(INVALID_COMMAND, sevfw_command(m->fw, UINT32_MAX, 0));
    }
}

static void command_buffers_must_be_ram_as_a_whole(void **state)
{
    struct machine *m = *state;
    static const uint64_t wrong[] = {NOT_RAM,
                                     RAM_SIZE - 2,
                                     (UINT64_C(1) << PHYS_BITS),
                                     UINT64_MAX,
                                     (UINT64_C(1) << PHYS_BITS) - 1,
                                     UINT64_C(0xFFFFFFFFFFFFFF00)};

    bring_up(m);
    for (size_t i = 0; i < ROWS; i++) {
        for (size_t at = 0; rows[i].size > 0 && at < sizeof(wrong) / sizeof(wrong[0]); at++) {
            assert_status(INVALID_ADDRESS, sevfw_command(m->fw, rows[i].id, wrong[at]));
        }
    }
}

static void command_buffer_is_read_and_written_through_the_view_that_its_c_bit_names(void **state)
{
    struct machine *m = *state;
    uint8_t plain[12], seen[12];

    assert_status(SUCCESS, sevfw_command(m->fw, SEVFW_CMD_PLATFORM_STATUS, AT_COMMAND | C_BIT));
    ram_get(m, AT_COMMAND | C_BIT, seen, sizeof(seen));
    ram_get(m, AT_COMMAND, plain, sizeof(plain));
    assert_int_equal(seen[0], API_MAJOR_);
    assert_int_equal(seen[1], API_MINOR_);
    assert_memory_not_equal(seen, plain, sizeof(seen));
}

static void last_handle_is_that_of_the_last_command(void **state)
{
    struct machine *m = *state;
    uint32_t handle, traced = 0;

    assert_false(sevfw_last_handle(m->fw, &traced));
    bring_up(m);
    assert_false(sevfw_last_handle(m->fw, &traced));
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    assert_true(sevfw_last_handle(m->fw, &traced));
    assert_int_equal(traced, handle);
    assert_status(INVALID_GUEST, by_handle(m, SEVFW_CMD_DEACTIVATE, 77));
    assert_true(sevfw_last_handle(m->fw, &traced));
    assert_int_equal(traced, 77);
    assert_status(SUCCESS, command0(m, SEVFW_CMD_NOP));
    assert_false(sevfw_last_handle(m->fw, &traced));
}

static void names_and_numbers_agree(void **state)
{
    uint32_t id;
    uint16_t status;

    (void)state;
    assert_string_equal(sevfw_command_name(0x31), "LAUNCH_UPDATE_DATA");
    assert_string_equal(sevfw_status_name(0x0F), "DF_FLUSH_REQUIRED");
    assert_null(sevfw_command_name(0));
    assert_null(sevfw_status_name(0x1E));
    assert_true(sevfw_command_by_name("INIT_EX", &id));
    assert_int_equal(id, 0x0D);
    assert_true(sevfw_status_by_name("ACTIVE", &status));
    assert_int_equal(status, 0x12);
    assert_false(sevfw_command_by_name("LAUNCH", &id));
    assert_false(sevfw_status_by_name("", &status));
}

/* One walk that meets every status of sections 2 and 5 but those of features that the
 * model has not got (SNP, firmware update) and HWERROR_UNSAFE. */
static void every_documented_status_is_reachable(void **state)
{
    struct machine *m = *state;
    struct owner owner;
    uint8_t out[48], buf[0x24] = {0}, es[0x14] = {0};
    uint32_t handle, other;

    m->smee = false;
    assert_status(HWERROR_PLATFORM, do_init(m));
    m->smee = true;
    memset(m->nv, 1, sizeof(m->nv));
    m->nv_there = true;
    assert_status(SECURE_DATA_INVALID, do_init(m));
    assert_status(INVALID_COMMAND, command0(m, 0x10));
    assert_status(INVALID_PLATFORM_STATE, command0(m, SEVFW_CMD_DF_FLUSH));
    assert_status(SUCCESS, do_init(m));
    assert_status(WBINVD_REQUIRED, command0(m, SEVFW_CMD_DF_FLUSH));
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    wbinvd_everywhere(m);
    assert_status(DF_FLUSH_REQUIRED, activate(m, handle, MIN_ASID));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_DF_FLUSH));
    assert_status(INACTIVE, update_data(m, handle, AT_GUEST, 16));
    assert_status(INVALID_ASID, activate(m, handle, 0));
    assert_status(SUCCESS, activate(m, handle, MIN_ASID));
    assert_status(ACTIVE, by_handle(m, SEVFW_CMD_DECOMMISSION, handle));
    assert_status(SUCCESS, launch_start(m, 0, 0, &other));
    assert_status(ASID_OWNED, activate(m, other, MIN_ASID));
    assert_status(INVALID_GUEST_STATE, by_handle(m, SEVFW_CMD_LAUNCH_FINISH, handle));
    assert_status(INVALID_GUEST, by_handle(m, SEVFW_CMD_LAUNCH_FINISH, 0));
    assert_status(INVALID_LENGTH, update_data(m, handle, AT_GUEST, 1));
    assert_status(INVALID_ADDRESS, update_data(m, handle, NOT_RAM, 16));
    assert_status(INVALID_PARAM, launch_start(m, 0x8000, 0, &other));
    assert_status(POLICY_FAILURE, launch_start(m, 0x00FF0000, 0, &other));
    assert_status(UNSUPPORTED, launch_start(m, SEVFW_POLICY_ES, 0, &other));
    set32(buf, 0, handle);
    assert_status(INVALID_CONFIG, command(m, SEVFW_CMD_LAUNCH_UPDATE_VMSA, buf, 0x14));
    owner_make(&owner, 1);
    assert_status(BAD_MEASUREMENT, launch_start_session(m, &owner, 0, &other));
    memset(buf, 0, sizeof(buf));
    set64(buf, 8, AT_GUEST); /* zeros are no certificate */
    set32(buf, 0x10, 2084);
    set64(buf, 0x18, AT_SESSION);
    set32(buf, 0x20, 128);
    assert_status(INVALID_CERTIFICATE, command(m, SEVFW_CMD_LAUNCH_START, buf, sizeof(buf)));
    assert_status(SUCCESS, measure(m, handle, out));
    while (m->fw->guest_count < MAX_GUESTS) {
        assert_status(SUCCESS, launch_start(m, 0, 0, &other));
    }
    assert_status(RESOURCE_LIMIT, launch_start(m, 0, 0, &other));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_SHUTDOWN));
    wbinvd_everywhere(m);
    assert_status(BAD_SIGNATURE, download(m, AT_OUT, image_put(m, AT_OUT, PART + 1, 0x013728)));
    es[0] = 1;
    set64(es, 8, AT_TMR);
    set32(es, 0x10, 0x100000);
    assert_status(SUCCESS, command(m, SEVFW_CMD_INIT, es, sizeof(es)));
    m->fw->id.owner = 1; /* test_platform.c gets there by the front door */
    memset(buf, 0, sizeof(buf));
    set32(buf, 0x08, 2084);
    set32(buf, 0x18, 2084);
    assert_status(ALREADY_OWNED, command(m, SEVFW_CMD_PEK_CERT_IMPORT, buf, 0x1C));
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    memset(buf, 0, sizeof(buf));
    set32(buf, 0, handle);
    assert_status(POLICY_FAILURE, command(m, SEVFW_CMD_LAUNCH_UPDATE_VMSA, buf, 0x14)); /* ES platform, guest without */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(commands_are_legal_in_their_platform_states_only),
        TEST(commands_are_legal_in_their_guest_states_only),
        TEST(commands_that_work_on_memory_want_an_active_guest),
        TEST(unknown_commands_are_invalid_in_every_state),
        TEST(command_buffers_must_be_ram_as_a_whole),
        TEST(command_buffer_is_read_and_written_through_the_view_that_its_c_bit_names),
        TEST(last_handle_is_that_of_the_last_command),
        TEST(names_and_numbers_agree),
        TEST(every_documented_status_is_reachable),
    };

    return cmocka_run_group_tests_name("firmware states", tests, NULL, NULL);
}
