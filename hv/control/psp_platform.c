/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's implementation of psp/platform.h. */
#include "hv/console/log.h"
#include "hv/cpu/clock.h"
#include "hv/lib/panic.h"
#include "hv/lib/pci.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"
#include "psp/platform.h"

/* Maps the configuration space of one function, until psp_close(). */
static struct pci_space psp_open(struct psp_function function)
{
    struct pci_space space = {NULL, function.sbdf, 1};
    if (function.ecam != 0) {
        space.ecam = mmio_map(paddr(function.ecam), PCI_FUNCTION_SIZE);
        ASSERT(space.ecam != NULL);     /* small windows take no pool page, and few are open */
    }
    return space;
}

static void psp_close(const struct pci_space *space)
{
    if (space->ecam != NULL)
        mmio_unmap(space->ecam, PCI_FUNCTION_SIZE);
}

uint32_t psp_platform_pci_read32(struct psp_function function, uint8_t offset)
{
    struct pci_space space = psp_open(function);
    uint32_t value = pci_read32(&space, function.sbdf, offset);
    psp_close(&space);
    return value;
}

void psp_platform_pci_write32(struct psp_function function, uint8_t offset, uint32_t value)
{
    struct pci_space space = psp_open(function);
    pci_write32(&space, function.sbdf, offset, value);
    psp_close(&space);
}

volatile void *psp_platform_map_mmio(uint64_t physical, uint64_t size)
{
    return mmio_map(paddr(physical), size);
}

void psp_platform_unmap_mmio(volatile void *registers, uint64_t size)
{
    mmio_unmap(registers, size);
}

uint64_t psp_platform_now_us(void)
{
    return clock_now_us();
}

/* A page that is never freed. hv writes it through the physical map, C=1. */
static void *psp_platform_page(void **page, psp_addr_t *address)
{
    if (*page == NULL) {
        paddr_t taken;
        ASSERT(page_alloc(1, &taken));
        *page = page_va(taken);
    }
    *address = (psp_addr_t){view_firmware_address(page_pa(*page), VIEW_ENCRYPTED)};
    return *page;
}

void *psp_platform_command_page(psp_addr_t *address)
{
    static void *page;
    return psp_platform_page(&page, address);
}

void *psp_platform_data_page(psp_addr_t *address)
{
    static void *page;
    return psp_platform_page(&page, address);
}

void psp_platform_log(const char *line)
{
    log_print(LOG_ERROR, "psp: %s", line);
}
