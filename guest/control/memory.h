/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The memory of guests, guest-physical and guest-virtual. */
#ifndef SEVISOR_CONTROL_MEMORY_H
#define SEVISOR_CONTROL_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest/control.h"

enum memory_view {
    MEMORY_PLAIN,       /* as hv sees it: guests without SEV, pages that an SEV guest shares */
    MEMORY_PRIVATE,     /* through the SEV firmware */
    MEMORY_EITHER,      /* of an SEV guest: shared if hv says so, else private */
};

/* Any address and length. Returns enum control_result; on failure, pages below the bad one have been read or written. */
uint32_t memory_read(uint32_t guest, enum memory_view view, uint64_t gpa, void *bytes, size_t size);
uint32_t memory_write(uint32_t guest, enum memory_view view, uint64_t gpa, const void *bytes, size_t size);

/* The same through the page tables of a paused vCPU. CONTROL_INVALID: not mapped. */
uint32_t memory_read_virtual(uint32_t guest, bool sev, const struct control_vcpu *vcpu, uint64_t address, void *bytes,
                             size_t size);
uint32_t memory_write_virtual(uint32_t guest, bool sev, const struct control_vcpu *vcpu, uint64_t address,
                              const void *bytes, size_t size);
/* What was found in page tables is forgotten: a guest has run, or something was written. */
void memory_forget(void);

#endif
