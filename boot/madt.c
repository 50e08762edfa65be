/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* APIC ids of the processors that the MADT lists as usable, each once, into the hand-over. */
#include "boot/boot.h"

/* ACPI 6.4, 5.2.12.2 and 5.2.12.12: an id, and flags. */
enum { MADT_LOCAL_APIC = 0, MADT_APIC_ID = 3, MADT_APIC_FLAGS = 4, MADT_APIC_SIZE = 8 };
enum { MADT_LOCAL_X2APIC = 9, MADT_X2APIC_ID = 4, MADT_X2APIC_FLAGS = 8, MADT_X2APIC_SIZE = 16 };
#define MADT_ENABLED 1u

const uint8_t *madt_next(const uint8_t *madt, uint32_t size, uint32_t *at)
{
    uint32_t here = *at;
    if (here >= size || size - here < 2 || madt[here + 1] < 2 || madt[here + 1] > size - here)
        return NULL;
    *at += madt[here + 1];
    return madt + here;
}

void madt_add(uint32_t apic_id)
{
    for (uint32_t i = 0; i < handoff.cpu_count; i++)
        if (handoff.apic_ids[i] == apic_id)
            return;         /* some boards list a CPU as xAPIC and as x2APIC */
    if (handoff.cpu_count == HANDOFF_MAX_CPUS)
        handoff.cpus_left_out++;
    else
        handoff.apic_ids[handoff.cpu_count++] = apic_id;
}

void madt_read(const uint8_t *madt, uint32_t size)
{
    const uint8_t *entry;
    for (uint32_t at = MADT_ENTRIES; (entry = madt_next(madt, size, &at)) != NULL;) {
        if (entry[0] == MADT_LOCAL_APIC && entry[1] >= MADT_APIC_SIZE && (entry[MADT_APIC_FLAGS] & MADT_ENABLED) != 0)
            madt_add(entry[MADT_APIC_ID]);
        if (entry[0] == MADT_LOCAL_X2APIC && entry[1] >= MADT_X2APIC_SIZE &&
            (entry[MADT_X2APIC_FLAGS] & MADT_ENABLED) != 0)
            madt_add((uint32_t)number_at(entry + MADT_X2APIC_ID, 4));
    }
}
