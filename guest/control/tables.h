/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* gdb's XML documents of guests: `info os`, and threads. */
#ifndef SEVISOR_CONTROL_TABLES_H
#define SEVISOR_CONTROL_TABLES_H

#include "guest/control/text.h"

/* Of the table named by `annex`; "" lists the tables. False: no such table. */
bool tables_osdata(struct text *text, struct cursor annex);
/* The vCPUs of those guests whose entry of `attached` is not 0. */
void tables_threads(struct text *text, const uint8_t *attached, uint32_t guests);
/* `pGUEST.VCPU`, from 1. */
void tables_thread_id(struct text *text, uint32_t guest, uint32_t vcpu);

#endif
