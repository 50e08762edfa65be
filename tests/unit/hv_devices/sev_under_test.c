/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv/control/sev.c, which starts the secure processor once in a machine's life, for a process that boots often. */
#include "hv/control/sev.c"

#include "fake_machine.h"

void sev_forget(void)
{
    psp = (struct psp){0};
    started = ready = false;
    text_format(refusal, sizeof refusal, "the secure processor was not started");
}
