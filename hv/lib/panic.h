/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv's own broken invariants. Declared on the lowest floor, for all; defined on the highest (init/panic.c), which knows how to
 * end the machine. */
#ifndef SEVISOR_PANIC_H
#define SEVISOR_PANIC_H

/* Prints the reason, registers and a stack trace, ends the machine. On any CPU, in any context. */
_Noreturn void panic(const char *format, ...) __attribute__((format(printf, 1, 2)));
#define ASSERT(condition) ((condition) ? (void)0 : panic("%s:%d: %s", __FILE__, __LINE__, #condition))

#endif
