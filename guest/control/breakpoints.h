/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Hardware breakpoints: DR0 to DR3 of all of a guest's vCPUs. */
#ifndef SEVISOR_CONTROL_BREAKPOINTS_H
#define SEVISOR_CONTROL_BREAKPOINTS_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/control.h"

enum breakpoint_kind {      /* as in Z and z packets */
                       BREAKPOINT_EXECUTE = 1,
                       BREAKPOINT_WRITE = 2,
                       BREAKPOINT_READ = 3,    /* stops at writes, too, like BREAKPOINT_ACCESS: DR7 has no other */
                       BREAKPOINT_ACCESS = 4,
};

/* Both return enum control_result. Inserted twice, or removed when it is not there, is no error. CONTROL_LIMIT: all four are in use,
 * by the guest or by us. */
uint32_t breakpoints_insert(uint32_t guest, uint32_t vcpus, enum breakpoint_kind kind, uint64_t address, uint64_t size);
uint32_t breakpoints_remove(uint32_t guest, uint32_t vcpus, enum breakpoint_kind kind, uint64_t address, uint64_t size);
/* All four of one vCPU, whoever set them. */
uint32_t breakpoints_clear(uint32_t guest, uint32_t vcpu);
/* Kind and address of breakpoint 0 to 3. */
enum breakpoint_kind breakpoints_hit(const struct control_vcpu *vcpu, uint32_t number, uint64_t *address);

#endif
