/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What is known of the pages of a guest's RAM.
 *   Which of them a guest with SEV shares, by what it says (KVM_HC_MAP_GPA_RANGE) and by its launch program: all others are
 *   private. Guests without SEV have no such list, and hv may touch all of their RAM.
 *   Which were accessed and written, by A and D of the nested tables. */
#ifndef SEVISOR_PAGES_H
#define SEVISOR_PAGES_H

#include "hv/vm/guest.h"

#define PAGES_HC_MAP_GPA_RANGE 12u /* Linux Documentation/virt/kvm/x86/hypercalls.rst */

/* For guest->memory; all private. False: out of pool pages. */
bool pages_create(struct guest *guest);
void pages_destroy(struct guest *guest);
/* [gpa, gpa+size) of RAM, whole pages, are shared or private from now on. Any CPU. */
void pages_set_shared(struct guest *guest, gpaddr_t gpa, uint64_t size, bool shared);
/* Whether all pages of [gpa, gpa+size) are RAM and shared. */
bool pages_are_shared(const struct guest *guest, gpaddr_t gpa, uint64_t size);
/* CONTROL_PAGE_* of the page at `gpa`, of RAM; with `clear`, it is dirty no longer. */
uint8_t pages_look(struct guest *guest, gpaddr_t gpa, bool clear);
/* No vCPU enters the guest again before it has flushed the TLB; those that are in the guest now leave it soon. */
void pages_flush_tlb(struct guest *guest);
/* The hypercall, as its guest makes it. False: EINVAL. */
bool pages_map_gpa_range(struct guest *guest, uint64_t gpa, uint64_t npages, uint64_t attributes);

#endif
