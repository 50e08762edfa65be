/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* The one place where a guest is entered: vmrun.asm. */
#ifndef SEVISOR_VMRUN_H
#define SEVISOR_VMRUN_H

#include "hv/lib/types.h"

/* The general registers that VMRUN does not save. */
#define VMRUN_GPRS(X) X(rbx) X(rcx) X(rdx) X(rsi) X(rdi) X(rbp) X(r8) X(r9) X(r10) X(r11) X(r12) X(r13) X(r14) X(r15)

/* What the assembly needs of a vCPU; the layout is its own (offsets.h). */
struct vmrun_gprs {
#define REGISTER(name) uint64_t name;
    VMRUN_GPRS(REGISTER)
#undef REGISTER
};

struct vmrun_state {
    struct vmrun_gprs gprs;
    uint64_t vmcb_address;      /* what VMRUN takes: physical, with the C-bit */
};

/* Enters the guest, calls exit_dispatch() after each exit, and enters again for as long as that returns true and
 * *timer_fired is false. `host_vmcb`: where VMSAVE has put the host's own state. Interrupts are on, GIF is set, before and
 * after. */
void vmrun_enter(struct vmrun_state *state, const bool *timer_fired, uint64_t host_vmcb);
/* Where #MC and NMI that came between #VMEXIT and STGI, or ended VMRUN, interrupt hv (APM2 15.17). */
extern const uint8_t vmrun_after_stgi[];

/* Called by the assembly; defined in vm/exit_dispatch.c. False: the vCPU must leave the assembly's loop, as there is something to do
 * before its next entry, if there is one. */
bool exit_dispatch(struct vmrun_state *state);

#endif
