/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* One of these per logical CPU, at GS:0. */
#ifndef SEVISOR_CPU_H
#define SEVISOR_CPU_H

#include "types.h"

struct vcpu;

/* What CPUID said once, on every CPU. */
struct cpu_features {
    bool npt, next_rip, decode_assists, flush_by_asid, clean_bits, vgif, one_gib_pages, x2apic, sme_coherent;
    uint32_t asids;             /* CPUID 8000_000A EBX */
    uint32_t max_sev_asid, min_sev_asid;
    uint32_t phys_bits;
};

struct cpu {
    struct cpu *self;           /* GS:0 */
    uint32_t index;
    uint32_t apic_id;
    struct cpu_features features;

    /* SVM */
    paddr_t host_save;          /* VM_HSAVE_PA */
    paddr_t host_vmcb;          /* VMSAVE/VMLOAD of the host's own state */
    struct vcpu *current;       /* in the run loop now */
    struct vcpu *run_queue;     /* circular; sched.c */
    uint64_t slice_end_tsc;
    uint64_t fair_tsc;          /* fair_tsc of the vCPU that was chosen last; sched.c */
    uint64_t charged_tsc;       /* until then all time is charged to a vCPU, or to nobody; sched.c */
    struct vcpu *sleeper;       /* ran last and halted: it pays for the way to the next; NULL: that one pays */
    bool timer_fired;           /* set by the timer interrupt handler */
    uint64_t timer_tsc;         /* what lapic_timer_arm() was asked for; UINT64_MAX: disarmed */
    uint64_t interrupts;
    uint64_t stray_interrupts;  /* of a vector that nobody asked for */
    uint64_t nmis;
    uint64_t idle_tsc;
};

static inline struct cpu *this_cpu(void)
{
    struct cpu *cpu;
    __asm__ volatile("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

#define MAX_CPUS 1u             /* the CPUs that are brought up; issue 4 raises it */

/* GDT, IDT, TSS with IST stacks for #DF, NMI and #MC, GS base. On the CPU itself. */
void cpu_init(uint32_t index);
/* Guard-paged stacks for #DF, NMI and #MC, and one to run on, whose top is returned. Once
 * hostmap_init() is through. hv runs with interrupts enabled (RFLAGS.IF) from then on. */
void *cpu_stacks(uint32_t index);
/* EFER.SVME, VM_HSAVE_PA. The preflight has seen that it will work. */
void svm_init(struct cpu *cpu);

/* WBINVD on every CPU that is up. */
void cpu_wbinvd_all(void);

/* Powers the machine off by the firmware's runtime service; never returns. */
_Noreturn void machine_power_off(void);
_Noreturn void machine_reset(void);

#endif
