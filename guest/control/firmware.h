/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Commands of the SEV API for objects. All return enum control_result. */
#ifndef SEVISOR_CONTROL_FIRMWARE_H
#define SEVISOR_CONTROL_FIRMWARE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FIRMWARE_NONCE_SIZE 16u
#define FIRMWARE_CERTIFICATE_SIZE 2084u
#define FIRMWARE_IMPORT_SIZE (2 * FIRMWARE_CERTIFICATE_SIZE)                /* PEK, OCA */
#define FIRMWARE_SESSION_SIZE (4u + FIRMWARE_CERTIFICATE_SIZE + 128u)       /* policy, DH certificate, session */
#define FIRMWARE_SECRET_HEADER (52u + 8u)   /* LAUNCH_SECRET's header, guest-physical address */
#define FIRMWARE_SECRET_MIN (FIRMWARE_SECRET_HEADER + 16u)
#define FIRMWARE_SECRET_MAX (FIRMWARE_SECRET_HEADER + 0x4000u)

/* The PDH's certificate, or those of PEK, OCA and CEK. */
uint32_t firmware_certificates(bool chain, void *bytes, size_t *size);
uint32_t firmware_id(void *bytes, size_t *size);
uint32_t firmware_csr(void *bytes, size_t *size);
uint32_t firmware_report(uint32_t guest, const uint8_t *nonce, void *bytes, size_t *size);

uint32_t firmware_word(const char *word, size_t length);
uint32_t firmware_import(const uint8_t *pek_and_oca);
/* `size` is FIRMWARE_SECRET_MIN to FIRMWARE_SECRET_MAX. */
uint32_t firmware_secret(uint32_t guest, const uint8_t *secret, size_t size);
uint32_t firmware_session(uint32_t guest, const uint8_t *bytes);

#endif
