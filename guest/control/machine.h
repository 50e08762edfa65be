/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the control guest wants of whatever it runs on: main.c has the hardware, tests/ have a model of it. */
#ifndef SEVISOR_CONTROL_MACHINE_H
#define SEVISOR_CONTROL_MACHINE_H

#include <stddef.h>
#include <stdint.h>

/* CONTROL_WINDOW_SIZE bytes, which hv changes at any time. */
volatile uint8_t *machine_window(void);
void machine_doorbell(uint32_t sequence);
/* Returns when hv has written something, or after some milliseconds. */
void machine_sleep(void);
uint64_t machine_ms(void);

/* The serial line. A byte, or -1: none has come. */
int machine_receive(void);
void machine_send(const uint8_t *bytes, size_t size);

#endif
