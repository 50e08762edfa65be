/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest of one vCPU that leaves KVM, or comes to it, in a file that test_carry.py makes of sevisorctl's stream, and a stream of. */
#ifndef SEVISOR_KVMCARRY_H
#define SEVISOR_KVMCARRY_H

#include <stdint.h>

struct carried {
    int vm, vcpu, sev_device;
    uint8_t *memory;
    uint64_t size;
};

/* To this platform. CEK, AMD: as for kvmmove. The vCPU stands still behind an OUT that is over. */
void kvmcarry_send(const struct carried *guest, const char *cek, const char *amd, const char *path);
void kvmcarry_receive(const struct carried *guest, const char *path);

#endif
