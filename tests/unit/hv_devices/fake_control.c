/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fake_control.h"

#include <stdlib.h>

#include "hv/console/line.h"
#include "hv/control/identity.h"
#include "hv/control/lifecycle.h"
#include "hv/control/sev.h"

uint64_t fake_relaunched;

bool lifecycle_relaunch(struct guest *guest)
{
    if (guest->state != GUEST_ENDED)
        return false;
    fake_relaunched |= UINT64_C(1) << guest->index;
    return true;
}

/* For reports that no test here asks for. */
struct psp *sev_psp(void)
{
    abort();
}

bool fake_stopping;

bool sev_abandon_stop(void)
{
    return fake_stopping;
}
void identity_show(void)
{
    line_print("identity");
}

/* There are no pages: they are counted only. */
uint8_t *fake_arena;
void clflush(const void *va)
{
    (void)va;
    abort();
}
