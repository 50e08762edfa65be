/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What a guest holds: ASID, memory, nested page tables, vCPUs, and of the control guest the window. */
#ifndef SEVISOR_RESOURCES_H
#define SEVISOR_RESOURCES_H

#include "hv/vm/guest.h"

/* The view of a guest's memory while its launch program is placed in it. */
enum memory_view resources_launch_view(const struct guest *guest);
/* Whether this machine has what the guest wants. False: guest->end_reason says what is missing. */
bool resources_check(struct guest *guest);
/* All that the guest needs, or nothing (false): guest->end_reason says what there is too little of. */
bool resources_allocate(struct guest *guest);
/* The vCPUs are on no run queue. */
void resources_free_vcpus(struct guest *guest);

#endif
