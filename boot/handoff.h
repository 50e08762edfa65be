/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What boot/ leaves to hv/. Written by boot/ into hv's arena (so under the SME
 * key where there is one), read once by hv/. Flat data, no pointers into boot/.
 */
#ifndef SEVISOR_HANDOFF_H
#define SEVISOR_HANDOFF_H

#include <stdint.h>

#include "psp/psp.h"

#define HANDOFF_MAGIC UINT64_C(0x46464f444e414853) /* "SHANDOFF" */
#define HANDOFF_VERSION 9u
#define HANDOFF_MAX_RANGES 2048u
#define HANDOFF_MAX_CPUS 1024u
#define HANDOFF_STARTUP_PAGES 4u
#define HANDOFF_MAX_REGISTERS 64u
#define HANDOFF_NO_OPTION 0x10000u /* boot options are numbers of 16 bits */

/* Virtual address space of hv: the image at the top 2 GiB (mcmodel=kernel), the arena from HV_ARENA_BASE on;
 * hv/mm/layout.h has the rest. Nothing here depends on where the arena lies physically: that may be at 2^52, five bits
 * more than the upper half of a 4-level address space has (APM2 5.3). */
#define HV_IMAGE_BASE UINT64_C(0xffffffff80000000)
#define HV_ARENA_BASE UINT64_C(0xffff800000000000)
#define HV_ARENA_MAX (UINT64_C(1) << 39)
#define HV_UART_PAGE UINT64_C(0xffffffffc0000000) /* the operator's UART, where it lies in memory; plain, uncached */

enum handoff_range_kind {
    HANDOFF_USABLE = 1, /* RAM that is free once boot/ is gone */
    HANDOFF_ARENA, /* hv's image, first stack, this structure, and its page pool */
    HANDOFF_MANIFEST, /* the manifest, plain */
    HANDOFF_RUNTIME_CODE, /* UEFI runtime services */
    HANDOFF_RUNTIME_DATA,
    HANDOFF_ACPI, /* ACPI tables and NVS */
    HANDOFF_MMIO,
    HANDOFF_RESERVED,
};

struct handoff_range { /* ascending, disjoint */
    uint64_t base; /* bytes, page aligned */
    uint64_t pages; /* of 4 KiB */
    uint32_t kind;
    uint32_t reserved;
};

/* The operator's 16550. */
struct handoff_uart {
    uint64_t base; /* of its registers: an I/O port, or physical, all in one page; 0: none */
    uint32_t divisor; /* for its baud rate */
    uint8_t in_memory;
    uint8_t stride, width; /* bytes: from one register to the next; of an access in memory (1, 2, 4) */
    uint8_t line; /* what its line control register gets */
};

/* A register, and what ends the machine when it is written: (what is there & keep) | value. */
struct handoff_register {
    uint64_t address; /* of a port or, one to one, in memory; 0: there is none */
    uint32_t port; /* 1: it is a port */
    uint32_t bytes; /* 1 or 2, and aligned to it */
    uint32_t keep, value;
};

/* Registers that hv visits once; within phys_bits. */
enum handoff_registers_kind {
    HANDOFF_PCI = 1, /* configuration space of buses of one segment, 4 KiB a function; base 0: by ports */
    HANDOFF_IOAPIC = 2,
};

struct handoff_registers {
    uint64_t base, size;
    uint32_t kind;
    uint32_t first; /* HANDOFF_PCI: the function at `base`: segment << 16 | bus << 8 */
};

struct handoff {
    uint64_t magic;
    uint32_t version;
    uint32_t size; /* sizeof(struct handoff) */

    uint64_t arena_base; /* contiguous, 2 MiB aligned; at most HV_ARENA_MAX; mapped C=1 at HV_ARENA_BASE. The image is
                          * at its start, mapped at HV_IMAGE_BASE, too */
    uint64_t arena_size;
    uint64_t arena_used; /* bytes from arena_base that boot/ filled: image, tables, stack, handoff */

    uint64_t manifest_base; /* physical, page aligned, plain */
    uint64_t manifest_size;
    uint64_t manifest_table; /* physical, inside the arena: a copy of its header, guests and steps, of a manifest that
                              * manifest_check() has passed; 0: it has changed since the preflight */

    uint64_t c_bit_mask; /* 0: no SME (SYSCFG.MemEncryptionModEn is clear) */
    uint32_t phys_bits; /* usable physical address width, reduction applied */
    uint32_t max_sev_asid; /* CPUID 8000_001F ECX; 0 without SEV */
    uint32_t min_sev_asid; /* CPUID 8000_001F EDX: first for guests without ES */
    uint32_t sev_usable; /* 1: encrypted guests may be launched */

    uint64_t tsc_hz; /* measured against the ACPI PM timer */
    uint64_t wall_seconds; /* since 1970, UTC, when the TSC was wall_tsc; 0: unknown */
    uint64_t wall_tsc;
    uint64_t reset_system, set_variable; /* physical addresses of UEFI's runtime services */
    uint32_t boot_next; /* the boot option that follows this one (UEFI 2.9, 3.3), or HANDOFF_NO_OPTION */
    uint32_t com2_free; /* 1: the second serial port has a UART, which is not hv's console */
    struct handoff_uart uart;
    struct handoff_register off[2], reset; /* ACPI's ways; off[0] and then off[1] */

    struct psp_location psp; /* of the Secure Processor with SEV; bar 0: there is none */
    char sev_refusal[256]; /* if they may not: why, in words, with the remedy */

    uint64_t startup_base; /* HANDOFF_STARTUP_PAGES below 1 MiB for other CPUs' first instructions; 0: none */
    uint32_t cpu_count; /* of the machine, as its MADT says, the boot CPU included */
    uint32_t cpus_left_out; /* beyond HANDOFF_MAX_CPUS */
    uint32_t apic_ids[HANDOFF_MAX_CPUS]; /* the boot CPU's first */

    uint32_t range_count;
    uint32_t register_count;
    struct handoff_registers registers[HANDOFF_MAX_REGISTERS];
    struct handoff_range ranges[HANDOFF_MAX_RANGES];
};

/* The first bytes of the hv image (PE section `.hv`), made by linker/hv.ld.
 * Offsets are from the image's start, page aligned. */
#define HV_IMAGE_MAGIC UINT64_C(0x00564852535645ba)

struct hv_image_header {
    uint64_t magic;
    uint32_t version; /* HANDOFF_VERSION */
    uint32_t checksum; /* CRC-32 of what follows it in the file part, which is data_offset + data_size bytes long */
    uint64_t entry; /* offset; called with RDI = virtual address of struct handoff */
    uint64_t text_offset; /* read + execute; what is before, with this header: read */
    uint64_t data_offset, data_size; /* read + write; file part, which zeros follow */
    uint64_t total_size; /* in memory, bss included */
};

#endif
