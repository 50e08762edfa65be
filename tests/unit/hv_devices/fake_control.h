/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the monitor asks of control/: launches, and the platform's certificates. */
#ifndef TESTS_UNIT_HV_DEVICES_FAKE_CONTROL_H
#define TESTS_UNIT_HV_DEVICES_FAKE_CONTROL_H

#include "hv/lib/types.h"

extern uint64_t fake_relaunched;    /* bit per guest */

#endif
