/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* ASIDs: ranges, ownership, and the order DEACTIVATE, WBINVD everywhere, DF_FLUSH. */
#include "fixture.h"

static void after_init_every_asid_is_dirty(void **state)
{
    struct machine *m = *state;
    uint32_t handle;

    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    for (uint32_t asid = MIN_ASID; asid <= MAX_ASID; asid++) {
        assert_status(WBINVD_REQUIRED, activate(m, handle, asid));
    }
    assert_status(WBINVD_REQUIRED, command0(m, SEVFW_CMD_DF_FLUSH));
    wbinvd_everywhere(m);
    for (uint32_t asid = MIN_ASID; asid <= MAX_ASID; asid++) {
        assert_status(DF_FLUSH_REQUIRED, activate(m, handle, asid));
    }
    assert_status(SUCCESS, command0(m, SEVFW_CMD_DF_FLUSH));
    assert_status(SUCCESS, activate(m, handle, MAX_ASID));
}

static void df_flush_waits_for_every_core(void **state)
{
    struct machine *m = *state;

    assert_status(SUCCESS, do_init(m));
    for (uint32_t cpu = 0; cpu < CPUS; cpu++) {
        assert_status(WBINVD_REQUIRED, command0(m, SEVFW_CMD_DF_FLUSH));
        sevfw_wbinvd(m->fw, 0);
        sevfw_wbinvd(m->fw, CPUS + cpu); /* no such CPU */
        sevfw_wbinvd(m->fw, cpu);
    }
    assert_status(SUCCESS, command0(m, SEVFW_CMD_DF_FLUSH));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_DF_FLUSH));
}

static void asid_is_recycled_only_in_the_documented_order(void **state)
{
    struct machine *m = *state;
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_RUNNING, MIN_ASID);
    assert_true(m->installed[MIN_ASID]);
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DEACTIVATE, handle));
    assert_false(m->installed[MIN_ASID]);
    assert_status(WBINVD_REQUIRED, activate(m, handle, MIN_ASID));
    assert_status(WBINVD_REQUIRED, command0(m, SEVFW_CMD_DF_FLUSH));
    assert_status(SUCCESS, activate(m, handle, MIN_ASID + 1)); /* a clean one serves at once */
    wbinvd_everywhere(m);
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DEACTIVATE, handle)); /* the race of psp-mailbox section 5 */
    assert_status(WBINVD_REQUIRED, command0(m, SEVFW_CMD_DF_FLUSH));
    wbinvd_everywhere(m);
    assert_status(DF_FLUSH_REQUIRED, activate(m, handle, MIN_ASID));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_DF_FLUSH));
    assert_status(SUCCESS, activate(m, handle, MIN_ASID));
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DEACTIVATE, handle));
    assert_status(SUCCESS, activate(m, handle, MIN_ASID + 1));
}

static void df_flush_leaves_active_guests_alone(void **state)
{
    struct machine *m = *state;

    bring_up(m);
    (void)guest_in(m, SEVFW_GUEST_RUNNING, MIN_ASID);
    wbinvd_everywhere(m);
    assert_status(SUCCESS, command0(m, SEVFW_CMD_DF_FLUSH));
    assert_true(sevfw_asid_active(m->fw, MIN_ASID));
    assert_true(m->installed[MIN_ASID]);
}

static void asids_out_of_range_or_taken_are_refused(void **state)
{
    struct machine *m = *state;
    static const uint32_t wrong[] = {0, 1, MIN_ASID - 1, MAX_ASID + 1, 0x10000, UINT32_MAX};
    uint32_t handle, other;

    bring_up(m);
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_status(INVALID_ASID, activate(m, handle, wrong[i]));
        assert_false(sevfw_asid_active(m->fw, wrong[i]));
    }
    assert_status(SUCCESS, activate(m, handle, MIN_ASID));
    assert_status(ACTIVE, activate(m, handle, MIN_ASID + 1));
    assert_status(SUCCESS, launch_start(m, 0, handle, &other)); /* shares the key, not the ASID */
    assert_status(ASID_OWNED, activate(m, other, MIN_ASID));
    assert_status(INVALID_GUEST, activate(m, 0, MIN_ASID));
}

static void deactivate_and_decommission_come_in_that_order(void **state)
{
    struct machine *m = *state;
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_LUPDATE, MIN_ASID);
    assert_status(ACTIVE, by_handle(m, SEVFW_CMD_DECOMMISSION, handle));
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DEACTIVATE, handle));
    assert_status(INACTIVE, by_handle(m, SEVFW_CMD_DEACTIVATE, handle));
    assert_status(INACTIVE, update_data(m, handle, AT_GUEST, 16));
    assert_status(SUCCESS, by_handle(m, SEVFW_CMD_DECOMMISSION, handle));
    assert_status(INVALID_GUEST, by_handle(m, SEVFW_CMD_DEACTIVATE, handle));
}

static void shutdown_destroys_guests_and_init_then_wants_wbinvd(void **state)
{
    struct machine *m = *state;
    uint32_t handle;

    bring_up(m);
    handle = guest_in(m, SEVFW_GUEST_RUNNING, MIN_ASID);
    assert_status(SUCCESS, command0(m, SEVFW_CMD_SHUTDOWN));
    assert_false(m->installed[MIN_ASID]);
    assert_false(sevfw_asid_active(m->fw, MIN_ASID));
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_UNINIT);
    assert_status(WBINVD_REQUIRED, do_init(m));
    wbinvd_everywhere(m);
    assert_status(SUCCESS, do_init(m));
    assert_status(INVALID_GUEST, by_handle(m, SEVFW_CMD_DECOMMISSION, handle));
}

static void shutdown_without_installed_keys_needs_no_wbinvd(void **state)
{
    struct machine *m = *state;
    uint32_t handle;

    bring_up(m);
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    assert_status(SUCCESS, command0(m, SEVFW_CMD_SHUTDOWN));
    assert_status(SUCCESS, do_init(m));
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    assert_status(WBINVD_REQUIRED, activate(m, handle, MIN_ASID)); /* dirty again */
}

static void activate_ex_checks_its_list(void **state)
{
    struct machine *m = *state;
    uint8_t buf[0x18] = {0}, ids[8] = {0};
    uint32_t handle;

    bring_up(m);
    assert_status(SUCCESS, launch_start(m, 0, 0, &handle));
    set32(buf, 0x00, 0x18);
    set32(buf, 0x04, handle);
    set32(buf, 0x08, MIN_ASID);
    set32(buf, 0x0C, 2);
    set64(buf, 0x10, AT_OUT);
    set32(ids, 4, CPUS);
    ram_put(m, AT_OUT, ids, sizeof(ids));
    assert_status(INVALID_PARAM, command(m, SEVFW_CMD_ACTIVATE_EX, buf, sizeof(buf)));
    set32(ids, 4, CPUS - 1);
    ram_put(m, AT_OUT, ids, sizeof(ids));
    set32(buf, 0x0C, 0);
    assert_status(INVALID_PARAM, command(m, SEVFW_CMD_ACTIVATE_EX, buf, sizeof(buf)));
    set32(buf, 0x0C, UINT32_MAX);
    assert_status(INVALID_PARAM, command(m, SEVFW_CMD_ACTIVATE_EX, buf, sizeof(buf)));
    set32(buf, 0x0C, 2);
    set32(buf, 0x00, 0x14);
    assert_status(INVALID_LENGTH, command(m, SEVFW_CMD_ACTIVATE_EX, buf, sizeof(buf)));
    set32(buf, 0x00, 0x18);
    set64(buf, 0x10, NOT_RAM);
    assert_status(INVALID_ADDRESS, command(m, SEVFW_CMD_ACTIVATE_EX, buf, sizeof(buf)));
    set64(buf, 0x10, AT_OUT);
    set32(buf, 0x08, MAX_ASID + 1);
    assert_status(INVALID_ASID, command(m, SEVFW_CMD_ACTIVATE_EX, buf, sizeof(buf)));
    set32(buf, 0x08, MIN_ASID);
    assert_status(SUCCESS, command(m, SEVFW_CMD_ACTIVATE_EX, buf, sizeof(buf)));
    assert_true(m->installed[MIN_ASID]);
    assert_status(ACTIVE, command(m, SEVFW_CMD_ACTIVATE_EX, buf, sizeof(buf)));
}

static void system_reset_forgets_guests_and_keys(void **state)
{
    struct machine *m = *state;

    bring_up(m);
    (void)guest_in(m, SEVFW_GUEST_RUNNING, MIN_ASID);
    sevfw_reset(m->fw);
    assert_false(m->installed[MIN_ASID]);
    assert_int_equal(platform_state(m), SEVFW_PLATFORM_UNINIT);
    bring_up(m);
    (void)guest_in(m, SEVFW_GUEST_RUNNING, MIN_ASID);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, machine_setup, machine_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(after_init_every_asid_is_dirty),
        TEST(df_flush_waits_for_every_core),
        TEST(asid_is_recycled_only_in_the_documented_order),
        TEST(df_flush_leaves_active_guests_alone),
        TEST(asids_out_of_range_or_taken_are_refused),
        TEST(deactivate_and_decommission_come_in_that_order),
        TEST(shutdown_destroys_guests_and_init_then_wants_wbinvd),
        TEST(shutdown_without_installed_keys_needs_no_wbinvd),
        TEST(activate_ex_checks_its_list),
        TEST(system_reset_forgets_guests_and_keys),
    };

    return cmocka_run_group_tests_name("firmware asid", tests, NULL, NULL);
}
