/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * Numbers of the SEV API that the firmware model and its tests share: command
 * ids (SEV API reference section 1) and statuses (section 2). Every name is
 * AMD's, behind SEVFW_, so that it can stand beside a driver's own headers.
 */
#ifndef SEVFW_ABI_H
#define SEVFW_ABI_H

#define SEVFW_STATUS_LIST(X)        \
    X(SUCCESS, 0x00)                \
    X(INVALID_PLATFORM_STATE, 0x01) \
    X(INVALID_GUEST_STATE, 0x02)    \
    X(INVALID_CONFIG, 0x03)         \
    X(INVALID_LENGTH, 0x04)         \
    X(ALREADY_OWNED, 0x05)          \
    X(INVALID_CERTIFICATE, 0x06)    \
    X(POLICY_FAILURE, 0x07)         \
    X(INACTIVE, 0x08)               \
    X(INVALID_ADDRESS, 0x09)        \
    X(BAD_SIGNATURE, 0x0A)          \
    X(BAD_MEASUREMENT, 0x0B)        \
    X(ASID_OWNED, 0x0C)             \
    X(INVALID_ASID, 0x0D)           \
    X(WBINVD_REQUIRED, 0x0E)        \
    X(DF_FLUSH_REQUIRED, 0x0F)      \
    X(INVALID_GUEST, 0x10)          \
    X(INVALID_COMMAND, 0x11)        \
    X(ACTIVE, 0x12)                 \
    X(HWERROR_PLATFORM, 0x13)       \
    X(HWERROR_UNSAFE, 0x14)         \
    X(UNSUPPORTED, 0x15)            \
    X(INVALID_PARAM, 0x16)          \
    X(RESOURCE_LIMIT, 0x17)         \
    X(SECURE_DATA_INVALID, 0x18)    \
    X(INVALID_PAGE_SIZE, 0x19)      \
    X(INVALID_PAGE_STATE, 0x1A)     \
    X(INVALID_MDATA_ENTRY, 0x1B)    \
    X(INVALID_PAGE_OWNER, 0x1C)     \
    X(AEAD_OFLOW, 0x1D)             \
    X(RING_BUFFER_EXIT, 0x1F)       \
    X(RMP_INIT_REQUIRED, 0x20)      \
    X(BAD_SVN, 0x21)                \
    X(BAD_VERSION, 0x22)            \
    X(SHUTDOWN_REQUIRED, 0x23)      \
    X(UPDATE_FAILED, 0x24)          \
    X(RESTORE_REQUIRED, 0x25)       \
    X(RMP_INIT_FAILED, 0x26)        \
    X(INVALID_KEY, 0x27)

enum sevfw_status {
#define SEVFW_ONE_STATUS(name, value) SEVFW_##name = value,
    SEVFW_STATUS_LIST(SEVFW_ONE_STATUS)
#undef SEVFW_ONE_STATUS
};

#define SEVFW_COMMAND_LIST(X)    \
    X(INIT, 0x01)                \
    X(SHUTDOWN, 0x02)            \
    X(PLATFORM_RESET, 0x03)      \
    X(PLATFORM_STATUS, 0x04)     \
    X(PEK_GEN, 0x05)             \
    X(PEK_CSR, 0x06)             \
    X(PEK_CERT_IMPORT, 0x07)     \
    X(PDH_CERT_EXPORT, 0x08)     \
    X(PDH_GEN, 0x09)             \
    X(DF_FLUSH, 0x0A)            \
    X(DOWNLOAD_FIRMWARE, 0x0B)   \
    X(GET_ID, 0x0C)              \
    X(INIT_EX, 0x0D)             \
    X(NOP, 0x0E)                 \
    X(RING_BUFFER, 0x0F)         \
    X(DECOMMISSION, 0x20)        \
    X(ACTIVATE, 0x21)            \
    X(DEACTIVATE, 0x22)          \
    X(GUEST_STATUS, 0x23)        \
    X(COPY, 0x24)                \
    X(ACTIVATE_EX, 0x25)         \
    X(LAUNCH_START, 0x30)        \
    X(LAUNCH_UPDATE_DATA, 0x31)  \
    X(LAUNCH_UPDATE_VMSA, 0x32)  \
    X(LAUNCH_MEASURE, 0x33)      \
    X(LAUNCH_SECRET, 0x34)       \
    X(LAUNCH_FINISH, 0x35)       \
    X(ATTESTATION, 0x36)         \
    X(SEND_START, 0x40)          \
    X(SEND_UPDATE_DATA, 0x41)    \
    X(SEND_UPDATE_VMSA, 0x42)    \
    X(SEND_FINISH, 0x43)         \
    X(SEND_CANCEL, 0x44)         \
    X(RECEIVE_START, 0x50)       \
    X(RECEIVE_UPDATE_DATA, 0x51) \
    X(RECEIVE_UPDATE_VMSA, 0x52) \
    X(RECEIVE_FINISH, 0x53)      \
    X(DBG_DECRYPT, 0x60)         \
    X(DBG_ENCRYPT, 0x61)         \
    X(SWAP_OUT, 0x70)            \
    X(SWAP_IN, 0x71)

enum sevfw_command_id {
#define SEVFW_ONE_COMMAND(name, id) SEVFW_CMD_##name = id,
    SEVFW_COMMAND_LIST(SEVFW_ONE_COMMAND)
#undef SEVFW_ONE_COMMAND
};

/* Platform states, section 3. */
enum sevfw_platform_state {
    SEVFW_PLATFORM_UNINIT = 0,
    SEVFW_PLATFORM_INIT = 1,
    SEVFW_PLATFORM_WORKING = 2,
};

/* Guest states, section 4 (AMD's numbering, trap T2). */
enum sevfw_guest_state {
    SEVFW_GUEST_UNINIT = 0,
    SEVFW_GUEST_LUPDATE = 1,
    SEVFW_GUEST_LSECRET = 2,
    SEVFW_GUEST_RUNNING = 3,
    SEVFW_GUEST_SUPDATE = 4,
    SEVFW_GUEST_RUPDATE = 5,
    SEVFW_GUEST_SENT = 6,
};

/* Guest policy, section 7. */
#define SEVFW_POLICY_NODBG (UINT32_C(1) << 0)
#define SEVFW_POLICY_NOKS (UINT32_C(1) << 1)
#define SEVFW_POLICY_ES (UINT32_C(1) << 2)
#define SEVFW_POLICY_NOSEND (UINT32_C(1) << 3)
#define SEVFW_POLICY_DOMAIN (UINT32_C(1) << 4)
#define SEVFW_POLICY_SEV (UINT32_C(1) << 5)
#define SEVFW_POLICY_RESERVED UINT32_C(0x0000FFC0)

/* Sizes on the wire: SEV API sections 5 and 6, sev-crypto sections 4 to 8. */
#define SEVFW_CERT_SIZE 2084u
#define SEVFW_CHAIN_SIZE (3u * SEVFW_CERT_SIZE)
#define SEVFW_ROOT_CERT_SIZE 1600u
#define SEVFW_AMD_CERTS_SIZE (2u * SEVFW_ROOT_CERT_SIZE) /* ASK, ARK */
#define SEVFW_SESSION_SIZE 128u
#define SEVFW_PACKET_HEADER_SIZE 52u
#define SEVFW_MEASURE_SIZE 48u
#define SEVFW_REPORT_SIZE 208u
#define SEVFW_SECRET_MAX 0x4000u
#define SEVFW_SEND_MAX 0x1000u /* KVM never asks for more; what real firmware takes is not known */

/* Certificates, sev-crypto section 5.1. */
#define SEVFW_USAGE_ARK 0x0000u
#define SEVFW_USAGE_ASK 0x0013u
#define SEVFW_USAGE_INVALID 0x1000u
#define SEVFW_USAGE_OCA 0x1001u
#define SEVFW_USAGE_PEK 0x1002u
#define SEVFW_USAGE_PDH 0x1003u
#define SEVFW_USAGE_CEK 0x1004u
#define SEVFW_ALGO_INVALID 0u
#define SEVFW_ALGO_ECDSA_SHA256 0x2u
#define SEVFW_ALGO_ECDH_SHA256 0x3u
#define SEVFW_ALGO_RSA_SHA384 0x101u

#endif
