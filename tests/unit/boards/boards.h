/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What boards.py makes of the .toml files beside it: values of real machines, as inputs of unit tests. */
#ifndef TESTS_UNIT_BOARDS_H
#define TESTS_UNIT_BOARDS_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define BOARD_UNKNOWN UINT32_MAX

struct board_range {            /* of the firmware's map, in its order */
    uint64_t base, pages;
    uint32_t type;              /* EFI_MEMORY_TYPE */
    uint64_t attribute;
};
struct board_span {
    uint64_t first, last;
};
struct board_leaf {
    uint32_t leaf, subleaf, eax, ebx, ecx, edx;
};
struct board_function {
    uint16_t bdf, device;       /* vendor: AMD */
    bool psp, sev;              /* has the mailbox's BAR; its feature register says SEV */
    uint64_t bar, size;         /* BAR 2 */
    bool wide, prefetchable;
};
struct board_status {
    uint8_t command;
    uint16_t status;
};
struct board_api {
    bool known;
    uint8_t major, minor, build;
};
struct board_spcr {             /* Serial Port Console Redirection table */
    bool there;
    uint8_t revision, type;
    bool io;                    /* registers are ports */
    uint8_t bits;
    uint64_t address;
    uint32_t baud;
};

struct board_mcfg {             /* PCI configuration space in memory: of these buses */
    bool there;
    uint16_t segment;
    uint64_t base;              /* of bus 0 */
    uint8_t first, last;
};

struct board {
    const char *name;           /* the file's, and the sample's number */
    bool synthetic;
    const struct board_range *map;
    uint32_t map_count;
    const struct board_span *rmp;           /* reverse map tables */
    uint32_t rmp_count;
    const struct board_leaf *leaves;        /* CPUID; without a dump of its own: one of its generation */
    uint32_t leaf_count;
    const uint32_t *apic_ids;               /* of all CPUs that are enabled */
    uint32_t cpus;
    uint32_t disabled;                      /* entries of the MADT, at least */
    uint32_t madt_length;                   /* 0: unknown */
    const struct board_function *functions;
    uint32_t function_count;
    const struct board_status *statuses;    /* that the Secure Processor gave */
    uint32_t status_count;
    struct board_api api;                   /* of the SEV firmware */
    struct board_spcr spcr;
    struct board_mcfg mcfg;
    const uint16_t *ports;                  /* where UARTs answer */
    uint32_t port_count;
    uint64_t syscfg;                        /* 0: unknown */
    bool smee_fixed;                        /* SYSCFG[23] cannot be set */
    /* BOARD_UNKNOWN where the file does not tell. `width`: with the reduction. */
    uint32_t c_bit, reduction, width, asids, min_sev_asid, sev_guests;
};

extern const struct board boards[];
extern const uint32_t board_count;

static inline const struct board_leaf *board_leaf(const struct board *board, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < board->leaf_count; i++)
        if (board->leaves[i].leaf == leaf && board->leaves[i].subleaf == subleaf)
            return &board->leaves[i];
    return NULL;
}

static inline const struct board *board_named(const char *name)
{
    for (uint32_t i = 0; i < board_count; i++)
        if (strcmp(boards[i].name, name) == 0)
            return &boards[i];
    return NULL;
}

#endif
