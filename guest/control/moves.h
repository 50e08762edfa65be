/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's memory and state, piece by piece: what leaves and what arrives. All return enum control_result. */
#ifndef SEVISOR_CONTROL_MOVES_H
#define SEVISOR_CONTROL_MOVES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Of what leaves, the first 4 bytes are a CRC-32: of the number that it has (8 bytes) and of all that follows. What arrives is
 * refused where it is wrong: the line's own sum has 8 bits. */
#define MOVES_SUM 4u
#define MOVES_PAGE 4096u
#define MOVES_PLAIN_RECORD (MOVES_SUM + MOVES_PAGE)
#define MOVES_PRIVATE_RECORD (MOVES_SUM + 52u + MOVES_PAGE) /* SEND_UPDATE_DATA's header, ciphertext */
#define MOVES_WHOLE_GUEST UINT64_C(0xff) /* in place of a vCPU */
#define MOVES_SESSION_SIZE (4u + 128u) /* policy, session */
#define MOVES_CERTIFICATES_MIN (4 * 2084u + 1664u) /* PDH, PEK, OCA, CEK; ASK, ARK with keys of 2048 or 4096 bits */
#define MOVES_CERTIFICATES_MAX (4 * 2084u + 3200u)

/* SEND_START to the platform with these certificates; then what it gave. */
uint32_t moves_send_start(uint32_t guest, const uint8_t *certificates, size_t size);
uint32_t moves_session(uint32_t guest, uint8_t *session);
/* SEND_FINISH, SEND_CANCEL, RECEIVE_FINISH; or `yours`, which lets a guest run that came. Its source has given it away by then: only
 * whoever knows that says so, and CONTROL_RESUME is no word for it. False: no such word. */
bool moves_is_word(const char *word, size_t length, uint32_t *command);
uint32_t moves_word(uint32_t command, uint32_t guest);

/* Their bytes, from page `first` on: `room` of them at most. `track`: dirty pages are noted from now on, page by page. */
uint32_t moves_pages(uint32_t guest, uint64_t first, bool track, uint8_t *bytes, size_t room, size_t *size);
uint32_t moves_take(uint32_t guest, bool private, uint64_t page, uint8_t *record);
uint32_t moves_put(uint32_t guest, bool private, uint64_t page, const uint8_t *record);
/* The whole guest's, or a vCPU's. */
uint32_t moves_state_get(uint32_t guest, uint64_t vcpu, uint8_t *bytes, size_t room, size_t *size);
uint32_t moves_state_set(uint32_t guest, uint64_t vcpu, const uint8_t *bytes, size_t size);

#endif
