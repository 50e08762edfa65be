/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * PCI segments in memory, as far as psp/discover.c can see one: configuration
 * space with BARs that can be sized, and registers behind BAR 2. It counts
 * what a careful driver does not do.
 */
#ifndef TESTS_UNIT_PSP_FAKE_PCI_H
#define TESTS_UNIT_PSP_FAKE_PCI_H

#include <stdbool.h>
#include <stdint.h>

#include "psp/psp.h"

#define FAKE_PCI_FUNCTIONS 64

struct fake_function {
    uint32_t sbdf;                      /* segment << 16 | bus << 8 | device << 3 | function */
    uint32_t config[64];
    uint32_t bar2_mask, bar3_mask;      /* address bits that can be written */
    uint32_t config_writes;

    /* Behind BAR 2; where there is no `read`, all registers hold `feature`. */
    uint32_t feature;
    uint32_t (*read)(void *opaque, uint32_t offset);
    void (*write)(void *opaque, uint32_t offset, uint32_t value);
    void *opaque;
};

extern struct fake_pci {
    struct fake_function functions[FAKE_PCI_FUNCTIONS];
    unsigned count;
    bool map_fails;
    int mapped;                 /* map calls without unmap */
    unsigned register_accesses;
    unsigned violations;        /* BAR written while decoding; access outside of the mapping or without decoding */
} fake_pci;

void fake_pci_reset(void);

/* A function of layout 0 with a 64-bit BAR 2 of `size` bytes at `bar`, decoding off. */
struct fake_function *fake_pci_add(uint32_t sbdf, uint16_t vendor, uint16_t device, uint64_t bar, uint64_t size);

/* As psp/ is told of it: other segments than 0 by memory. */
struct psp_function fake_pci_function(uint32_t sbdf);

/* psp_discover() for all that are no bridges, in ascending order. */
enum psp_error fake_pci_discover(struct psp_location *location);

#define FAKE_BDF(bus, device, function) ((uint16_t)((bus) << 8 | (device) << 3 | (function)))

#endif
