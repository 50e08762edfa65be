/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* PCI configuration space, and the one walk over it. A function is named by its
 * sbdf: segment << 16 | bus << 8 | device << 3 | function. Absent functions read all ones. */
#ifndef SEVISOR_PCI_H
#define SEVISOR_PCI_H

#include "hv/lib/types.h"

/* PCI 3.0, 6.1 and 6.2; PCI-to-PCI bridges 1.2, 3.2 */
#define PCI_COMMAND 0x04u
#define PCI_COMMAND_MASTER 0x0004u
#define PCI_HEADER_TYPE 0x0cu
#define PCI_BAR_0 0x10u
#define PCI_BUSES 0x18u         /* of a bridge: primary, secondary, subordinate */

/* Of one segment, or of some of its buses. */
struct pci_space {
    volatile void
        *ecam;        /* where that of the first function is mapped, and so on, 4 KiB each (PCIe 4.0, 7.2.2); NULL: by
                                 * ports, which reach segment 0 (configuration mechanism #1: PCI 3.0, 3.2.2.3.2) */
    uint32_t first, functions;
};
#define PCI_FUNCTIONS 0x10000u  /* of a whole segment */
#define PCI_FUNCTION_SIZE 4096u

/* By ports the first 256 bytes are reached. */
uint32_t pci_read32(const struct pci_space *space, uint32_t sbdf, uint32_t offset);
void pci_write32(const struct pci_space *space, uint32_t sbdf, uint32_t offset, uint32_t value);
/* Where this function's is mapped; NULL: it is reached by ports. */
volatile void *pci_ecam(const struct pci_space *space, uint32_t sbdf);
/* Of its header: 0 is a device's, 1 a bridge's. */
uint32_t pci_layout(const struct pci_space *space, uint32_t sbdf);
/* *sbdf, space->first to begin with, becomes the first function from there on that exists, also by ARI or as a virtual one;
 * false: none does. */
bool pci_next(const struct pci_space *space, uint32_t *sbdf);

/* "41:00.2", and "0001:41:00.2" outside of segment 0. Returns `name`. */
#define PCI_NAME 13
const char *pci_name(uint32_t sbdf, char name[static PCI_NAME]);

#endif
