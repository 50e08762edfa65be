/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* cmocka 2 calls assert_in_range() deprecated, and has one for numbers without a sign, which ours are; cmocka 1 has it not. After
 * cmocka.h. */
#ifndef TESTS_UNIT_CMOCKA_NAMES_H
#define TESTS_UNIT_CMOCKA_NAMES_H

#ifdef assert_uint_in_range
#undef assert_in_range
#define assert_in_range assert_uint_in_range
#endif

#endif
