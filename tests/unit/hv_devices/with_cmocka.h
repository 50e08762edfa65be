/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* cmocka with what it wants to be included before it. */
#ifndef TESTS_UNIT_HV_DEVICES_WITH_CMOCKA_H
#define TESTS_UNIT_HV_DEVICES_WITH_CMOCKA_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>
#include "../cmocka_names.h"

#endif
