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
/* XCR0 bits that a guest may set; 0 without XSAVE. And whether it may set these together, or has them without XSAVE (APM2 11.5.2). */
uint64_t switch_guest_xcr0(void);
bool switch_xcr0_valid(uint64_t xcr0);
/* A vCPU's state at its creation; state->fpu is there, zeros. */
void switch_reset(struct switch_state *state);
/* Makes the CPU's state `to`; saves that of the vCPU which had it in `from`; NULL: there was none, or it has been
 * destroyed. `to` NULL: it is saved, and none has the CPU. */
void switch_to(struct switch_state *from, struct switch_state *to);
/* What of it INIT changes: DR0-3 become 0; `here`: its vCPU has this CPU. On the vCPU's own CPU, or before its first run. */
void switch_at_init(struct switch_state *state, bool here);
/* The XSAVE area of a vCPU that has no CPU, in the standard format, as far as guests have one. What is written is valid. */
#define SWITCH_XSAVE_SIZE 1024u
void switch_read_xsave(const struct switch_state *state, uint8_t area[static SWITCH_XSAVE_SIZE]);
void switch_write_xsave(struct switch_state *state, const uint8_t area[static SWITCH_XSAVE_SIZE]);
/* Whether XRSTOR will take it, and the guest could have come to it. */
bool switch_xsave_valid(const uint8_t area[static SWITCH_XSAVE_SIZE], uint64_t xcr0);
/* False: the processor has no RDTSCP, and no TSC_AUX. */
bool switch_has_tsc_aux(void);
/* WRMSR TSC_AUX by the vCPU that has the CPU. False: #GP. */
bool switch_set_tsc_aux(struct switch_state *state, uint64_t value);

#endif
