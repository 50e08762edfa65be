/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What guests print, on the operator's line. Bytes are gathered to lines, and each line goes out whole with its guest's
 * name before it; what has no newline is shown after a short silence and is then the "open" line, which is continued if
 * nothing was written in between, and else shown again from its start.
 *
 * Bytes come from any CPU. Each of these functions takes the console lock from its entry to its end.
 */
#ifndef SEVISOR_OUTPUT_H
#define SEVISOR_OUTPUT_H

#include "hv/console/history.h"
#include "hv/lib/types.h"

#define OUTPUT_LINE 256u
#define OUTPUT_PROMPT_US 50000u     /* a line without newline is shown after so much silence */

/* A guest's; it outlives the guest's launches. */
struct output {
    const char *name;           /* of the guest */
    uint32_t owner;             /* for the console's per-guest limit: the guest's number from 1 */
    uint32_t lost;              /* bytes dropped and not reported yet; counted by any CPU */
    uint8_t line[OUTPUT_LINE];  /* the current line from its start, or from where it was last cut */
    uint32_t line_length;
    uint32_t line_shown;        /* how much of it the operator has seen */
    uint64_t line_tsc;          /* when the last byte came */
    struct history history;
};

/* For guest `number`, counted from 0, once, on the boot CPU. `name` and `history`, HISTORY_SIZE bytes or NULL, stay the caller's, for good. */
void output_init(struct output *output, uint32_t number, const char *name, uint8_t *history);
void output_byte(struct output *output, uint8_t byte);
/* Shows lines without a newline, after their silence. On the boot CPU, often. */
void output_show_prompts(void);
/* The guest's launch is over: its last line is ended, though it has no newline. */
void output_finish(struct output *output);
/* Escape sequences of this guest reach the operator's terminal: it is the attached one; NULL: none. On the boot CPU. */
void output_let_through(const struct output *output);

#endif
