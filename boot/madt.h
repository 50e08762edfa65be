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

/* The entry at *at, MADT_ENTRIES to begin with, which becomes the next one's place: byte 0 is its type, byte 1 its length. The
 * table is the firmware's: each entry lies within it, and what is malformed is the end. NULL: the end. */
const uint8_t *madt_next(const uint8_t *madt, uint32_t size, uint32_t *at);

void madt_add(struct madt_cpus *cpus, uint32_t apic_id);
/* Adds all processors that the table calls enabled, by their xAPIC and x2APIC entries, whatever their ids: hv says which of
 * them no interrupt can be sent to. */
void madt_read(struct madt_cpus *cpus, const uint8_t *madt, uint32_t size);

#endif
