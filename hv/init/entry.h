/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* entry.asm and main.c. */
#ifndef SEVISOR_ENTRY_H
#define SEVISOR_ENTRY_H

struct handoff;

/* Called by entry.asm on boot/'s stack and tables, interrupts off. */
_Noreturn void hv_main(const struct handoff *handoff);

/* Calls `function` on another stack; the old one is not used again. */
_Noreturn void entry_on_stack(void *top, void (*function)(const struct handoff *), const struct handoff *handoff);

#endif
