/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The SEV firmware's commands that only a lab sends, for fake_hv.c. */
#ifndef TESTS_UNIT_GUEST_CONTROL_FAKE_LAB_H
#define TESTS_UNIT_GUEST_CONTROL_FAKE_LAB_H

#include "tests/unit/guest_control/fake_hv.h"

struct fake_lab {
    bool kept; /* INIT_EX has been done */
    uint8_t state[0x8000];
    uint32_t image_size, image_sum;
};

extern struct fake_lab fake_lab;

/* enum control_result; CONTROL_UNKNOWN: not one of these. */
uint32_t fake_lab_command(const struct control_request *request, struct fake_guest *guest,
                          struct control_answer *answer, volatile uint8_t *window);
/* What hv brings along after a command of the platform's. */
void fake_lab_bring_state(const struct control_request *request, struct control_answer *answer,
                          volatile uint8_t *window);

#endif
