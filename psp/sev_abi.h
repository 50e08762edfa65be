/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * The wire format of the SEV firmware API: command ids, statuses, states and
 * command buffers. Little-endian, no padding, names as AMD spells them.
 * Sections are those of AMD document 55766, "SEV API".
 */
#ifndef SEVISOR_SEV_ABI_H
#define SEVISOR_SEV_ABI_H

#include <stddef.h>
#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "command buffers are little-endian");

/* SEV API 4.3: all but those of SEV-SNP. RING_BUFFER, NOP, COPY, ACTIVATE_EX, SWAP_*: as in AMD's sev-tool only. */
enum sev_command {
    SEV_CMD_INIT = 0x01,
    SEV_CMD_SHUTDOWN = 0x02,
    SEV_CMD_PLATFORM_RESET = 0x03,
    SEV_CMD_PLATFORM_STATUS = 0x04,
    SEV_CMD_PEK_GEN = 0x05,
    SEV_CMD_PEK_CSR = 0x06,
    SEV_CMD_PEK_CERT_IMPORT = 0x07,
    SEV_CMD_PDH_CERT_EXPORT = 0x08,
    SEV_CMD_PDH_GEN = 0x09,
    SEV_CMD_DF_FLUSH = 0x0a,
    SEV_CMD_DOWNLOAD_FIRMWARE = 0x0b,
    SEV_CMD_GET_ID = 0x0c,
    SEV_CMD_INIT_EX = 0x0d,
    SEV_CMD_NOP = 0x0e,
    SEV_CMD_RING_BUFFER = 0x0f,
    SEV_CMD_DECOMMISSION = 0x20,
    SEV_CMD_ACTIVATE = 0x21,
    SEV_CMD_DEACTIVATE = 0x22,
    SEV_CMD_GUEST_STATUS = 0x23,
    SEV_CMD_COPY = 0x24,
    SEV_CMD_ACTIVATE_EX = 0x25,
    SEV_CMD_LAUNCH_START = 0x30,
    SEV_CMD_LAUNCH_UPDATE_DATA = 0x31,
    SEV_CMD_LAUNCH_UPDATE_VMSA = 0x32,
    SEV_CMD_LAUNCH_MEASURE = 0x33,
    SEV_CMD_LAUNCH_SECRET = 0x34,
    SEV_CMD_LAUNCH_FINISH = 0x35,
    SEV_CMD_ATTESTATION = 0x36,
    SEV_CMD_SEND_START = 0x40,
    SEV_CMD_SEND_UPDATE_DATA = 0x41,
    SEV_CMD_SEND_UPDATE_VMSA = 0x42,
    SEV_CMD_SEND_FINISH = 0x43,
    SEV_CMD_SEND_CANCEL = 0x44,
    SEV_CMD_RECEIVE_START = 0x50,
    SEV_CMD_RECEIVE_UPDATE_DATA = 0x51,
    SEV_CMD_RECEIVE_UPDATE_VMSA = 0x52,
    SEV_CMD_RECEIVE_FINISH = 0x53,
    SEV_CMD_DBG_DECRYPT = 0x60,
    SEV_CMD_DBG_ENCRYPT = 0x61,
    SEV_CMD_SWAP_OUT = 0x70,
    SEV_CMD_SWAP_IN = 0x71,
};

/* SEV API 4.4: name, number, and the operator's sentence. 0x1e is not defined. */
#define SEV_STATUSES                                                                        \
    SEV_STATUS(SUCCESS, 0x00, "done")                                                       \
    SEV_STATUS(INVALID_PLATFORM_STATE, 0x01, "not allowed in this platform state")          \
    SEV_STATUS(INVALID_GUEST_STATE, 0x02, "not allowed in this guest state")                \
    SEV_STATUS(INVALID_CONFIG, 0x03, "the platform's configuration is invalid")             \
    SEV_STATUS(INVALID_LENGTH, 0x04, "a buffer has the wrong length")                       \
    SEV_STATUS(ALREADY_OWNED, 0x05, "the platform has an external owner already")           \
    SEV_STATUS(INVALID_CERTIFICATE, 0x06, "a certificate is malformed or does not verify")  \
    SEV_STATUS(POLICY_FAILURE, 0x07, "the guest's policy forbids it")                       \
    SEV_STATUS(INACTIVE, 0x08, "the guest has no active ASID")                              \
    SEV_STATUS(INVALID_ADDRESS, 0x09, "an address is misaligned or out of range")           \
    SEV_STATUS(BAD_SIGNATURE, 0x0a, "a signature does not verify")                          \
    SEV_STATUS(BAD_MEASUREMENT, 0x0b, "a MAC or digest does not match")                     \
    SEV_STATUS(ASID_OWNED, 0x0c, "another guest has this ASID")                             \
    SEV_STATUS(INVALID_ASID, 0x0d, "the ASID is out of range for this kind of guest")       \
    SEV_STATUS(WBINVD_REQUIRED, 0x0e, "a core has not written its caches back")             \
    SEV_STATUS(DF_FLUSH_REQUIRED, 0x0f, "the data fabric has not been flushed")             \
    SEV_STATUS(INVALID_GUEST, 0x10, "no guest has this handle")                             \
    SEV_STATUS(INVALID_COMMAND, 0x11, "the SEV firmware does not know the command")         \
    SEV_STATUS(ACTIVE, 0x12, "the guest still has an active ASID")                          \
    SEV_STATUS(HWERROR_PLATFORM, 0x13, "hardware error; the platform is safe")              \
    SEV_STATUS(HWERROR_UNSAFE, 0x14, "hardware error; the platform may be unsafe")          \
    SEV_STATUS(UNSUPPORTED, 0x15, "the feature is not supported")                           \
    SEV_STATUS(INVALID_PARAM, 0x16, "a parameter or a reserved bit is wrong")               \
    SEV_STATUS(RESOURCE_LIMIT, 0x17, "the SEV firmware is out of resources")                \
    SEV_STATUS(SECURE_DATA_INVALID, 0x18, "the SEV firmware's persistent data are damaged") \
    SEV_STATUS(INVALID_PAGE_SIZE, 0x19, "the RMP has another size for a page")              \
    SEV_STATUS(INVALID_PAGE_STATE, 0x1a, "the RMP has another state for a page")            \
    SEV_STATUS(INVALID_MDATA_ENTRY, 0x1b, "a metadata entry is invalid")                    \
    SEV_STATUS(INVALID_PAGE_OWNER, 0x1c, "the RMP has another owner for a page")            \
    SEV_STATUS(AEAD_OFLOW, 0x1d, "a counter of the authenticated encryption has run out")   \
    SEV_STATUS(RING_BUFFER_EXIT, 0x1f, "the SEV firmware left ring-buffer mode instead")    \
    SEV_STATUS(RMP_INIT_REQUIRED, 0x20, "the RMP is not initialised")                       \
    SEV_STATUS(BAD_SVN, 0x21, "the security version is older than the committed one")       \
    SEV_STATUS(BAD_VERSION, 0x22, "the version is older than the committed one")            \
    SEV_STATUS(SHUTDOWN_REQUIRED, 0x23, "the platform must be shut down first")             \
    SEV_STATUS(UPDATE_FAILED, 0x24, "the update of the SEV firmware failed")                \
    SEV_STATUS(RESTORE_REQUIRED, 0x25, "the SEV firmware must be restored")                 \
    SEV_STATUS(RMP_INIT_FAILED, 0x26, "the RMP could not be initialised")                   \
    SEV_STATUS(INVALID_KEY, 0x27, "a key is invalid")

enum sev_status {
#define SEV_STATUS(name, number, text) SEV_STATUS_##name = (number),
    SEV_STATUSES
#undef SEV_STATUS
};

/* SEV API 5.1.2 */
enum sev_platform_state {
    SEV_PLATFORM_UNINIT = 0,
    SEV_PLATFORM_INIT = 1,
    SEV_PLATFORM_WORKING = 2,
};

/* Guest policy, SEV API chapter 3. */
#define SEV_POLICY_NODBG (UINT32_C(1) << 0)
#define SEV_POLICY_ES (UINT32_C(1) << 2)
#define SEV_POLICY_NOSEND (UINT32_C(1) << 3)
#define SEV_POLICY_RESERVED UINT32_C(0x0000ffc0)
#define SEV_POLICY_API_MAJOR_SHIFT 16
#define SEV_POLICY_API_MINOR_SHIFT 24

#define SEV_OWNER_EXTERNAL UINT8_C(1)      /* platform status, owner: 0 self-owned */
#define SEV_CONFIG_ES UINT16_C(1)     /* platform status, config: INIT asked for SEV-ES */

#define SEV_HANDLE_NONE UINT32_C(0)     /* no guest has it; LAUNCH_START: a key of its own */

#define SEV_CERT_SIZE 2084u           /* one SEV certificate (PDH, PEK, OCA, CEK) */
#define SEV_CERT_KEY_AT 0x10u           /* SEV API, appendix C.1: its public key */
#define SEV_CERT_KEY_SIZE 1028u
#define SEV_CHAIN_CERTS 3u              /* behind the PDH's: PEK, OCA, CEK */
#define SEV_SESSION_SIZE 128u            /* launch session: nonce, wrapped keys, MACs */
#define SEV_CHIP_ID_SIZE 64u             /* per socket */
#define SEV_LAUNCH_ALIGN 16u             /* address and length of LAUNCH_UPDATE_DATA */

/* Each member's offset is compared with other sources by tests/unit/psp/test_abi.c. */
#define SEV_ABI_SIZE(type, bytes) _Static_assert(sizeof(struct type) == (bytes), #type " has " #bytes " bytes")

/* SEV API 5, PLATFORM_STATUS, all out. */
struct sev_platform_status_buffer {
    uint8_t api_major;
    uint8_t api_minor;
    uint8_t state;              /* enum sev_platform_state */
    uint8_t owner;              /* 0 self, SEV_OWNER_EXTERNAL */
    uint16_t config;            /* SEV_CONFIG_ES */
    uint8_t reserved_6;
    uint8_t build;
    uint32_t guest_count;
} __attribute__((packed));
SEV_ABI_SIZE(sev_platform_status_buffer, 0x0c);

/* SEV API 5, GET_ID. id_len in/out. */
struct sev_get_id_buffer {
    uint64_t id_paddr;
    uint32_t id_len;
} __attribute__((packed));
SEV_ABI_SIZE(sev_get_id_buffer, 0x0c);

/* SEV API 5, PDH_CERT_EXPORT. Both lengths in/out. */
struct sev_pdh_cert_export_buffer {
    uint64_t pdh_paddr;
    uint32_t pdh_len;
    uint32_t reserved_c;
    uint64_t certs_paddr;
    uint32_t certs_len;
} __attribute__((packed));
SEV_ABI_SIZE(sev_pdh_cert_export_buffer, 0x1c);

#define SEV_NV_SIZE 0x8000u            /* INIT_EX */
#define SEV_IMAGE_ALIGN 32u

/* SEV API 5, DOWNLOAD_FIRMWARE. */
struct sev_download_firmware_buffer {
    uint64_t image_paddr;       /* a multiple of SEV_IMAGE_ALIGN: Linux, psp-sev.h */
    uint32_t image_len;
} __attribute__((packed));
SEV_ABI_SIZE(sev_download_firmware_buffer, 0x0c);

/* SEV API 6, LAUNCH_START. handle in/out. */
struct sev_launch_start_buffer {
    uint32_t handle;
    uint32_t policy;
    uint64_t dh_cert_paddr;
    uint32_t dh_cert_len;
    uint32_t reserved_14;
    uint64_t session_paddr;
    uint32_t session_len;
} __attribute__((packed));
SEV_ABI_SIZE(sev_launch_start_buffer, 0x24);

/* SEV API 6, LAUNCH_UPDATE_DATA. */
struct sev_launch_update_data_buffer {
    uint32_t handle;
    uint32_t reserved_4;
    uint64_t paddr;
    uint32_t length;
} __attribute__((packed));
SEV_ABI_SIZE(sev_launch_update_data_buffer, 0x14);

/* SEV API 6, LAUNCH_MEASURE. measure_len in/out. */
struct sev_launch_measure_buffer {
    uint32_t handle;
    uint32_t reserved_4;
    uint64_t measure_paddr;
    uint32_t measure_len;
} __attribute__((packed));
SEV_ABI_SIZE(sev_launch_measure_buffer, 0x14);

/* What LAUNCH_MEASURE writes. */
struct sev_measurement {
    uint8_t measure[32];        /* HMAC-SHA-256 */
    uint8_t mnonce[16];
};
SEV_ABI_SIZE(sev_measurement, 48);

/* SEV API 6, ACTIVATE. */
struct sev_activate_buffer {
    uint32_t handle;
    uint32_t asid;
} __attribute__((packed));
SEV_ABI_SIZE(sev_activate_buffer, 0x08);

#endif
