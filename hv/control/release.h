/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Frees what a guest holds. */
#ifndef SEVISOR_RELEASE_H
#define SEVISOR_RELEASE_H

#include "hv/vm/guest.h"

/* The vCPUs are on no run queue. */
void release_vcpus(struct guest *guest);
void release_tables(struct guest *guest);
/* Everything, of a guest whose memory was not written to yet. */
void release_unused(struct guest *guest);

#endif
