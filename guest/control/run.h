/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Guests as processes: attached or not, going or stopped. */
#ifndef SEVISOR_CONTROL_RUN_H
#define SEVISOR_CONTROL_RUN_H

#include "guest/control.h"
#include "guest/control/text.h"

/* Of `pGUEST.VCPU`: 0 any, -1 all, else counted from 1. */
struct run_thread {
    int64_t guest, vcpu;
};

bool run_parse_thread(struct cursor *cursor, struct run_thread *thread);

/* An entry a guest of the manifest, not 0: attached. */
const uint8_t *run_attached(void);
/* False: nothing is attached. */
bool run_first_attached(uint32_t *guest);

/* These return enum control_result. Attaching pauses a guest, detaching lets it go on without our breakpoints. */
uint32_t run_attach(uint32_t guest);
uint32_t run_launch(const char *name, size_t length, uint32_t *guest);
uint32_t run_kill(uint32_t guest);
uint32_t run_detach(uint32_t guest);
void run_detach_all(void);
/* The debugger has set breakpoints: detaching removes them. */
void run_has_breakpoints(uint32_t guest);

/* vCont's actions. CONTROL_OK: guests are going, and the answer is their stop. */
uint32_t run_continue(struct cursor actions);
bool run_going(void);
/* Makes the stop reply when a guest that was going has stopped. */
bool run_poll(struct text *reply);
/* Ctrl-C: stops them, and makes the stop reply. */
void run_interrupt(struct text *reply);
void run_stop_reply(struct text *reply, uint32_t guest, uint32_t vcpu);

/* Words for the debugger's user, told with the next output. */
void run_say(const char *words);
/* Some text of guests that are going, or what was said. False: none. */
bool run_output(struct text *text);

#endif
