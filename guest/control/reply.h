/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Replies that many packets share. */
#ifndef SEVISOR_CONTROL_REPLY_H
#define SEVISOR_CONTROL_REPLY_H

#include "guest/control/text.h"

void reply_ok(struct text *reply);
/* A packet without sense. */
void reply_bad(struct text *reply);
/* enum control_result, in words. */
void reply_refused(struct text *reply, uint32_t result);
/* The one or the other. */
void reply_result(struct text *reply, uint32_t result);

#endif
