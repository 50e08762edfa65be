/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Shared by the files of boot/: the application's state, and their functions. */
#ifndef SEVISOR_BOOT_H
#define SEVISOR_BOOT_H

#include <efi.h>

#include "boot/handoff.h"
#include "hv/lib/types.h"

struct manifest_header;
struct pci_space;

/* Of a loaded PE image (Microsoft PE/COFF, "PE Format"). */
struct section {
    const uint8_t *base;    /* page aligned relative to the image's start */
    uint64_t size;          /* bytes in memory */
};

/* A row of the preflight's table. */
enum preflight_verdict {
    PREFLIGHT_FINE,
    PREFLIGHT_NOTE,
    PREFLIGHT_GUESTS,               /* a note: some guests cannot run, which may be all of them */
    PREFLIGHT_NO_SEV,               /* encrypted guests are refused, plain ones run */
    PREFLIGHT_FATAL,                /* nothing can run */
};
struct preflight_row {
    enum preflight_verdict verdict;
    char feature[28], needed[28], found[244];
    const char *remedy;             /* behind the end of `found`, or "" */
};
#define PREFLIGHT_ROWS 40u

struct boot {
    EFI_HANDLE handle;
    EFI_SYSTEM_TABLE *system;
    EFI_BOOT_SERVICES *services;
    struct section hv, manifest;    /* of this application, as loaded; size 0: not found */
    struct hv_image_header hv_header;
    const struct manifest_header *guests;   /* the manifest, once it is found valid */
    uint32_t sev_version;           /* of the SEV firmware that hv will use; 0: it does not answer */
    uint64_t memory_withheld;       /* bytes of RAM in the UEFI memory map that hv does not use */
    bool pci_unseen;                /* some configuration space was not read */
    char acpi_wrong_sums[28];       /* signatures, each followed by a blank */
    bool refused;                   /* a row with PREFLIGHT_FATAL was printed */
    uint32_t row_count;             /* rows that were printed, up to PREFLIGHT_ROWS */
    struct preflight_row rows[PREFLIGHT_ROWS];
};

extern struct boot boot;

/* The hand-over to hv; filled by the preflight and load.c. */
extern struct handoff handoff;

/* text.c: prints ASCII on UEFI's console. */
void text_print(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Appends the word and a blank to the list, if there is room. */
void text_list(char *list, size_t size, const char *word);

/* preflight.c: prints the table and fills `handoff`; changes nothing of the machine. False: no guest can run. */
bool preflight_run(void);
/* table.c: adds a row to the table and prints it. `format` gives what was found and, behind a line end, the remedy or note,
 * which PREFLIGHT_FINE leaves out. The first row with PREFLIGHT_NO_SEV becomes handoff.sev_refusal. */
void table_row(enum preflight_verdict verdict, const char *feature, const char *needed, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* Prints all rows that refuse something again, since a screen of 25 lines shows only the end of the table. */
void table_refusals(void);

/* addresses.c, secure_processor.c: rows of the preflight. */
void addresses_check(void);
void secure_processor_check(void);

/* acpi.c: the table with this signature and at least `minimum` bytes, behind `skip` others; NULL: none. One with a wrong
 * checksum is used, and named in acpi_wrong_sums. */
const void *acpi_find(const char signature[static 4], uint32_t minimum, uint32_t skip);
/* The table at this address if it has this signature, else NULL. */
const void *acpi_table(uint64_t address, const char signature[static 4]);
enum { ACPI_SPACE_MEMORY, ACPI_SPACE_IO }; /* of a generic address: ACPI 6.4, 5.2.3.2 */
#define ACPI_LENGTH 4u /* of a table, in its header */
/* A field of a table; 0 if the table is NULL, or too short for it. */
uint64_t acpi_field(const uint8_t *table, uint32_t at, uint32_t bytes);
/* The register in the FADT's generic address structure at `at` or, where that is 0, the port in its 32-bit field at
 * `narrow`. Address 0: none. */
#define FADT_SIZE_1 116u /* of its first version */
struct handoff_register acpi_register(uint32_t at, uint32_t narrow, uint32_t bytes);

/* cpus.c: the CPUs in the MADT, and pages below 1 MiB to start them from, into `handoff`. */
void cpus_find(void);
/* On parts without coherent encryption (APM2 7.10.6): WBINVD on all other CPUs, through the UEFI MP services. */
void cpus_wbinvd(void);

/* clock.c: the frequency of the TSC in Hz; *source: the reference. */
uint64_t clock_measure(const char **source);
/* Date and time, into `handoff`. */
void clock_read_wall(void);

/* bootnext.c: the boot option that the boot manager would start after the one that is running, into `handoff`; makes BootNext
 * name it, if there is one. */
void bootnext_find(void);
void bootnext_set(void);

/* console.c: the operator's UART into `handoff`, with a row, which also says why a better source was not used. */
void console_find(void);
/* After it: whether the control guest can have COM2, with a row if it wants it. */
void console_check_com2(void);

/* power.c: the ACPI registers for power-off and reset, into `handoff`. */
void power_find(void);

/* registers.c: PCI configuration space and IOAPICs, into `handoff`, with rows on those that hv cannot reach. */
void registers_find(void);
/* The next configuration space that is readable here; *at: the index to continue from, 0 at first. False: no more. */
bool registers_space(uint32_t *at, struct pci_space *space);
/* All 4 KiB of a function's configuration space as memory; NULL: not readable so, ports reach the first 256 bytes. */
volatile void *registers_ecam(const struct pci_space *space, uint32_t sbdf);
/* Why registers at [base, base + size) cannot be accessed, here and in hv, in words; NULL: they can. */
const char *registers_fault(uint64_t base, uint64_t size);
/* Row of configuration space that is not all in reach, beginning at these functions, each followed by a blank; none: "". */
void registers_row(const char *from, const char *found, const char *effect);

/* memory.c: allocates page-aligned memory up to the address `highest`; 0: there is none. memory_free() frees all that was
 * allocated. */
uint64_t memory_allocate(uint64_t bytes, uint64_t highest);
void memory_free(void);
/* The UEFI memory map, into `handoff`'s ranges. False: no map, or too many ranges. */
bool memory_map_read(UINTN *key);

/* load.c: allocates memory for hv; its size depends on the ranges, CPUs and guests in `handoff`. */
uint64_t load_arena_size(void);
bool load_allocate(void);
/* The highest address for allocations: within the reduced address width, and below the HyperTransport range, which a UEFI
 * memory map may list as RAM. */
uint64_t load_highest(void);
/* After ExitBootServices(): copies hv to its memory and jumps to it. */
_Noreturn void load_enter(void);

/* sections.c */
/* Finds the section `name` (8 characters, as PE stores them) of the PE image loaded at `image`, of `size` bytes. Reads
 * nothing outside. False: no such section, or inconsistent headers. */
bool section_find(const void *image, uint64_t size, const char *name, struct section *out);

/* Validates the hv image before it is loaded. NULL: valid, and the header is copied to *header. Else the reason. */
const char *image_check(const void *section, uint64_t size, struct hv_image_header *header);

/* madt.c: ACPI 6.4, 5.2.12, the Multiple APIC Description Table. */
#define MADT_ENTRIES 44u /* where the entries begin; no MADT is shorter */

/* The entry at *at, which is advanced; MADT_ENTRIES at first. Byte 0 is its type, byte 1 its length. NULL: the end of the
 * table, or a malformed entry. */
const uint8_t *madt_next(const uint8_t *madt, uint32_t size, uint32_t *at);

/* Into `handoff`: a CPU, if it is not there; those beyond HANDOFF_MAX_CPUS are counted. */
void madt_add(uint32_t apic_id);
/* Adds all enabled processors, by xAPIC and x2APIC entries. hv decides which ids interrupts can reach. */
void madt_read(const uint8_t *madt, uint32_t size);

/* ranges.c: the map of physical memory that hv gets, in `handoff`: ascending, disjoint, neighbours of one kind merged. */

/* The HyperTransport range, to which devices have no access whatever the memory map says (AMD IOMMU specification 2.1.2,
 * "Special Address Controls"; QEMU hw/i386/pc.c: AMD_HT_START, AMD_HT_END). Boards that relocate DRAM may leave part of
 * it in the map as usable. */
#define RANGES_HT_FIRST UINT64_C(0xfd00000000)
#define RANGES_HT_END UINT64_C(0x10000000000)

/* The bytes of one kind. */
uint64_t ranges_total(uint32_t kind);

/* Sets the kind of [base, base+pages), overwriting what was there; cut at the end of the address space. False: no room
 * for another range, and the map is unchanged. */
bool ranges_paint(uint64_t base, uint64_t pages, uint32_t kind);

/* Converts a UEFI memory map of `bytes` bytes in descriptors of `stride` (UEFI 2.9, 7.2, GetMemoryMap()). Descriptors may
 * overlap and come in any order: memory is usable only if all its descriptors say so. Memory from `limit` on is left out,
 * usable memory in the HyperTransport range becomes reserved; *withheld: the bytes of both. False: too many ranges, or a stride
 * that is too small. */
bool ranges_from_uefi(const void *map, uint64_t bytes, uint64_t stride, uint64_t limit, uint64_t *withheld);

/* The little-endian number of `bytes` bytes at `at`, unaligned. */
static inline uint64_t number_at(const void *at, uint32_t bytes)
{
    uint64_t value = 0;
    __builtin_memcpy(&value, at, bytes);
    return value;
}

/* trampoline.asm */
_Noreturn void trampoline(uint64_t cr3, uint64_t stack, uint64_t entry, uint64_t handoff);
extern const uint8_t trampoline_end[];

#endif
