/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* INVD and WBINVD. */
#ifndef SEVISOR_EXIT_CACHE_H
#define SEVISOR_EXIT_CACHE_H

#include "hv/vm/vcpu.h"

void exit_cache(struct vcpu *vcpu);
/* A WBINVD of a vCPU that waits for late CPUs since (vcpu->wbinvd_ticket): when all have answered, the instruction is over.
 * False: they have not, and it is to be asked again at vcpu->asleep_tsc. On the vCPU's CPU. */
bool exit_cache_over(struct vcpu *vcpu);

#endif
