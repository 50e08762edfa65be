/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Whether the control guest is of no more use: all others have ended, and nobody is there who might launch one again. */
#include "guest/control/leave.h"

#include <stdint.h>

#include "guest/control/ask.h"
#include "guest/control/machine.h"

#define LOOK_MS 1000u
#define SILENT_MS 10000u /* since the line was used: whoever used it has gone */
#define LOOKS 2u /* in a row: a guest that is launched again is in state ended for a moment */

static bool line_used;
static uint64_t used_ms, looked_ms;
static uint32_t looks; /* that found all ended, in a row */
static uint32_t first; /* a guest that had not ended when it was looked at last: one request is enough for most looks */

void leave_line_used(void)
{
    line_used = true;
    used_ms = machine_ms();
}

/* False for a control guest alone: its operator wants the platform. */
static bool all_others_ended(void)
{
    struct control_platform platform;
    struct control_guest info;

    if (ask_platform_info(&platform) != CONTROL_OK)
        return false;
    for (uint32_t i = 0; i < platform.guests; i++) {
        uint32_t guest = (first + i) % platform.guests;

        if (guest == platform.self)
            continue;
        if (ask_guest_info(guest, &info) != CONTROL_OK ||
            (info.state != CONTROL_STATE_ENDED && info.state != CONTROL_STATE_REFUSED)) {
            first = guest;
            return false;
        }
    }
    return platform.guests > 1;
}

bool leave_now(void)
{
    uint64_t now = machine_ms();

    if (now - looked_ms < LOOK_MS || (line_used && now - used_ms < SILENT_MS))
        return false;
    looked_ms = now;
    looks = all_others_ended() ? looks + 1 : 0;
    return looks >= LOOKS;
}
