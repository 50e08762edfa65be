/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The server of GDB's remote protocol. */
#ifndef SEVISOR_CONTROL_SERVER_H
#define SEVISOR_CONTROL_SERVER_H

#include <stdint.h>

/* A byte came on the line. */
void server_byte(uint8_t byte);
/* hv may have told something. */
void server_poll(void);

#endif
