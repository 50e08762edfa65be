/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Only the table that was checked is used: a manifest that changes while hv reads it launches nothing. */
#include "with_cmocka.h"

#include <string.h>

#include "hv/control/job.h"
#include "hv/control/lifecycle.h"
#include "three_guests.h"

/* The manifest, where hv reads it; and what happens to it right before and right after hv's check. */
static struct good *source;
static void (*before)(void), (*after)(void);

enum manifest_error __real_manifest_check(const void *manifest, uint64_t size, struct manifest_where *where);
enum manifest_error __wrap_manifest_check(const void *manifest, uint64_t size, struct manifest_where *where);

enum manifest_error __wrap_manifest_check(const void *manifest, uint64_t size, struct manifest_where *where)
{
    source = (struct good *)(uintptr_t)manifest;
    if (before != NULL)
        before();
    enum manifest_error error = __real_manifest_check(manifest, size, where);
    if (after != NULL)
        after();
    return error;
}

static void one_guest_less(void)
{
    source->header.guest_count--;
}

static void a_longer_manifest(void)
{
    source->header.total_size++;
}

static void another_step(void)
{
    source->steps[GOOD_STEPS - 1].gpa = 0;
}

static void another_owner(void)
{
    source->guests[SEV].sev_policy ^= 8;
}

/* Sound, too: what was copied before is not what is checked now. */
static void another_sound_manifest(void)
{
    another_owner();
    good_seal(source);
}

static void a_manifest_that_changes_meanwhile_launches_nothing(void **state)
{
    static void (*const changes[])(void) = {one_guest_less, a_longer_manifest, another_step, another_owner,
                                            another_sound_manifest};
    (void)state;
    for (unsigned i = 0; i < sizeof changes / sizeof *changes; i++) {
        boot((struct machine_options){0});
        struct free_now free_before = free_now();
        before = NULL;
        after = changes[i];
        launch();
        assert_true(machine_said("the manifest changed while it was read: "));
        assert_false(lifecycle_active());
        assert_null(guests[0].config);
        assert_int_equal(free_now().pool, free_before.pool);
    }
    boot((struct machine_options){0});
    after = NULL;
    before = another_sound_manifest;
    launch();
    assert_true(machine_said("the manifest changed while it was read: "));
    assert_null(guests[0].config);
}

static void a_refused_manifest_leaves_no_page_behind(void **state)
{
    (void)state;
    before = after = NULL;
    for (unsigned i = 0; i < 3; i++) {
        manifest_of_three();
        if (i == 0)
            good.header.guest_count = UINT32_MAX;
        else if (i == 1)
            good.header.step_count = UINT32_MAX;
        else
            good.guests[0].vcpus = 0;
        good_seal(&good);
        boot((struct machine_options){0});
        struct free_now free_before = free_now();
        launch();
        assert_true(machine_said(i == 0   ? "MANIFEST_TOO_MANY_GUESTS"
                                 : i == 1 ? "MANIFEST_TOO_MANY_STEPS"
                                          : "MANIFEST_NO_VCPUS"));
        assert_true(machine_said(i < 2 ? "(guest -1, step -1)\n" : "(guest 0, step -1)\n"));
        assert_int_equal(free_now().pool, free_before.pool);
    }
    manifest_of_three();
}

static void what_changes_later_is_not_looked_at(void **state)
{
    (void)state;
    before = after = NULL;
    launch();
    one_guest_less();
    another_owner();
    assert_int_equal(guests[SEV].config->sev_policy, 0x01010001);
    assert_int_equal(guest_count(), GOOD_GUESTS);
    finish(GUEST_END_POWEROFF);
    all_is_back();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_manifest_that_changes_meanwhile_launches_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_refused_manifest_leaves_no_page_behind, setup, teardown),
        cmocka_unit_test_setup_teardown(what_changes_later_is_not_looked_at, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
