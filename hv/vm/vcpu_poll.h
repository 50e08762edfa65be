/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What wakes a vCPU. */
#ifndef SEVISOR_VCPU_POLL_H
#define SEVISOR_VCPU_POLL_H

#include "hv/vm/vcpu.h"

/* Takes what was posted to it, fires its timer if due, wakes it if something waits that can. Returns the host TSC of its
 * next timer interrupt, UINT64_MAX: none; of one that sleeps, none that would not wake it: what has expired meanwhile is
 * found when it runs again. On its own CPU. */
uint64_t vcpu_poll(struct vcpu *vcpu, uint64_t now);

#endif
