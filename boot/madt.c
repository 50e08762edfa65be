/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* APIC ids of the processors that the MADT lists as usable, each once. */
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

void madt_add(struct madt_cpus *cpus, uint32_t apic_id)
{
    for (uint32_t i = 0; i < cpus->count; i++)
        if (cpus->apic_ids[i] == apic_id)
            return;         /* some boards list a CPU as xAPIC and as x2APIC */
    if (cpus->count == cpus->capacity)
        cpus->left_out++;
    else
        cpus->apic_ids[cpus->count++] = apic_id;
}

void madt_read(struct madt_cpus *cpus, const uint8_t *madt, uint32_t size)
{
    const uint8_t *entry;
    for (uint32_t at = MADT_ENTRIES; (entry = madt_next(madt, size, &at)) != NULL;) {
        if (entry[0] == MADT_LOCAL_APIC && entry[1] >= MADT_APIC_SIZE && (entry[MADT_APIC_FLAGS] & MADT_ENABLED) != 0)
            madt_add(cpus, entry[MADT_APIC_ID]);
        if (entry[0] == MADT_LOCAL_X2APIC && entry[1] >= MADT_X2APIC_SIZE &&
            (entry[MADT_X2APIC_FLAGS] & MADT_ENABLED) != 0)
            madt_add(cpus, (uint32_t)number_at(entry + MADT_X2APIC_ID, 4));
    }
}
