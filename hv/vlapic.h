/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest's x2APIC, by MSR only (AMD APM2 16.11; there is no MMIO and no xAPIC mode). */
#ifndef SEVISOR_VLAPIC_H
#define SEVISOR_VLAPIC_H

#include "types.h"

struct vlapic {
    uint32_t id;
    uint64_t apic_base;         /* MSR 0x1B */
    uint32_t irr[8], isr[8], tmr[8];
    uint32_t tpr, svr, esr, esr_shadow;
    uint32_t lvt_timer, lvt_lint0, lvt_lint1, lvt_error, lvt_perf, lvt_thermal;
    uint32_t timer_initial, timer_divide;
    uint64_t timer_start_tsc;   /* one-shot/periodic: when timer_initial was written */
    uint64_t deadline_tsc;      /* next expiry in guest TSC; UINT64_MAX: none */
    uint64_t icr;
};

/* The vlapic's bus clock: TSC frequency divided by this. */
#define VLAPIC_BUS_DIVISOR 1u

/* State at the guest's entry: enabled, x2APIC mode. */
void vlapic_reset(struct vlapic *lapic, uint32_t id, bool boot_cpu);

/* MSRs 0x1B, 0x6E0, 0x800-0x8FF. `now` is the guest's TSC. False: #GP(0). */
bool vlapic_read(struct vlapic *lapic, uint32_t msr, uint64_t now, uint64_t *value);

/* What a write asks of the rest of the hypervisor. */
struct vlapic_ipi { bool send; uint64_t icr; };
bool vlapic_write(struct vlapic *lapic, uint32_t msr, uint64_t now, uint64_t value, struct vlapic_ipi *ipi);

/* Latches an edge-triggered interrupt. */
void vlapic_post(struct vlapic *lapic, uint8_t vector);
/* Fires the timer if due. Returns the next expiry in guest TSC, UINT64_MAX: none. */
uint64_t vlapic_timer(struct vlapic *lapic, uint64_t now);
/* Highest deliverable vector above PPR, or -1; and its acceptance. */
int vlapic_pending(const struct vlapic *lapic);
void vlapic_accept(struct vlapic *lapic, uint8_t vector);
/* CR8, for V_TPR. */
void vlapic_set_tpr(struct vlapic *lapic, uint8_t cr8);
uint8_t vlapic_cr8(const struct vlapic *lapic);

#endif
