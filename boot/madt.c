/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* APIC ids of the processors that the MADT lists as usable, each once. */
#include "boot/madt.h"

#include <stddef.h>

#include "hv/lib/string.h"

#define MADT_LOCAL_APIC 0u
#define MADT_LOCAL_X2APIC 9u
#define MADT_ENABLED 1u

struct madt_local_apic {
    uint8_t type, length, processor, id;
    uint32_t flags;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_local_apic) == 8, "ACPI 6.4, 5.2.12.2");

struct madt_local_x2apic {
    uint8_t type, length;
    uint16_t reserved;
    uint32_t id, flags, processor;
} __attribute__((packed));
_Static_assert(sizeof(struct madt_local_x2apic) == 16, "ACPI 6.4, 5.2.12.12");

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
            return;         /* some boards list an id in both forms */
    if (cpus->count == cpus->capacity)
        cpus->left_out++;
    else
        cpus->apic_ids[cpus->count++] = apic_id;
}

void madt_read(struct madt_cpus *cpus, const uint8_t *madt, uint32_t size)
{
    const uint8_t *entry;
    for (uint32_t at = MADT_ENTRIES; (entry = madt_next(madt, size, &at)) != NULL;) {
        struct madt_local_apic apic;
        struct madt_local_x2apic x2apic;
        if (entry[0] == MADT_LOCAL_APIC && entry[1] >= sizeof apic) {
            memcpy(&apic, entry, sizeof apic);
            if ((apic.flags & MADT_ENABLED) != 0)
                madt_add(cpus, apic.id);
        } else if (entry[0] == MADT_LOCAL_X2APIC && entry[1] >= sizeof x2apic) {
            memcpy(&x2apic, entry, sizeof x2apic);
            if ((x2apic.flags & MADT_ENABLED) != 0)
                madt_add(cpus, x2apic.id);
        }
    }
}
