/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What a guest holds, given back at once. */
#ifndef SEVISOR_RELEASE_H
#define SEVISOR_RELEASE_H

#include "hv/vm/guest.h"

/* They are on no run queue. */
void release_vcpus(struct guest *guest);
void release_tables(struct guest *guest);
/* All of it, of a guest into whose memory nothing was written. */
void release_unused(struct guest *guest);

#endif
