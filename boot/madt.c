/* SPDX-License-Identifier: BSD-2-Clause-Patent */
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
    for (uint32_t at = MADT_ENTRIES, length; at < size && size - at >= 2; at += length) {
        length = madt[at + 1];
        if (length < 2 || length > size - at)
            return;
        struct madt_local_apic apic;
        struct madt_local_x2apic x2apic;
        if (madt[at] == MADT_LOCAL_APIC && length >= sizeof apic) {
            memcpy(&apic, madt + at, sizeof apic);
            if ((apic.flags & MADT_ENABLED) != 0)
                madt_add(cpus, apic.id);
        } else if (madt[at] == MADT_LOCAL_X2APIC && length >= sizeof x2apic) {
            memcpy(&x2apic, madt + at, sizeof x2apic);
            if ((x2apic.flags & MADT_ENABLED) != 0)
                madt_add(cpus, x2apic.id);
        }
    }
}
