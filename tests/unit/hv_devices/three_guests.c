/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "with_cmocka.h"

#include "three_guests.h"

#include "hv/svm/asid.h"
#include "hv/control/control.h"
#include "hv/control/identity.h"
#include "hv/control/jobs.h"
#include "hv/control/lifecycle.h"
#include "hv/control/sev.h"
#include "hv/mm/page.h"

struct good good;

struct free_now free_now(void)
{
    return (struct free_now){asid_free_count(ASID_PLAIN) + asid_free_count(ASID_SEV), page_free_count(),
                             memory_free_bytes()};
}

void manifest_of_three(void)
{
    good_make(&good);
    struct manifest_guest *alpha = &good.guests[SEV];
    alpha->dh_cert_offset = alpha->session_offset = alpha->dh_cert_size = alpha->session_size = 0;
    good.guests[HOST].vcpus = 1;
    for (unsigned i = 0; i < GOOD_GUESTS; i++)      /* less to scrub */
        good.guests[i].memory = GUEST_MEMORY;
    good.steps[8].gpa = GUEST_MEMORY - MANIFEST_PAGE;
    good_seal(&good);
}

void boot(struct machine_options options)
{
    machine_start(&options);
    machine_manifest(&good, sizeof(good));
}

enum job_verdict step(void)
{
    machine_look_around();
    machine_other_cpu();
    if (guest_ends_noted())
        lifecycle_begin_ends();
    enum job_verdict verdict = jobs_step();
    machine_poll();
    control_poll();
    if (verdict == JOB_WAITS && sev_mailbox_owner() != NULL)
        machine_wait();
    return verdict;
}

void settle(void)
{
    bool noted;
    do {
        enum job_verdict verdict = step();
        machine_look_around();
        noted = guest_ends_noted();
        if (noted)
            lifecycle_begin_ends();
        noted |= verdict != JOB_IDLE || job_active();
    } while (noted);
}

void platform_pages(void)
{
    psp_addr_t address;
    (void)psp_platform_command_page(&address);
    (void)psp_platform_data_page(&address);
    identity_init();
}

void launch(void)
{
    lifecycle_begin(&machine.handoff);
    settle();
}

void finish(enum guest_end_kind end)
{
    for (unsigned i = 0; i < GOOD_GUESTS; i++) {
        if (guests[i].state != GUEST_RUNNING)
            continue;
        machine_guest_writes(&guests[i], 0x7000, 0x77);
        guest_end(&guests[i], end, "test");
    }
    settle();
}

int setup(void **state)
{
    (void)state;
    manifest_of_three();
    boot((struct machine_options){0});
    return 0;
}

int teardown(void **state)
{
    (void)state;
    machine_stop();
    return 0;
}

void all_is_back(void)
{
    assert_false(machine_said("LEAK"));
    assert_int_equal(machine_scheduled(), 0);
    assert_int_equal(machine.coherency_faults, 0);
    assert_int_equal(machine.wrong_views, 0);
    assert_int_equal(machine.open_windows, 1);      /* the manifest's */
    for (unsigned i = 0; i < GOOD_GUESTS; i++)
        assert_true(guests[i].asid == 0 && guests[i].memory.size == 0 && guests[i].npt.root.raw == 0 &&
                    guests[i].vcpus[0] == NULL);
}
