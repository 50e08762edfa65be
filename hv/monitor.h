/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The operator's line: guests' output with prefix, input to the attached guest, escape key. */
#ifndef SEVISOR_MONITOR_H
#define SEVISOR_MONITOR_H

#include "types.h"

void monitor_init(void);
/* Takes pending operator input and shows prompts that have no newline yet. Called at every
 * time slice and while idle; never waits. */
void monitor_poll(void);
/* A byte from a guest's UART. */
void monitor_guest_output(uint32_t guest, uint8_t byte);

#endif
