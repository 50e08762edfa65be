/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv/control/control.c, in a process that boots often. */
#include "hv/control/control.c"

#include "fake_machine.h"

void control_forget(void)
{
    memset(&control, 0, sizeof(control));
}
