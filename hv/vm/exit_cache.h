/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* INVD and WBINVD. */
#ifndef SEVISOR_EXIT_CACHE_H
#define SEVISOR_EXIT_CACHE_H

#include "hv/vm/vcpu.h"

void exit_cache(struct vcpu *vcpu);
/* The WBINVD of a vCPU that sleeps because CPUs are late (vcpu->wbinvd_ticket): completes the instruction when all have executed
 * it. False: they have not; to be called again at vcpu->asleep_tsc. On the vCPU's CPU. */
bool exit_cache_over(struct vcpu *vcpu);

#endif
