/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's side of guest/control.h, "Moves": of fake_hv.c. A session is for one PDH, a packet of one session; more of cryptography the
 * control guest cannot tell from anything else. */
#ifndef TESTS_UNIT_GUEST_CONTROL_FAKE_MOVES_H
#define TESTS_UNIT_GUEST_CONTROL_FAKE_MOVES_H

#include "tests/unit/guest_control/fake_hv.h"

/* Of fake_hv.c. */
void fake_require(bool condition, const char *what);
void fake_set_state(uint32_t guest, uint32_t state);
uint8_t *fake_in_window(uint64_t offset, uint64_t size);

void fake_moves_make(void);
void fake_moves_time(struct fake_guest *guest);
bool fake_moves_arrived(struct fake_guest *guest);
uint32_t fake_moves_receive(uint32_t guest);
uint32_t fake_moves_session(uint32_t guest, const struct control_session *session);
/* Shared memory of a guest that is received. */
uint32_t fake_moves_plain(const struct control_request *request, struct fake_guest *guest, const uint8_t *data);
/* PAGES, STATE_GET, STATE_SET. */
uint32_t fake_moves_request(const struct control_request *request, struct fake_guest *guest,
                            struct control_answer *answer, uint8_t *data);
/* SEND_*, RECEIVE_*. */
uint32_t fake_moves_command(const struct control_request *request, struct fake_guest *guest,
                            struct control_answer *answer);

#endif
