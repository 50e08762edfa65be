/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's 16550A at 0x3F8, polled (no interrupt line). PC16550D data sheet. */
#ifndef SEVISOR_VUART_H
#define SEVISOR_VUART_H

#include "hv/lib/types.h"

struct output;

#define VUART_PORT 0x3f8u
#define VUART_FIFO 16u          /* bytes that the guest sees, and loses when it clears its receiver */
#define VUART_INPUT 4096u       /* input that waits for the guest, the FIFO's included */

#define VUART_NO_BREAK UINT32_MAX

struct vuart {
    struct output *output;      /* where the transmitter leads */
    uint8_t ier, fcr, lcr, mcr, scr, dll, dlm;
    bool overrun;
    bool transmit_event;        /* THR became empty, and neither IIR was read for it nor THR written */
    uint8_t *input;             /* VUART_INPUT bytes of the pool; NULL: as much as a FIFO holds */
    uint8_t fifo[VUART_FIFO];
    uint32_t input_head, input_count;
    uint32_t break_after;       /* bytes before the break that waits among them; VUART_NO_BREAK: none does */
    uint32_t input_lost;        /* bytes, since the last report; the monitor's */
};

/* Power-on: registers. What waits for the guest is not lost. */
void vuart_reset(struct vuart *uart, struct output *output);
/* Register accesses, offset 0-7, one byte wide. */
uint8_t vuart_read(struct vuart *uart, uint32_t offset);
void vuart_write(struct vuart *uart, uint32_t offset, uint8_t value);
/* Operator input for the guest; false when there is no room (the guest sees an overrun). */
bool vuart_input(struct vuart *uart, uint8_t byte);
/* Bytes that vuart_input() would take; without the lock, at least so many. */
uint32_t vuart_input_room(const struct vuart *uart);
/* What waits, `i` counted from the next. */
uint8_t vuart_peek(const struct vuart *uart, uint32_t i);
/* A state that a guest and its operator can bring it to. */
bool vuart_valid(const struct vuart *uart);
/* A break of the line, behind what waits. False: there is no room, or another waits. */
bool vuart_break(struct vuart *uart);
/* The guest's launch is over: input that it did not read is reported and dropped, its last line of output is ended. */
void vuart_power_off(struct vuart *uart);

#endif
