/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv/control/sev.c and identity.c, which start the secure processor once in a machine's life, for a process that boots often. */
#include "hv/control/identity.c"
#include "hv/control/sev.c"

#include <string.h>

#include "fake_machine.h"

void sev_forget(void)
{
    psp = (struct psp){0};
    memset(&identity, 0, sizeof(identity));
    memset(&platform, 0, sizeof(platform));
    mailbox_owner = NULL;
    ready = false;
    text_format(refusal, sizeof(refusal), "the secure processor was not started");
}
