/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The MADT tells of the CPUs. Each starts in real mode (APM2 14.1.4, 16.5): below 1 MiB, at a page whose number
 * the startup IPI carries. */
#include "boot.h"

#include "../hv/string.h"
#include "../hv/x86.h"
#include "madt.h"

#define LOWEST_STARTUP UINT64_C(0x1000)     /* page 0 has the firmware's old vectors */
#define HIGHEST_STARTUP UINT64_C(0x9ffff)

static uint32_t cpus_own_apic_id(void)
{
    /* CPUID 1 has 8 bits of it, leaf 0xb all 32, where there is one. */
    if (cpuid(0, 0).eax >= 0xb && cpuid(0xb, 0).ebx != 0)
        return cpuid(0xb, 0).edx;
    return cpuid(1, 0).ebx >> 24;
}

void cpus_find(uint64_t rsdp)
{
    struct madt_cpus cpus = {handoff.apic_ids, HANDOFF_MAX_CPUS, 0, 0};
    madt_add(&cpus, cpus_own_apic_id());
    const uint8_t *madt = acpi_find(rsdp, "APIC", MADT_ENTRIES);
    if (madt != NULL) {
        uint32_t size;
        memcpy(&size, madt + 4, sizeof size);       /* acpi_find() has seen that the checksum covers it */
        madt_read(&cpus, madt, size);
    }
    handoff.cpu_count = cpus.count;
    handoff.cpus_left_out = cpus.left_out;
    if (handoff.cpu_count == 1)
        return;
    EFI_PHYSICAL_ADDRESS base = HIGHEST_STARTUP;
    if (EFI_ERROR(boot.services->AllocatePages(AllocateMaxAddress, EfiLoaderData, HANDOFF_STARTUP_PAGES, &base)))
        return;
    handoff.startup_base = base;
    if (base < LOWEST_STARTUP)
        cpus_free();
}

void cpus_free(void)
{
    if (handoff.startup_base != 0)
        boot.services->FreePages(handoff.startup_base, HANDOFF_STARTUP_PAGES);
    handoff.startup_base = 0;
}
