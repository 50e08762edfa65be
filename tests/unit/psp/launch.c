/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "launch.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

const uint8_t launch_commands[] = {
    SEV_CMD_PLATFORM_STATUS, SEV_CMD_GET_ID,        SEV_CMD_PDH_CERT_EXPORT,
    SEV_CMD_LAUNCH_START,    SEV_CMD_ACTIVATE,      SEV_CMD_LAUNCH_UPDATE_DATA,
    SEV_CMD_LAUNCH_MEASURE,  SEV_CMD_LAUNCH_FINISH, SEV_CMD_GUEST_STATUS,
    SEV_CMD_DEACTIVATE,      SEV_CMD_DECOMMISSION,  SEV_CMD_DF_FLUSH,
};
const unsigned launch_command_count = sizeof(launch_commands) / sizeof(*launch_commands);

struct psp_result launch_start(struct psp *psp, uint32_t policy, const void *cert, const void *session,
                               uint32_t *handle)
{
    return sev_guest_start_answer(psp, psp_wait(psp, sev_guest_start(psp, SEV_CMD_LAUNCH_START, policy, cert, session)),
                                  handle);
}

struct psp_result launch_step(struct launch *l, uint8_t command)
{
    struct psp *psp = &l->psp;
    struct psp_result r = {.error = PSP_STATE};

    switch (command) {
    case SEV_CMD_INIT:
        return psp_wait(psp, sev_command(psp, SEV_CMD_INIT, 0));
    case SEV_CMD_SHUTDOWN:
        return psp_wait(psp, sev_command(psp, SEV_CMD_SHUTDOWN, 0));
    case SEV_CMD_PLATFORM_STATUS:
        return sev_platform_status_answer(psp, psp_wait(psp, sev_command(psp, SEV_CMD_PLATFORM_STATUS, 0)));
    case SEV_CMD_GET_ID:
        return sev_get_id_answer(psp, psp_wait(psp, sev_get_id(psp)), l->id);
    case SEV_CMD_PDH_CERT_EXPORT:
        return sev_pdh_cert_export_answer(psp, psp_wait(psp, sev_pdh_cert_export(psp, fake_guest_page(8))));
    case SEV_CMD_DF_FLUSH:
        fake_wbinvd_all();
        return psp_wait(psp, sev_command(psp, SEV_CMD_DF_FLUSH, 0));
    case SEV_CMD_LAUNCH_START:
        r = launch_start(psp, LAUNCH_POLICY, NULL, NULL, &l->handle);
        l->started = psp_ok(r);
        return r;
    case SEV_CMD_ACTIVATE:
        r = psp_wait(psp, sev_activate(psp, l->handle, LAUNCH_ASID));
        l->active = psp_ok(r);
        return r;
    case SEV_CMD_LAUNCH_UPDATE_DATA:
        return psp_wait(psp, sev_launch_update_data(psp, l->handle, fake_guest_page(0), LAUNCH_BYTES));
    case SEV_CMD_LAUNCH_MEASURE:
        return sev_launch_measure_answer(psp, psp_wait(psp, sev_launch_measure(psp, l->handle)), &l->measurement);
    case SEV_CMD_LAUNCH_FINISH:
        return psp_wait(psp, sev_command(psp, SEV_CMD_LAUNCH_FINISH, l->handle));
    case SEV_CMD_GUEST_STATUS:
        r = psp_wait(psp, sev_command(psp, SEV_CMD_GUEST_STATUS, l->handle));
        memcpy(&l->status, psp->answer, sizeof(l->status));
        return r;
    case SEV_CMD_DEACTIVATE:
        r = psp_wait(psp, sev_command(psp, SEV_CMD_DEACTIVATE, l->handle));
        l->active = l->active && !psp_ok(r);
        return r;
    case SEV_CMD_DECOMMISSION:
        r = psp_wait(psp, sev_command(psp, SEV_CMD_DECOMMISSION, l->handle));
        l->started = l->started && !psp_ok(r);
        return r;
    }
    fail_msg("no step for command %#x", command);
    return r;
}

struct psp_result launch_run(struct launch *l)
{
    struct psp_result r = {.error = PSP_OK};

    memset(fake_ram(fake_guest_page(0).raw), 0x3c, LAUNCH_BYTES);
    for (unsigned i = 0; i < launch_command_count && psp_ok(r); i++)
        r = launch_step(l, launch_commands[i]);
    return r;
}

void launch_clean(struct launch *l)
{
    if (l->active)
        assert_int_equal(launch_step(l, SEV_CMD_DEACTIVATE).error, PSP_OK);
    if (l->started)
        assert_int_equal(launch_step(l, SEV_CMD_DECOMMISSION).error, PSP_OK);
    assert_int_equal(launch_step(l, SEV_CMD_DF_FLUSH).error, PSP_OK);
}

struct psp_result launch_try_to_attach(struct launch *l, const struct psp_location *location)
{
    return psp_wait(&l->psp, psp_attach(&l->psp, location));
}

struct psp_result launch_init(struct launch *l)
{
    struct psp_result r = launch_step(l, SEV_CMD_INIT);
    return psp_ok(r) ? launch_step(l, SEV_CMD_DF_FLUSH) : r;
}

void launch_attach(struct launch *l)
{
    memset(l, 0, sizeof(*l));
    assert_int_equal(launch_try_to_attach(l, &fake.location).error, PSP_OK);
}

void launch_up(struct launch *l)
{
    launch_attach(l);
    assert_int_equal(launch_init(l).error, PSP_OK);
}
