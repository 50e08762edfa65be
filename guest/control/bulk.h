/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Objects of the SEV firmware that are larger than a file's copy: commands with their data, INIT_EX's state, an image. Their bytes
 * stand in the window, above what other requests use: one at a time, and whoever opens one for writing starts anew. */
#ifndef SEVISOR_CONTROL_BULK_H
#define SEVISOR_CONTROL_BULK_H

#include <stddef.h>
#include <stdint.h>

#include "guest/control.h"
#include "guest/control/live.h"

#define BULK_DATA 0x30000u /* in the window */
#define BULK_ROOM (CONTROL_WINDOW_SIZE - BULK_DATA)
#define BULK_STATE_SIZE 0x8000u /* INIT_EX */

/* As live.h's. Commands: struct control_request, then bytes for BULK_DATA and on; read, struct control_answer of the last one, and the data
 * that it asked for. */
uint32_t bulk_start(struct live *live);
uint32_t bulk_write(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done);
uint32_t bulk_read(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done);
/* State and image: bytes for BULK_DATA and on. The state is read as the SEV firmware has left it. */
uint32_t bulk_start_state(struct live *live);
uint32_t bulk_write_data(struct live *live, uint64_t offset, const void *bytes, size_t size, size_t *done);
uint32_t bulk_read_data(struct live *live, uint64_t offset, void *bytes, size_t size, size_t *done);

/* Carry out what was written; enum control_result. */
uint32_t bulk_command(uint32_t guest);
uint32_t bulk_init_ex(void);
uint32_t bulk_download(void);

#endif
