/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's x2APIC, by MSR only (AMD APM2 16.11; there is no MMIO and no xAPIC mode). */
#ifndef SEVISOR_VLAPIC_H
#define SEVISOR_VLAPIC_H

#include "hv/lib/types.h"

/* Entries of the local vector table, in the order of their registers. */
/* clang-format off */
enum {
    VLAPIC_LVT_TIMER, VLAPIC_LVT_THERMAL, VLAPIC_LVT_PERF, VLAPIC_LVT_LINT0, VLAPIC_LVT_LINT1, VLAPIC_LVT_ERROR, VLAPIC_LVTS,
};
/* clang-format on */

struct vlapic {
    uint32_t id;
    uint64_t apic_base;         /* MSR 0x1B */
    uint32_t irr[8], isr[8];
    uint32_t tpr, svr, esr, esr_shadow;
    uint32_t lvt[VLAPIC_LVTS];
    uint32_t timer_initial, timer_divide;
    uint64_t timer_start_tsc;   /* one-shot/periodic: when timer_initial was written */
    uint64_t deadline_tsc;      /* next expiry in guest TSC, whatever the mode; UINT64_MAX: none */
    uint64_t icr;
};

/* The vlapic's bus clock: TSC frequency divided by this. */
#define VLAPIC_BUS_DIVISOR 1u

/* A periodic timer fires at most once in so many TSC cycles: ticks between are
 * coalesced, as they are on metal when the guest cannot keep up. Without it a period
 * of one cycle would keep the host in its timer interrupt for ever. */
#define VLAPIC_MIN_PERIOD UINT64_C(100000)

/* State at the guest's entry, x2APIC mode. The boot CPU's is enabled, as firmware leaves
 * it; the others have the reset value: disabled by software until they set SVR. */
void vlapic_reset(struct vlapic *lapic, uint32_t id, bool boot_cpu);

/* MSRs 0x1B, 0x6E0, 0x800-0x8FF. `now` is the guest's TSC. False: #GP(0). */
bool vlapic_read(struct vlapic *lapic, uint32_t msr, uint64_t now, uint64_t *value);

/* *send: lapic->icr is to be sent, as vCPUs other than this one may be concerned, or it is no plain interrupt (NMI,
 * INIT, SIPI). An interrupt for this vCPU itself is posted already. */
bool vlapic_write(struct vlapic *lapic, uint32_t msr, uint64_t now, uint64_t value, bool *send);

/* Whether an ICR that the vlapic with the id `sender` wrote is addressed to that with `id`: shorthand, physical,
 * logical (cluster and mask), broadcast. */
bool vlapic_addressed(uint32_t id, uint32_t sender, uint64_t icr);

/* A state that a guest can bring it to. */
bool vlapic_valid(const struct vlapic *lapic);
/* Enabled by software (SVR); the reset state is that it is not. */
bool vlapic_enabled(const struct vlapic *lapic);
/* Latches an edge-triggered interrupt. */
void vlapic_post(struct vlapic *lapic, uint8_t vector);
/* Fires the timer if due. Returns the next expiry in guest TSC, UINT64_MAX: none. */
uint64_t vlapic_timer(struct vlapic *lapic, uint64_t now);
/* Whether its next expiry raises an interrupt that is above PPR now. A software-disabled APIC's timer is masked. */
bool vlapic_timer_deliverable(const struct vlapic *lapic);
/* Highest deliverable vector above PPR, or -1; and its acceptance. */
int vlapic_pending(const struct vlapic *lapic);
void vlapic_accept(struct vlapic *lapic, uint8_t vector);
/* Undoes an acceptance: the interrupt's delivery was not completed. */
void vlapic_take_back(struct vlapic *lapic, uint8_t vector);
/* CR8, for V_TPR. */
static inline uint8_t vlapic_cr8(const struct vlapic *lapic)
{
    return (uint8_t)(lapic->tpr >> 4);
}
static inline void vlapic_set_tpr(struct vlapic *lapic, uint8_t cr8)
{
    /* The low half of TPR is not visible in CR8: kept while the class stays the same. */
    if ((cr8 & 0xfu) != lapic->tpr >> 4)
        lapic->tpr = (cr8 & 0xfu) << 4;
}

#endif
