/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Replies that many packets share: OK, and why not. */
#include "guest/control/reply.h"

#include "guest/control/ask.h"
#include "guest/control/run.h"

void reply_ok(struct text *reply)
{
    text_add(reply, "OK");
}

void reply_bad(struct text *reply)
{
    text_add(reply, "E01");
}

/* gdb shows the text behind `E.` for some packets only: `monitor why` has it, too. */
void reply_refused(struct text *reply, uint32_t result)
{
    if (result == CONTROL_POLICY) {
        text_add(reply, "E.policy forbids debugging");
        run_say(ask_why());
        return;
    }
    text_add(reply, "E.");
    text_add(reply, ask_why());
}

void reply_result(struct text *reply, uint32_t result)
{
    if (result == CONTROL_OK)
        reply_ok(reply);
    else
        reply_refused(reply, result);
}
