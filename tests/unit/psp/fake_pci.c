/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "fake_pci.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#include "hv/lib/mmio.h"

#define COMMAND 1               /* dword of command and status */
#define HEADER 3
#define BAR2 6
#define BAR3 7
#define MULTIFUNCTION 0x00800000u
#define MEMORY_DECODING 2u
#define BAR_FLAGS 0xfu

struct fake_pci fake_pci;

void fake_pci_reset(void)
{
    memset(&fake_pci, 0, sizeof(fake_pci));
}

static struct fake_function *find(uint32_t sbdf)
{
    for (unsigned i = 0; i < fake_pci.count; i++) {
        if (fake_pci.functions[i].sbdf == sbdf)
            return &fake_pci.functions[i];
    }
    return NULL;
}

static struct fake_function *add(uint32_t sbdf, uint32_t id)
{
    assert(fake_pci.count < FAKE_PCI_FUNCTIONS && !find(sbdf));
    struct fake_function *f = &fake_pci.functions[fake_pci.count++];

    f->sbdf = sbdf;
    f->config[0] = id;
    f->config[COMMAND] = 0x20100000u;   /* two status bits that a write of ones would clear */
    return f;
}

struct fake_function *fake_pci_add(uint32_t sbdf, uint16_t vendor, uint16_t device, uint64_t bar, uint64_t size)
{
    uint32_t first = sbdf & ~7u;

    if (first != sbdf) {
        struct fake_function *zero = find(first);

        if (!zero)
            zero = add(first, 0x00011022u);
        zero->config[HEADER] |= MULTIFUNCTION;
    }

    struct fake_function *f = add(sbdf, (uint32_t)device << 16 | vendor);

    f->config[BAR2] = (uint32_t)bar | 4;
    f->config[BAR3] = (uint32_t)(bar >> 32);
    f->bar2_mask = (uint32_t)~(size - 1) & ~BAR_FLAGS;
    f->bar3_mask = (uint32_t)(~(size - 1) >> 32);
    f->feature = 1;
    return f;
}

struct psp_function fake_pci_function(uint32_t sbdf)
{
    return (struct psp_function){sbdf, sbdf >> 16 ? UINT64_C(0x3f0000000000) + ((uint64_t)sbdf << 12) : 0};
}

enum psp_error fake_pci_discover(struct psp_location *location)
{
    enum psp_error error = PSP_NO_DEVICE;
    struct fake_function *next = NULL;
    uint64_t from = 0;

    do {
        next = NULL;
        for (unsigned i = 0; i < fake_pci.count; i++) {
            struct fake_function *f = &fake_pci.functions[i];

            if (f->sbdf >= from && (!next || f->sbdf < next->sbdf))
                next = f;
        }
        from = next ? UINT64_C(1) + next->sbdf : 0;
        if (next && (next->config[HEADER] >> 16 & 0x7f) == 0)
            error = psp_discover(fake_pci_function(next->sbdf), error, location);
    } while (next && error != PSP_OK);
    return error;
}

static struct fake_function *at(struct psp_function function)
{
    if (function.ecam != fake_pci_function(function.sbdf).ecam)
        fake_pci.violations++;
    return find(function.sbdf);
}

uint32_t psp_platform_pci_read32(struct psp_function function, uint8_t offset)
{
    struct fake_function *f = at(function);

    assert(offset % 4 == 0);
    return f ? f->config[offset / 4] : UINT32_MAX;
}

static bool decodes(const struct fake_function *f)
{
    return f->config[COMMAND] & MEMORY_DECODING;
}

void psp_platform_pci_write32(struct psp_function function, uint8_t offset, uint32_t value)
{
    struct fake_function *f = at(function);

    assert(offset % 4 == 0);
    if (!f) {
        fake_pci.violations++;
        return;
    }
    f->config_writes++;
    switch (offset / 4) {
    case COMMAND:
        f->config[COMMAND] = (f->config[COMMAND] & 0xffff0000u & ~value) | (value & 0xffffu);
        break;
    case BAR2:
    case BAR3: {
        uint32_t mask = offset / 4 == BAR2 ? f->bar2_mask : f->bar3_mask;

        if (decodes(f))
            fake_pci.violations++;
        f->config[offset / 4] = (f->config[offset / 4] & ~mask) | (value & mask);
        break;
    }
    default:
        fake_pci.violations++;
    }
}

/* A mapping is the fake function itself: the driver must not look into it. */
volatile void *psp_platform_map_mmio(uint64_t physical, uint64_t size)
{
    if (fake_pci.map_fails)
        return NULL;
    for (unsigned i = 0; i < fake_pci.count; i++) {
        struct fake_function *f = &fake_pci.functions[i];
        uint64_t bar = (uint64_t)f->config[BAR3] << 32 | (f->config[BAR2] & ~BAR_FLAGS);

        if ((f->config[BAR2] & 6) == 0)
            bar &= UINT32_MAX;
        if ((f->bar2_mask | f->bar3_mask) && bar == physical && bar != 0) {
            assert(size >= 0x11000 && size <= 0x100000);
            fake_pci.mapped++;
            return f;
        }
    }
    fake_pci.violations++;
    return NULL;
}

void psp_platform_unmap_mmio(volatile void *registers, uint64_t size)
{
    assert(registers && size);
    fake_pci.mapped--;
}

static struct fake_function *function_behind(volatile void *registers, uint32_t offset)
{
    struct fake_function *f = (struct fake_function *)(uintptr_t)registers;

    fake_pci.register_accesses++;
    if (fake_pci.mapped <= 0 || !decodes(f) || offset >= 0x11000 || offset % 4 != 0)
        fake_pci.violations++;
    return f;
}

uint32_t mmio_read32(const volatile void *registers, uint64_t offset)
{
    struct fake_function *f = function_behind((volatile void *)(uintptr_t)registers, (uint32_t)offset);

    return f->read ? f->read(f->opaque, (uint32_t)offset) : f->feature;
}

void mmio_write32(volatile void *registers, uint64_t offset, uint32_t value)
{
    struct fake_function *f = function_behind(registers, (uint32_t)offset);

    if (f->write)
        f->write(f->opaque, (uint32_t)offset, value);
}
