/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The synchronous wrapper, for boot/: hv's jobs poll. */
#include "psp/internal.h"

struct psp_result psp_wait(struct psp *psp, struct psp_result result)
{
    if (!psp_ok(result))
        return result;
    while (!psp_poll(psp, &result))
        psp_platform_pause();
    return result;
}
