/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the files of boot/ share: the application's state and the firmware's tables. */
#ifndef SEVISOR_BOOT_H
#define SEVISOR_BOOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <efi.h>

#include "boot/handoff.h"
#include "boot/sections.h"

struct pci_space;

/* A row of the preflight's table. */
enum preflight_verdict {
    PREFLIGHT_FINE,
    PREFLIGHT_NO_SEV,               /* encrypted guests are refused, plain ones run */
    PREFLIGHT_FATAL,                /* nothing can run */
};
struct preflight_row {
    enum preflight_verdict verdict;
    char feature[28], needed[28], found[28], remedy[200];
};
#define PREFLIGHT_ROWS 40u

struct boot {
    EFI_HANDLE handle;
    EFI_SYSTEM_TABLE *system;
    EFI_BOOT_SERVICES *services;
    const uint8_t *image;           /* of this application, as loaded */
    uint64_t image_size;
    struct section hv, manifest;    /* size 0: not found */
    struct hv_image_header hv_header;
    uint64_t sev_asids;             /* that guests without SEV-ES may have */
    uint64_t memory_withheld;       /* bytes that the firmware calls usable, and hv will not */
    bool pci_unseen;                /* there is configuration space that cannot be read */
    char acpi_wrong_sums[28];       /* signatures, each with a blank behind it */
    bool refused;                   /* by one row at least */
    uint32_t row_count;             /* what was printed, as far as there is room */
    struct preflight_row rows[PREFLIGHT_ROWS];
};

extern struct boot boot;

/* What hv will get; filled bit by bit. */
extern struct handoff handoff;

/* text.c: ASCII to the firmware's console. */
void text_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The word, and a blank, at the end of the list, if there is room. */
void text_list(char *list, size_t size, const char *word);

/* preflight.c: fills the table and what it found out into `handoff`, and leaves the machine as it was. False: nothing
 * can run. */
bool preflight_run(void);
/* table.c: a row of the table, printed at once; a fine one may have a note in place of the remedy. The first that refuses
 * encrypted guests is hv's reason for it. */
void table_begin(void);
void table_row(enum preflight_verdict verdict, const char *feature, const char *needed, const char *found, const char *remedy);
/* The rows that refuse, again: a screen of 25 lines shows the end of the table only. */
void table_refusals(void);

/* addresses.c, secure_processor.c: rows of the preflight. */
void addresses_check(void);
void secure_processor_check(void);

/* acpi.c: the table with this signature; NULL: none. One with a wrong checksum is used, and named in acpi_wrong_sums. */
uint64_t acpi_rsdp(void);
const void *acpi_find(uint64_t rsdp, const char signature[static 4], uint32_t minimum);
/* The next one of them; *at, 0 at first, counts the list's entries. */
const void *acpi_find_next(uint64_t rsdp, const char signature[static 4], uint32_t minimum, uint32_t *at);
/* The table at this address, if it is that one. */
const void *acpi_table(uint64_t address, const char signature[static 4]);
enum { ACPI_SPACE_MEMORY, ACPI_SPACE_IO };      /* of a generic address: ACPI 6.4, 5.2.3.2 */
#define ACPI_LENGTH 4u          /* of a table, in its header */
/* A number in a table; 0 where the table is too short for it. */
uint64_t acpi_field(const uint8_t *table, uint32_t at, uint32_t bytes);
/* By the generic address at `at` or, where that is 0, the port that old tables have at `narrow`. Address 0: none. */
struct handoff_register acpi_register(const uint8_t *fadt, uint32_t at, uint32_t narrow, uint32_t bytes);

/* cpus.c: the CPUs that the MADT tells of and, for the others' start, pages below 1 MiB, into `handoff`. */
void cpus_find(uint64_t rsdp);
void cpus_free(void);
/* Where caches do not see the same memory under two keys (APM2 7.10.6): WBINVD on all other CPUs, by the firmware. */
void cpus_wbinvd(void);

/* clock.c: Hz of the TSC; *source names what it was measured against. */
uint64_t clock_measure(uint64_t rsdp, const char **source);

/* console.c: the operator's UART into `handoff`, and the words of its row; `remedy` also where another source was no use. */
void console_find(uint64_t rsdp, char found[static 28], char remedy[static 88]);

/* power.c: how ACPI ends the machine, into `handoff`. */
void power_find(uint64_t rsdp);

/* registers.c: PCI configuration space and IOAPICs, into `handoff`; and rows of what hv will not reach. */
void registers_find(uint64_t rsdp);
/* The next configuration space that can be read here; *at, 0 at first, counts. False: there is no other. */
bool registers_space(uint32_t *at, struct pci_space *space);
/* Where all 4 KiB of a function's configuration space can be read; NULL: nowhere, ports reach 256 bytes. */
const volatile void *registers_ecam(const struct pci_space *space, uint32_t sbdf);
/* Whether the firmware maps [base, base + size) one to one. */
bool registers_mapped(uint64_t base, uint64_t size);

/* memory_map.c: the UEFI firmware's map into `handoff`'s ranges. The buffer is allocated once, and large enough for later calls. */
bool memory_map_read(UINTN *key);
void memory_map_free(void);

/* load.c: memory for hv, into `handoff`; how much depends on the memory there is by `handoff`'s ranges. */
uint64_t load_arena_size(void);
EFI_STATUS load_allocate(void);
/* What is allocated lies below: within the reach of SME's address width, and of the HyperTransport range, which a firmware
 * may list as RAM. */
uint64_t load_highest(void);
void load_free(void);
/* After ExitBootServices(): copies hv in and goes there. */
_Noreturn void load_enter(void);

/* psp_platform.c: memory for commands to the Secure Processor; false: none. And an end to it: the command register of
 * the function that psp/ switched on is as it was; if `unanswered`, the memory is nobody's for good, since the answer
 * may still come. */
bool psp_platform_begin(void);
void psp_platform_end(bool unanswered);
/* psp_discover() saw registers above the physical address width. */
extern const char *psp_platform_out_of_reach;

/* trampoline.asm */
_Noreturn void trampoline(uint64_t cr3, uint64_t stack, uint64_t entry, uint64_t handoff);
extern const uint8_t trampoline_end[];

#endif
