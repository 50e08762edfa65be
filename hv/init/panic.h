/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Panics of init/; panic() itself is declared in lib/panic.h. */
#ifndef SEVISOR_INIT_PANIC_H
#define SEVISOR_INIT_PANIC_H

struct trap_frame;
struct mca_errors;

/* As panic(), about an exception. */
_Noreturn void panic_trap(const struct trap_frame *frame, const char *name);
/* Prints the machine check banks, on the CPU that powers the machine off. */
void panic_banks(const struct mca_errors *errors);

#endif
