/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the monitor asks of control/: launches, the platform's certificates, and its end. */
#ifndef TESTS_UNIT_HV_DEVICES_FAKE_CONTROL_H
#define TESTS_UNIT_HV_DEVICES_FAKE_CONTROL_H

#include "hv/lib/types.h"

extern uint64_t fake_relaunched;    /* bit per guest */
extern bool fake_stopping; /* SHUTDOWN was sent, and is not answered */

#endif
