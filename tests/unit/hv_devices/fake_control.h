/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the monitor asks of control/: the secure processor, and launches; and how many kinds of exits there are. */
#ifndef TESTS_UNIT_HV_DEVICES_FAKE_CONTROL_H
#define TESTS_UNIT_HV_DEVICES_FAKE_CONTROL_H

#include "hv/lib/types.h"

extern bool fake_sev_is_ready;
extern uint64_t fake_relaunched;    /* bit per guest */
extern uint32_t fake_exit_kinds;

#endif
