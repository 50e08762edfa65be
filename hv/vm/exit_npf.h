/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Nested page faults: accesses outside of RAM. */
#ifndef SEVISOR_EXIT_NPF_H
#define SEVISOR_EXIT_NPF_H

#include "hv/vm/vcpu.h"

/* Takes the page of ones from the pool; once, on the boot CPU, before the first vCPU. */
void exit_npf_init(void);
/* While true, no guest takes pool pages, so that they can be counted. The caller calls again with false. */
void exit_npf_freeze(bool freeze);

void exit_npf(struct vcpu *vcpu);

#endif
