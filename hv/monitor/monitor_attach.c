/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which guest is attached to the console. */
#include "hv/monitor/monitor_attach.h"

#include "hv/console/console.h"
#include "hv/console/line.h"
#include "hv/console/output.h"
#include "hv/vm/guest.h"

static uint32_t attached = MONITOR_NOBODY;

void monitor_detach_ended(void)
{
    if (attached == MONITOR_NOBODY || !guests[attached].stays_ended)
        return;
    monitor_attach(MONITOR_NOBODY);
    line_print("monitor: the attached guest has ended: detached");
}

void monitor_attach(uint32_t guest)
{
    attached = guest;
    output_let_through(guest == MONITOR_NOBODY ? NULL : &guests[guest].output);
}

uint32_t monitor_attached(void)
{
    return attached;
}
