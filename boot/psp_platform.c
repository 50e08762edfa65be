/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What psp_discover() and psp_attach() need (psp/platform.h). UEFI maps all memory one to one, device registers
 * included. */
#include "psp/platform.h"

#include "boot/boot.h"

#include "hv/lib/pci.h"
#include "hv/lib/x86.h"

#define PCI_COMMAND 0x04u
#define COMMAND_NONE UINT32_MAX
#define PAUSE_US 100u

static uint16_t command_bdf;
static uint32_t command_before = COMMAND_NONE;

uint32_t psp_platform_pci_read32(uint16_t bdf, uint8_t offset)
{
    return pci_read32(bdf, offset);
}

void psp_platform_pci_write32(uint16_t bdf, uint8_t offset, uint32_t value)
{
    if (offset == PCI_COMMAND && (command_before == COMMAND_NONE || bdf != command_bdf)) {
        command_bdf = bdf;
        command_before = pci_read32(bdf, offset) & 0xffff;
    }
    pci_write32(bdf, offset, value);
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
    if (command_before != COMMAND_NONE)
        pci_write32(command_bdf, PCI_COMMAND, command_before);
}

/* Plain, as the firmware maps all memory. */
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

/* One CPU runs, and no timer of ours. */
void psp_platform_lock(void) {}
void psp_platform_unlock(void) {}

void psp_platform_log(const char *line)
{
    text_print("        psp: %s\n", line);
}

bool psp_platform_out_of_reach;

volatile void *psp_platform_map_mmio(uint64_t physical, uint64_t size)
{
    /* Memory encryption takes address bits away: a BAR above them cannot be read any more. */
    uint64_t limit = UINT64_C(1) << handoff.phys_bits;
    if (physical >= limit || limit - physical < size) {
        psp_platform_out_of_reach = true;
        return NULL;
    }
    return (volatile void *)(uintptr_t)physical;
}

void psp_platform_unmap_mmio(volatile void *registers, uint64_t size)
{
    (void)registers;
    (void)size;
}

uint32_t psp_platform_mmio_read32(volatile void *registers, uint32_t offset)
{
    return *(volatile uint32_t *)((volatile uint8_t *)registers + offset);
}

void psp_platform_mmio_write32(volatile void *registers, uint32_t offset, uint32_t value)
{
    *(volatile uint32_t *)((volatile uint8_t *)registers + offset) = value;
}
