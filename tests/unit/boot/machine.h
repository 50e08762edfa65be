/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * A machine for boot/, as a host program: UEFI's tables and services, CPUID, MSRs, ports (PM timer, UARTs, PCI),
 * and some RAM at its physical address and, once the bridge is there, hv's arena at HV_ARENA_BASE. Each test
 * runs in a process of its own, since boot/ starts once and never again.
 */
#ifndef TESTS_UNIT_BOOT_MACHINE_H
#define TESTS_UNIT_BOOT_MACHINE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include "../cmocka_names.h"

#include <string.h>

#include "../alone.h"

#include "boot/boot.h"
#include "hv/lib/x86.h"
#include "../manifest/good.h"

#define MIB (UINT64_C(1) << 20)
#define RAM_BASE UINT64_C(0x10000000)
#define RAM_SIZE (256 * MIB)
#define TABLES_BASE (RAM_BASE + 1 * MIB)        /* ACPI tables */
#define IMAGE_BASE (RAM_BASE + 2 * MIB)         /* the application, loaded */
#define IMAGE_BYTES (1 * MIB)
#define HV_OFFSET 0x2000u                       /* its sections */
#define MANIFEST_OFFSET 0x20000u
#define PSP_BAR UINT64_C(0x50000000)
#define PSP_BAR_SIZE MIB
#define UART_BASE (PSP_BAR + 0x80000)           /* eight registers, as far as they are looked at */
#define ECAM UINT64_C(0x60000000)               /* PCI configuration space as memory, of absent functions at first */
#define ECAM_BUSES 4u
#define ECAM_0 UINT64_C(0xe0000000)             /* segment 0's, of all buses, of the functions that ports reach */
#define PCI_ADDRESS_BEFORE 0x80fff8a4u          /* at port 0xcf8: the UEFI firmware's */
#define PM_PORT 0x608u
#define NO_OPTION UINT32_MAX
#define HZ UINT64_C(2400000000)

/* The hv image: pages of read-only data, code, data, and zeros. */
enum { HV_RODATA = 2, HV_TEXT = 3, HV_DATA = 1, HV_BSS = 2, HV_PAGES = HV_RODATA + HV_TEXT + HV_DATA + HV_BSS };

enum end { REFUSED, ENTERED, HALTED, RESET };   /* by Exit(); by the trampoline; by HLT; by ResetSystem() */
enum event { EV_CLI = 1, EV_CR4, EV_EFER, EV_WBINVD, EV_CR3, EV_SYSCFG, EV_OTHERS_WBINVD };

struct leaf {
    uint32_t leaf;
    struct cpuid regs;
};

struct function {
    uint16_t bdf;
    uint32_t config[64];
    unsigned writes;
};

struct machine {
    struct leaf leaves[64];             /* CPUID; what is not here is zeros */
    uint64_t vm_cr, syscfg, hwcr, efer, cr4;
    uint64_t syscfg_stuck;              /* bits that a write does not change */
    uint64_t syscfg_before;             /* as the firmware left it, and finds it whenever it runs */
    uint64_t rflags;
    unsigned syscfg_writes;

    uint64_t tsc, hz, tsc_per_access;
    uint16_t pm_port;                   /* 0: none; the ticks follow the TSC */
    uint64_t pm_hz;
    unsigned stalls;
    EFI_TIME time;                      /* GetTime()'s, a second after it was called */
    EFI_STATUS time_status;
    unsigned interrupted_rdtsc;         /* 20 ms before the so-manieth look at the TSC from now; 0: never */
    unsigned interrupted_then;          /* and once more, at so many looks later; 0: never */

    struct {                            /* the Secure Processor: PLATFORM_STATUS is what it answers */
        bool silent;                    /* ... or not */
        uint16_t status;
        uint8_t answer[12];
        unsigned commands;
        bool left_over;                 /* nobody works on the command that stands there */
        bool left_over_answers;         /* ... but its answer comes when the next stands there */
        void (*seen)(void);             /* called when a command is */
        uint32_t command_register;      /* PCI's, while the last one was running */
    } psp;

    struct {
        uint16_t port;
        uint8_t scratch, stuck, stride;
        uint8_t lcr, divisor[2];
        unsigned lcr_busy;      /* so many accesses of LCR find, and leave, what is there */
        bool in_memory;         /* the port is one more way to the registers at UART_BASE, which are 4 bytes apart */
    } uarts[4];     /* `stuck`: bits of the scratch register */
    uint8_t con_out[9000];               /* the variable; not there while its size is 0 */
    UINTN con_out_size;
    struct function pci[64];
    uint64_t ecam_0; /* where segment 0's bus 0 is or would be in memory */
    uint64_t vf_bars, vf_size; /* where the registers of virtual functions are in ECAM, and what they decode */
    struct {
        uint64_t base, end;
    } mapped[16]; /* by the UEFI firmware, one to one */
    uint64_t ecam_psp; /* where the Secure Processor's is, if that is in another segment: alone writable */
    uint64_t firmware_cr3; /* the firmware's page tables, as far as somebody looks: empty at first */
    unsigned sized; /* registers that have no valid address, as bits, or do not decode it */
    uint32_t pci_address, bar2_mask, bar3_mask; /* of pci[0], the Secure Processor */

    EFI_MEMORY_DESCRIPTOR map[2048];
    unsigned map_count;
    unsigned wide_map_count; /* if not 0: that many ranges instead, none of which touches the next */
    UINTN map_key;
    unsigned exit_boot_refusals; /* that many ExitBootServices() fail */
    unsigned exit_boot_calls;
    uint64_t maps_in_the_end; /* ExitBootServices() maps 2 MiB there, one to one; 0: nothing */
    bool boot_services_over;
    unsigned map_reads_left; /* GetMemoryMap() fails beyond */
    uint64_t low_base; /* what is allocated below 1 MiB; 0: nothing is free there */
    uint64_t highest_asked; /* of AllocatePages() by a highest address, above 1 MiB */
    uint64_t allocation_skew; /* bytes by which allocations miss 2 MiB alignment */
    unsigned allocations_left; /* AllocatePages() fails beyond */
    struct {
        uint64_t base, pages;
    } pages[8]; /* allocated */
    bool no_reserved_page; /* AllocatePages() has none of that type */
    uint64_t reserved_page; /* 0: none, or freed */
    bool junk; /* what is allocated has been used before */
    bool no_mp_services;
    EFI_STATUS mp_status; /* of StartupAllAPs() */

    uint64_t image_base; /* where the application lies */
    unsigned keys_at, keys; /* so many keys are hit, after so many looks for one */
    unsigned looks;
    char console[16384];
    enum event events[32];
    unsigned event_count;
    uint64_t watchdog;
    EFI_STATUS exit_status;
    bool no_reset; /* ResetSystem() comes back */
    uint16_t boot_order[300], boot_current, boot_next; /* boot options */
    UINTN boot_order_bytes; /* 0: BootOrder is not there */
    bool no_boot_current;
    uint32_t boot_attributes[16]; /* of the options by their last digit, or NO_OPTION */
    uint64_t tsc_at_words, refused_tsc; /* at the last words, and at Exit() */
    uint64_t cr3, final_cr3, stack, entry, handoff; /* cr3: the last one written; others: trampoline()'s */
    bool arena_touched_before_cr3;
    jmp_buf *out;
};

extern struct machine machine;
extern EFI_SYSTEM_TABLE system_table;
extern EFI_CONFIGURATION_TABLE configuration[3];
extern EFI_RUNTIME_SERVICES runtime;

/* A machine on which all is fine: 3 guests (one SEV), one CPU, Secure Processor at 41:00.1. A cmocka set-up. */
int machine_reset(void **state);
struct leaf *machine_leaf(uint32_t leaf);
void machine_set_leaf(uint32_t leaf, struct cpuid regs);
struct function *machine_pci(uint16_t bdf, uint32_t id, uint32_t header, uint32_t command);
/* One more entry of the MCFG, which comes with the first. */
void machine_mcfg(uint64_t base, uint16_t segment, uint8_t first, uint8_t last);
/* A function in ECAM: the `number`-th from its beginning. Returns its registers. */
uint32_t *machine_ecam(uint32_t number, uint32_t id, uint32_t header, uint32_t command);
/* The firmware maps it one to one, from now on, beside what it mapped before. */
void machine_maps(uint64_t base, uint64_t size);
void machine_descriptor(uint32_t type, uint64_t base, uint64_t pages, uint64_t attribute);
struct good *machine_manifest(void);
struct hv_image_header *machine_hv(void);
/* ACPI tables; `root` tells where they go. The bodies are at the caller's mercy, checksums are made right. */
void *acpi_add(const char *signature, uint32_t size);
/* The same table once more. */
void acpi_list(const void *table);
void acpi_seal(void *table);
void acpi_build(uint8_t revision, bool xsdt, bool rsdt);
/* An MADT of these xAPIC ids. */
void machine_madt(unsigned count, const uint8_t *ids);

/* Runs efi_main() to its end. */
enum end machine_boot(void);
/* Only what `call` does; HALTED by HLT. */
enum end machine_until(void (*call)(void));
/* The tables of boot/ without efi_main(): for tests of one file. */
void machine_attach(void);

/* The row of this feature; fails when there is none. */
const struct preflight_row *machine_row(const char *feature);
/* What the Secure Processor does in the time that passes. */
void machine_psp_run(void);
void machine_event(enum event what);
bool machine_holds_nothing(void); /* no page, PCI and SYSCFG as they were */

#endif
