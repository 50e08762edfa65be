/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* An end to what devices do on their own since the firmware: DMA, and interrupts through IOAPICs. */
#ifndef SEVISOR_DMA_H
#define SEVISOR_DMA_H

#include "boot/handoff.h"

/* Bus mastering of all PCI functions off, but for the Secure Processor's and of the bridges above it; entries of all IOAPICs
 * masked. Before any memory is used that was the firmware's, and before interrupts are enabled. */
void dma_stop(const struct handoff *handoff);

#endif
