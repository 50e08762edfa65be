/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Requests to hv through the window of guest/control.h, and why the last one was refused. */
#ifndef SEVISOR_CONTROL_ASK_H
#define SEVISOR_CONTROL_ASK_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/control.h"

#define ASK_NO_ANSWER UINT32_C(0xffff)  /* in place of enum control_result: hv does not answer */

/* Goes on where the window is: after whatever a control guest asked before this one. */
void ask_start(void);
/* Returns enum control_result, and remembers the reason unless CONTROL_OK. `answer` may be NULL. */
uint32_t ask(struct control_request request, struct control_answer *answer);
/* Operations that want nothing but a guest. */
uint32_t ask_guest(enum control_operation operation, uint32_t guest);
uint32_t ask_platform_info(struct control_platform *platform);
uint32_t ask_guest_info(uint32_t guest, struct control_guest *info);
/* Of a paused guest. */
uint32_t ask_vcpu_get(uint32_t guest, uint32_t vcpu, struct control_vcpu *state);
uint32_t ask_vcpu_set(uint32_t guest, uint32_t vcpu, const struct control_vcpu *state);
/* A command of the SEV API; `buffer`, 80 bytes, becomes what the SEV firmware left. */
uint32_t ask_firmware(uint32_t command, uint32_t guest, void *buffer);

/* At an offset of the window at CONTROL_DATA or above. */
void ask_put(uint32_t offset, const void *bytes, uint32_t size);
void ask_get(uint32_t offset, void *bytes, uint32_t size);

/* The next event; kind 0: events were lost. False: none. */
bool ask_event(struct control_event *event);

/* The reason of the last refusal, in words. */
const char *ask_why(void);
void ask_refuse(const char *words);

#endif
