/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What all of these tests include, in the order that cmocka asks for. */
#ifndef SEVISOR_TEST_H
#define SEVISOR_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include "../cmocka_names.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Numbers that look random and are the same in every run. */
static inline uint64_t test_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

#endif
