/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The CPUs in the MADT, and memory to start them from: each starts in real mode (APM2 14.1.4, 16.5), at the page below 1
 * MiB whose number the startup IPI carries. */
#include "boot/boot.h"

#include "hv/lib/x86.h"

#define HIGHEST_STARTUP UINT64_C(0x9ffff)

void cpus_find(void)
{
    /* This one's id first: of it CPUID 1 gives 8 bits, leaf 0xb all 32 where it exists. */
    bool has_leaf = cpuid(0, 0).eax >= 0xb && cpuid(0xb, 0).ebx != 0;
    handoff.cpu_count = handoff.cpus_left_out = 0;
    madt_add(has_leaf ? cpuid(0xb, 0).edx : cpuid(1, 0).ebx >> 24);
    const uint8_t *madt = acpi_find("APIC", MADT_ENTRIES, 0);
    madt_read(madt, (uint32_t)acpi_field(madt, ACPI_LENGTH, 4));
    if (handoff.cpu_count > 1)
        handoff.startup_base = memory_allocate(HANDOFF_STARTUP_PAGES * PAGE_SIZE, HIGHEST_STARTUP);
}

/* UEFI PI 1.7, volume 2, 13.4; gnu-efi does not have it. */
#define MP_SERVICES_GUID {0x3fdda605, 0xa76e, 0x4f46, {0xad, 0x29, 0x12, 0xf4, 0x53, 0x1b, 0x3d, 0x08}}
struct mp_services {
    void *number_of_processors, *processor_info;
    EFI_STATUS(EFIAPI *startup_all_aps)(struct mp_services *self, void(EFIAPI *procedure)(void *), BOOLEAN one_by_one,
                                        EFI_EVENT event, UINTN timeout_us, void *argument, UINTN **failed);
};
#define WBINVD_TIMEOUT_US 2000000u

static void EFIAPI cpus_wbinvd_here(void *unused)
{
    (void)unused;
    wbinvd();
}

void cpus_wbinvd(void)
{
    EFI_GUID guid = MP_SERVICES_GUID;
    struct mp_services *mp;
    /* APM3, Fn8000_001F EAX[10] */
    bool coherent = handoff.c_bit_mask == 0 || (cpuid(0x8000001f, 0).eax >> 10 & 1) != 0;
    /* Without the protocol UEFI has not started other CPUs. EFI_NOT_STARTED: there are none. */
    if (coherent || EFI_ERROR(boot.services->LocateProtocol(&guid, NULL, (void **)&mp)))
        return;
    EFI_STATUS status = mp->startup_all_aps(mp, cpus_wbinvd_here, FALSE, NULL, WBINVD_TIMEOUT_US, NULL, NULL);
    if (EFI_ERROR(status) && status != EFI_NOT_STARTED)
        text_print(
            "Sevisor: WBINVD on the other CPUs failed (MP services: status 0x%lx): what their caches still hold of\n"
            "plain memory may damage encrypted memory. If guests fail, update the BIOS\n",
            status);
}
