/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The leak check compares what is free after each guest's end or refusal with what was free before the first launch. The
 * difference is held by other guests, by the secure processor's driver, or in quarantine; anything else is a leak. */
#ifndef SEVISOR_LEAK_H
#define SEVISOR_LEAK_H

#include "hv/lib/types.h"

void leak_mark(void);
/* These are not reused until the next boot. */
void leak_quarantine(uint64_t asids, uint64_t bytes);
/* Prints one line: "resources: ...: all returned" without a leak. */
void leak_check(void);

#endif
