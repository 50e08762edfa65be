/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fake_control.h"

#include <stdlib.h>

#include "hv/console/line.h"
#include "hv/control/identity.h"
#include "hv/control/lifecycle.h"
#include "hv/control/sev.h"
#include "hv/vm/exit.h"

bool fake_sev_is_ready;
uint64_t fake_relaunched;
uint32_t fake_exit_kinds = VCPU_EXIT_FORBIDDEN + 1;

bool lifecycle_relaunch(struct guest *guest)
{
    if (guest->state != GUEST_ENDED)
        return false;
    fake_relaunched |= UINT64_C(1) << guest->index;
    return true;
}

const char *exit_kind_name(uint32_t kind)
{
    return kind < fake_exit_kinds ? (const char *[]){"aaaaa", "bbbbb", "ccccc"}[kind % 3] : NULL;
}

bool sev_ready(void)
{
    return fake_sev_is_ready;
}
const char *sev_refusal(void)
{
    return "this CPU has no SEV";
}
uint64_t sev_commands(void)
{
    return 77;
}
struct sev_platform_status_buffer sev_version(void)
{
    return (struct sev_platform_status_buffer){.api_major = 1, .api_minor = 55, .build = 21};
}
void identity_show(void)
{
    line_print("identity");
}

/* Pages are nobody's unless the program has a pool. */
__attribute__((weak)) uint8_t *fake_arena;
void clflush(const void *va)
{
    (void)va;
    abort();
}
