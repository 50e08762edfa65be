/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* State of a guest that VMRUN, #VMEXIT, VMLOAD and VMSAVE leave alone. */
#ifndef SEVISOR_SWITCH_H
#define SEVISOR_SWITCH_H

#include "hv/cpu/cpu.h"

/* A vCPU's, while another one has the CPU. */
struct switch_state {
    uint8_t *fpu;               /* FXSAVE/XSAVE area, 64-byte aligned, a page */
    uint64_t xcr0;
    uint64_t dr[4];             /* DR0-3 */
    uint64_t tsc_aux;
};

/* On each CPU, before its first guest, after cpu_init(): finds what there is to switch, sets XCR0. */
void switch_init(void);
/* XCR0 bits that a guest may set; 0 without XSAVE. */
uint64_t switch_guest_xcr0(void);
/* A vCPU's state at its creation; state->fpu is there, zeros. */
void switch_reset(struct switch_state *state);
/* Makes the CPU's state `to`; saves that of the vCPU which had it in `from`; NULL: there was none, or it has been
 * destroyed. `to` NULL: it is saved, and none has the CPU. */
void switch_to(struct switch_state *from, struct switch_state *to);
/* What of it INIT changes: DR0-3 become 0; `here`: its vCPU has this CPU. On the vCPU's own CPU, or before its first run. */
void switch_at_init(struct switch_state *state, bool here);
/* XCR0 of the vCPU that has the CPU; and its XSETBV, already checked. */
uint64_t switch_xcr0(void);
void switch_set_xcr0(uint64_t xcr0);
/* False: the processor has no RDTSCP, and no TSC_AUX. */
bool switch_has_tsc_aux(void);
/* WRMSR TSC_AUX by the vCPU that has the CPU. False: #GP. */
bool switch_set_tsc_aux(struct switch_state *state, uint64_t value);

#endif
