/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* psp/platform.h for boot/. UEFI identity-maps memory and device registers. */
#include "psp/platform.h"

#include "boot/boot.h"

#include "hv/lib/pci.h"
#include "hv/lib/x86.h"

#define PAUSE_US 100u

static struct pci_space psp_space(struct psp_function function)
{
    return (struct pci_space){(volatile void *)(uintptr_t)function.ecam, function.sbdf, 1};
}

uint32_t psp_platform_pci_read32(struct psp_function function, uint8_t offset)
{
    struct pci_space space = psp_space(function);
    return pci_read32(&space, function.sbdf, offset);
}

void psp_platform_pci_write32(struct psp_function function, uint8_t offset, uint32_t value)
{
    struct pci_space space = psp_space(function);
    pci_write32(&space, function.sbdf, offset, value);
}

static EFI_PHYSICAL_ADDRESS command_page;

bool psp_platform_begin(void)
{
    command_page = load_highest();
    return !EFI_ERROR(boot.services->AllocatePages(AllocateMaxAddress, EfiReservedMemoryType, 1, &command_page));
}

void psp_platform_end(bool unanswered)
{
    if (!unanswered)
        boot.services->FreePages(command_page, 1);
}

/* Unencrypted, as all memory under UEFI. */
void *psp_platform_command_page(psp_addr_t *address)
{
    *address = (psp_addr_t){command_page};
    return (void *)(uintptr_t)command_page;
}

uint64_t psp_platform_now_us(void)
{
    return rdtsc() / (handoff.tsc_hz / 1000000);
}

void psp_platform_pause(void)
{
    boot.services->Stall(PAUSE_US);
}

void psp_platform_log(const char *line)
{
    text_print("        psp: %s\n", line);
}

const char *psp_platform_out_of_reach;

volatile void *psp_platform_map_mmio(uint64_t physical, uint64_t size)
{
    psp_platform_out_of_reach = registers_fault(physical, size);
    return psp_platform_out_of_reach == NULL ? (volatile void *)(uintptr_t)physical : NULL;
}

void psp_platform_unmap_mmio(volatile void *registers, uint64_t size)
{
    (void)registers;
    (void)size;
}
