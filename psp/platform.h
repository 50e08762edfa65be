/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What psp/ needs from whoever links it: hv/, boot/ (also for discovery), and
 * the host-side unit tests. Plain functions, resolved at link time.
 */
#ifndef SEVISOR_PSP_PLATFORM_H
#define SEVISOR_PSP_PLATFORM_H

#include <stdbool.h>
#include <stdint.h>

/* A physical address as the firmware wants it: the C-bit already decided by
 * the page's view (psp-mailbox.md section 4). Only the platform makes these. */
typedef struct {
    uint64_t raw;
} psp_addr_t;

/* A PCI function, of any segment. */
struct psp_function {
    uint32_t sbdf;          /* segment << 16 | bus << 8 | device << 3 | function */
    uint64_t ecam;          /* physical address of its configuration space; 0: by ports */
};

uint32_t psp_platform_pci_read32(struct psp_function function, uint8_t offset);
void psp_platform_pci_write32(struct psp_function function, uint8_t offset, uint32_t value);

/* Device registers, uncached and plain. NULL when they cannot be mapped. */
volatile void *psp_platform_map_mmio(uint64_t physical, uint64_t size);
void psp_platform_unmap_mmio(volatile void *registers, uint64_t size);

/* A monotonic clock. */
uint64_t psp_platform_now_us(void);

/* The driver's own page of 4096 bytes for command buffers, and a second one for
 * command output (status, chip id, measurement): one each, never freed. */
void *psp_platform_command_page(psp_addr_t *address);
void *psp_platform_data_page(psp_addr_t *address);

/* One line for the operator, without a line end. */
void psp_platform_log(const char *line);

#endif
