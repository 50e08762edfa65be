/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The manifest: a launch program, written by guest/pack.py, carried as PE
 * section `.manifest`, validated by manifest.c for boot/, executed by hv/.
 *
 *   header | guests[] | steps[] | zeros | payload ...
 *   `--------- the table -------------'
 *
 * All numbers are little-endian. All offsets are from the manifest's start.
 * Everything is hostile until manifest_check() has said MANIFEST_OK.
 */
#ifndef SEVISOR_MANIFEST_FORMAT_H
#define SEVISOR_MANIFEST_FORMAT_H

#include <stddef.h>
#include <stdint.h>

#define MANIFEST_MAGIC UINT64_C(0x54464e4d56455300) /* "\0SEVMNFT" */
#define MANIFEST_REVISION 2u
#define MANIFEST_PAGE 4096u
#define MANIFEST_MAX_SIZE (UINT64_C(1) << 32)
#define MANIFEST_MAX_GUESTS 512u     /* no part has more ASIDs that are worth counting: Milan has 509 */
#define MANIFEST_MAX_STEPS 16384u
#define MANIFEST_MAX_VCPUS 64u
#define MANIFEST_MAX_CPUS 1024u      /* host CPUs that a vCPU can be pinned to: 0 to 1023 */
#define MANIFEST_CPU_ANY 0xffffu     /* no pin: the hypervisor places the vCPU */
#define MANIFEST_NAME_SIZE 32u       /* with the NUL; [a-zA-Z0-9._-], starts with a letter or digit, unique */
#define MANIFEST_MEMORY_UNIT (UINT64_C(2) << 20)
#define MANIFEST_MAX_MEMORY (UINT64_C(1) << 40)
#define MANIFEST_MAX_SEV_FIRMWARE (UINT32_C(1) << 20)   /* those of five families have 33 to 97 KiB */

#define MANIFEST_SHOW_PDH 1u    /* flag: the platform's certificates on the console at start */

/* Flags of a guest. */
#define MANIFEST_GUEST_CONTROL (1u << 0)            /* may call the control interface: one guest at most, not sev */
#define MANIFEST_GUEST_DEBUG (1u << 1)              /* may be debugged without a SEV policy */
#define MANIFEST_GUEST_REQUIRE_SECRET (1u << 2)     /* sev: does not run before LAUNCH_SECRET has filled its place */
#define MANIFEST_GUEST_SESSION_AT_LAUNCH (1u << 3)  /* sev: policy, certificate and session come by control */
#define MANIFEST_GUEST_SERIAL_COM2 (1u << 4)        /* control guest: the host's second serial port is its own */
#define MANIFEST_GUEST_SNAPSHOT (1u << 5)           /* nested pages of 4 KiB from launch on */
#define MANIFEST_GUEST_FLAGS_KNOWN 0x3fu

#define MANIFEST_MAX_SECRET 0x4000u     /* bytes that one LAUNCH_SECRET places */
#define MANIFEST_SECRET_UNIT 16u        /* of its address and length (SEV API 6.6) */

struct manifest_header {
    uint64_t magic;
    uint32_t revision;
    uint32_t header_size;       /* sizeof(struct manifest_header) */
    uint64_t total_size;        /* bytes, the header and all payload included */
    uint32_t table_checksum;    /* CRC-32 (IEEE 802.3) of the table, this field taken as 0 */
    uint32_t payload_checksum;  /* CRC-32 of [payload_offset, total_size) */
    uint32_t guest_count;
    uint32_t guest_size;        /* sizeof(struct manifest_guest) */
    uint32_t step_count;
    uint32_t step_size;         /* sizeof(struct manifest_step) */
    uint64_t payload_offset;    /* multiple of MANIFEST_PAGE; the table ends here, padded with zeros */
    /* The platform's. Revision 2 had zeros here at first. */
    uint32_t sev_firmware_size; /* bytes at payload_offset, for DOWNLOAD_FIRMWARE; 0: none */
    uint8_t flags;              /* MANIFEST_SHOW_PDH */
    uint8_t sev_firmware_version[3];    /* build, API minor, API major, as whoever named the file says; 0: no file */
};

enum manifest_encryption {
    MANIFEST_ENCRYPTION_NONE = 0,   /* plain memory */
    MANIFEST_ENCRYPTION_HOST = 1,   /* the hypervisor's SME key, set in the nested tables */
    MANIFEST_ENCRYPTION_SEV = 2,    /* a key of the guest's own */
};

/* What happens when a guest powers off, resets or crashes (libvirt's words). */
enum manifest_action {
    MANIFEST_ACTION_DESTROY = 0,
    MANIFEST_ACTION_RESTART = 1,    /* launch again from the manifest, `restarts` times at most */
};

/* A segment in the VMCB's format (APM2 table B-2). */
struct manifest_segment {
    uint16_t selector;
    uint16_t attributes;
    uint32_t limit;
    uint64_t base;
};

/* Initial state of the boot vCPU. EFER without SVME, which hv/ adds. */
struct manifest_registers {
    uint64_t rax, rbx, rcx, rdx, rsi, rdi, rbp, rsp;
    uint64_t r8, r9, r10, r11, r12, r13, r14, r15;
    uint64_t rip, rflags;
    uint64_t cr0, cr3, cr4, efer;
    struct manifest_segment es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr;
};

struct manifest_guest {
    char name[MANIFEST_NAME_SIZE];
    uint32_t encryption;        /* enum manifest_encryption */
    uint32_t vcpus;
    uint64_t memory;            /* bytes of guest-physical RAM from address 0, multiple of MANIFEST_MEMORY_UNIT */
    uint32_t first_step, step_count;    /* steps of guest i+1 follow those of guest i */
    uint32_t sev_policy;        /* sev only, else 0; ES and later bits refused in revision 2 */
    uint8_t cbitpos;            /* sev only, else 0: what the guest's page tables were built for */
    uint8_t reduced_phys_bits;  /* sev only, else 0 */
    uint8_t on_poweroff, on_reboot, on_crash;   /* enum manifest_action */
    uint8_t reserved0;
    uint16_t flags;             /* MANIFEST_GUEST_*; revision 2 had zeros here at first, and for the secret's place */
    uint32_t restarts;          /* relaunches at most; 0 when no action is RESTART */
    uint64_t dh_cert_offset, session_offset;    /* in the payload; 0 when absent; both or none */
    uint32_t dh_cert_size;      /* 0 or 2084 (SEV API 5.1) */
    uint32_t session_size;      /* 0 or 128 */
    uint8_t launch_digest[32];  /* expected, of the measured steps in order; zeros unless sev */
    /* The host CPU of each vCPU, counted from 0 in the order in which hv/ numbers them, or
     * MANIFEST_CPU_ANY. Entries beyond `vcpus` are MANIFEST_CPU_ANY. */
    uint16_t cpus[MANIFEST_MAX_VCPUS];
    struct manifest_registers registers;
    uint64_t secret_gpa;        /* both 0 unless REQUIRE_SECRET; in no DATA or SHARED step */
    uint32_t secret_size;       /* bytes, multiple of MANIFEST_SECRET_UNIT, at most MANIFEST_MAX_SECRET */
    uint32_t reserved1;
};

enum manifest_step_kind {
    MANIFEST_STEP_DATA = 1,     /* payload bytes; sev: private and measured */
    MANIFEST_STEP_ZERO = 2,     /* zeros without payload; sev: private and measured */
    MANIFEST_STEP_SHARED = 3,   /* payload bytes; sev: shared, not measured */
};

/* Steps of one guest ascend in guest-physical address and do not overlap. */
struct manifest_step {
    uint32_t kind;
    uint32_t reserved;
    uint64_t gpa;               /* multiple of MANIFEST_PAGE */
    uint64_t size;              /* bytes, multiple of MANIFEST_PAGE, > 0 */
    uint64_t payload_offset;    /* multiple of MANIFEST_PAGE; 0 for ZERO */
};

_Static_assert(sizeof(struct manifest_header) == 64, "manifest header");
_Static_assert(sizeof(struct manifest_segment) == 16, "manifest segment");
_Static_assert(sizeof(struct manifest_registers) == 22 * 8 + 10 * 16, "manifest registers");
_Static_assert(sizeof(struct manifest_guest) == 608, "manifest guest");
_Static_assert(offsetof(struct manifest_guest, memory) == 40, "manifest guest's memory");
_Static_assert(offsetof(struct manifest_guest, sev_policy) == 56, "manifest guest's policy");
_Static_assert(offsetof(struct manifest_guest, flags) == 66, "manifest guest's flags");
_Static_assert(offsetof(struct manifest_guest, dh_cert_offset) == 72, "manifest guest's session");
_Static_assert(offsetof(struct manifest_guest, launch_digest) == 96, "manifest guest's digest");
_Static_assert(offsetof(struct manifest_guest, cpus) == 128, "manifest guest's pins");
_Static_assert(offsetof(struct manifest_guest, registers) == 256, "manifest guest's registers");
_Static_assert(offsetof(struct manifest_guest, secret_gpa) == 592, "manifest guest's secret");
_Static_assert(sizeof(struct manifest_step) == 32, "manifest step");

/* Parts of a manifest that manifest_check() has passed, or of a copy of its table. */
static inline const struct manifest_guest *manifest_guest(const void *manifest, uint32_t index)
{
    const uint8_t *guests = (const uint8_t *)manifest + sizeof(struct manifest_header);

    return (const struct manifest_guest *)(const void *)guests + index;
}

static inline const struct manifest_step *manifest_step(const void *manifest, uint32_t index)
{
    const struct manifest_header *header = manifest;

    return (const struct manifest_step *)(const void *)manifest_guest(manifest, header->guest_count) + index;
}

#endif
