/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The SEV firmware of an AMD Secure Processor, as a library.
 *
 * It takes a mailbox command and reaches memory through callbacks; it knows
 * nothing of QEMU and nothing of Sevisor. The QEMU device, the unit tests of
 * psp/ and the fuzzers link the same code.
 *
 * Addresses called `spa` are system physical addresses as they stand in a
 * command: the C-bit, if set, asks for the view of the SME host key.
 */
#ifndef SEVFW_H
#define SEVFW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sevfw;

#define SEVFW_VEK_SIZE 16
#define SEVFW_CHIP_ID_SIZE 64
#define SEVFW_MAX_CPUS 1024
#define SEVFW_NV_SIZE 0x8000

/* What the firmware can do to the rest of the machine. All return false when
 * the range is not RAM; `opaque` is what sevfw_new() was given. */
struct sevfw_ops {
    /* Host memory through the plain view or, with the C-bit, the host key. */
    bool (*read)(void *opaque, uint64_t spa, void *buf, size_t len);
    bool (*write)(void *opaque, uint64_t spa, const void *buf, size_t len);
    /* Memory through the key installed for `asid`; the C-bit is ignored. */
    bool (*read_guest)(void *opaque, uint32_t asid, uint64_t spa, void *buf, size_t len);
    bool (*write_guest)(void *opaque, uint32_t asid, uint64_t spa, const void *buf, size_t len);
    /* Whether all of a range (no C-bit in `spa`) is RAM, by the address map alone: a refused
     * command has touched no memory. NULL: a byte of each page is read, to see. */
    bool (*is_ram)(void *opaque, uint64_t spa, uint64_t len);
    /* The memory controllers' key slots. */
    void (*install_key)(void *opaque, uint32_t asid, const uint8_t vek[SEVFW_VEK_SIZE]);
    void (*remove_key)(void *opaque, uint32_t asid);
    /* SYSCFG.MemEncryptionModEn is set on every CPU (else INIT: HWERROR_PLATFORM). */
    bool (*memory_encryption_enabled)(void *opaque);
    /* Persistent state, SEVFW_NV_SIZE bytes: false when there is none yet. */
    bool (*nv_load)(void *opaque, uint8_t nv[SEVFW_NV_SIZE]);
    void (*nv_store)(void *opaque, const uint8_t nv[SEVFW_NV_SIZE]);
    /* Random bytes; NULL means the operating system's. */
    void (*random)(void *opaque, void *buf, size_t len);
};

struct sevfw_config {
    uint8_t api_major, api_minor, build;    /* that the BIOS brought: again after each reset */
    uint8_t part;           /* that firmware images must be made for */
    uint32_t cpus;          /* whose WBINVDs DF_FLUSH waits for */
    uint32_t max_sev_asid;  /* CPUID 8000_001F ECX */
    uint32_t min_sev_asid;  /* CPUID 8000_001F EDX: first ASID of a guest without ES */
    uint32_t max_guests;    /* guest contexts; beyond: RESOURCE_LIMIT */
    uint8_t c_bit;          /* position */
    uint8_t phys_bits;      /* addresses at or above 1 << phys_bits (C-bit aside): INVALID_ADDRESS */
    uint8_t chip_id[SEVFW_CHIP_ID_SIZE];
    /* INIT keeps the PDH that persistent state holds, so that a session made in a
     * former boot still opens. The reference has INIT make a new one ([2nd]). */
    bool keep_pdh;
};

/* A firmware after power-on: platform state UNINIT. The caller owns it. NULL
 * when out of memory or the configuration contradicts itself. */
struct sevfw *sevfw_new(const struct sevfw_config *config, const struct sevfw_ops *ops, void *opaque);
void sevfw_free(struct sevfw *fw);

/* System reset: guests, keys and platform state are gone, persistent state stays. */
void sevfw_reset(struct sevfw *fw);

/* Executes a command and returns its status (0 = SUCCESS, SEV API section 2 of
 * shared reference). `spa` is the address of the command buffer; it is read
 * once at the start, outputs are written at the end. */
uint16_t sevfw_command(struct sevfw *fw, uint32_t id, uint64_t spa);

/* A CPU executed WBINVD. */
void sevfw_wbinvd(struct sevfw *fw, uint32_t cpu);

/* Whether VMRUN may use this ASID: a guest is ACTIVE on it. */
bool sevfw_asid_active(const struct sevfw *fw, uint32_t asid);

/* Names, NULL when unknown, and back: false when unknown. */
const char *sevfw_command_name(uint32_t id);
const char *sevfw_status_name(uint16_t status);
bool sevfw_command_by_name(const char *name, uint32_t *id);
bool sevfw_status_by_name(const char *name, uint16_t *status);

/* The guest handle that a command named (LAUNCH_START: that it returned) and
 * whether it had one; for the trace. Valid until the next command. */
bool sevfw_last_handle(const struct sevfw *fw, uint32_t *handle);

/* Overwrites everything that the last command wrote to host memory (the output
 * fields of its command buffer, and its output buffers; guest memory stays). */
void sevfw_scribble_outputs(struct sevfw *fw, uint8_t pattern);

#endif
