/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The leak check: before the first launch, and after each guest's end or refusal. All that is missing then is held by a
 * guest that runs, is launched or ends, or by the secure processor's driver; or it is in quarantine, or lost. */
#ifndef SEVISOR_LEAK_H
#define SEVISOR_LEAK_H

#include "hv/lib/types.h"

void leak_mark(void);
/* Nobody gets these again until the next boot. */
void leak_quarantine(uint64_t asids, uint64_t bytes);
/* Prints one line, "resources: ...: all returned" when nothing is lost. */
void leak_check(void);

#endif
