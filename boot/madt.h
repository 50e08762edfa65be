/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* ACPI 6.4, 5.2.12: the Multiple APIC Description Table. Nothing of UEFI, so that it can be tested anywhere. */
#ifndef SEVISOR_MADT_H
#define SEVISOR_MADT_H

#include <stdint.h>

#define MADT_ENTRIES 44u        /* where the entries begin; no MADT is shorter */

struct madt_cpus {
    uint32_t *apic_ids;         /* room for `capacity`; the first `count` are taken, each id once */
    uint32_t capacity, count;
    uint32_t left_out;          /* for want of room */
};

void madt_add(struct madt_cpus *cpus, uint32_t apic_id);
/* Adds all processors that the table calls enabled, by their xAPIC and x2APIC entries, whatever their ids: hv says which of
 * them no interrupt can be sent to. The table is the
 * firmware's: each entry is read only within it, and what is malformed ends the reading. */
void madt_read(struct madt_cpus *cpus, const uint8_t *madt, uint32_t size);

#endif
