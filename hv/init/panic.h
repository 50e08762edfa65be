/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What init/ tells at a panic besides panic() itself (lib/panic.h). */
#ifndef SEVISOR_INIT_PANIC_H
#define SEVISOR_INIT_PANIC_H

struct trap_frame;
struct mca_errors;

/* As panic(), about an exception. */
_Noreturn void panic_trap(const struct trap_frame *frame, const char *name);
/* At the end of the machine, on the CPU that brings it about: what the machine check banks say, on the console. */
void panic_banks(const struct mca_errors *errors);

#endif
