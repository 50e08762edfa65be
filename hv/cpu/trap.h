/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Interrupts and exceptions of the host. */
#ifndef SEVISOR_TRAP_H
#define SEVISOR_TRAP_H

#include "hv/lib/panic.h"
#include "hv/lib/types.h"

#define TRAP_NMI 2u
#define TRAP_DF 8u
#define TRAP_MC 18u
#define TRAP_EXCEPTIONS 32u
#define TRAP_TIMER 0x40u        /* LAPIC timer */
#define TRAP_KICK 0x41u         /* smp.c: there is work from another CPU */
#define TRAP_WBINVD 0x42u       /* smp.c */
#define TRAP_SPURIOUS 0xffu
#define TRAP_VECTORS 256u
#define TRAP_STUB_SIZE 16u

/* As isr.asm pushes it. */
struct trap_frame {
    uint64_t r15, r14, r13, r12, r11, r10, r9, r8;
    uint64_t rdi, rsi, rbp, rbx, rdx, rcx, rax;
    uint64_t vector, error;
    uint64_t rip, cs, rflags, rsp, ss;
};
_Static_assert(sizeof(struct trap_frame) == 22 * 8, "isr.asm pushes 22 quadwords");

/* isr.asm: TRAP_VECTORS stubs of TRAP_STUB_SIZE bytes each. */
extern const uint8_t isr_stubs[];

/* Called by isr.asm; defined in init/trap.c, which knows what each of them leads to. */
void trap_handle(struct trap_frame *frame);

#endif
