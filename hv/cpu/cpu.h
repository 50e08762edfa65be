/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* One of these per logical CPU, at GS:0. */
#ifndef SEVISOR_CPU_H
#define SEVISOR_CPU_H

#include "boot/handoff.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/features.h"
#include "hv/lib/types.h"

struct mca_errors;
struct heap_node;
struct vcpu;

/* watch.c: what the watching CPU knows of this one. */
struct watched {
    uint64_t rounds, still_tsc; /* its rounds, and for how long they have stood so */
    bool seen, asked, reported;
};

/* Of every CPU's GDT. */
#define SELECTOR_CODE 0x08u
#define SELECTOR_DATA 0x10u

struct cpu {
    struct cpu *self;           /* GS:0 */
    uint32_t index;             /* 0: the boot CPU */
    uint32_t apic_id;
    uint32_t locks_held;        /* a bit per enum lock_rank */
    struct cpu_features features;

    /* SVM */
    paddr_t host_save;          /* VM_HSAVE_PA */
    paddr_t host_vmcb;          /* VMSAVE/VMLOAD of the host's own state */
    struct vcpu *current;       /* whose registers are loaded (svm/switch.c) */
    struct vcpu *run_queue;     /* all that live here; this and the next six: sched.c */
    struct heap_node *ready, *timers;
    struct vcpu *posted;        /* those to which something was sent; pushed by any CPU, taken by this one */
    bool guest_stops;            /* some guest on the run queue: by guest_end(), guest_pause() */
    uint64_t slices;            /* begun */
    struct vcpu *incoming;      /* pushed by the boot CPU, taken over by this one; sched.c */
    uint32_t assigned;          /* vCPUs placed on this CPU and not destroyed yet */
    uint64_t slice_end_tsc;
    uint64_t fair_tsc;          /* fair_tsc of the vCPU that was chosen last; sched.c */
    uint64_t charged_tsc;       /* time up to here has been charged, to a vCPU or to none; fair.c */
    uint64_t interrupted_tsc;   /* when the timer's or another CPU's interrupt came last */
    /* Time of interrupts on behalf of other CPUs' vCPUs; and how much of it was left out of charges. */
    uint64_t others_tsc;
    uint64_t others_charged;
    struct vcpu *sleeper; /* ran last and halted: it pays for the way to the next; NULL: that one pays */
    uint32_t line_us; /* the boot CPU's: how often it polls the operator's line; run.c */
    uint64_t line_tsc; /* and when next, though a vCPU runs; 0: after its slice is soon enough */
    bool timer_fired; /* by the timer's interrupt or another CPU's kick: there is work before the next VMRUN */
    uint64_t timer_tsc; /* what lapic_timer_arm() was asked for; UINT64_MAX: disarmed */
    uint64_t nmis;
    uint64_t rounds; /* of the loops (run.c, loop.c): stands still when the CPU is stuck */
    bool idle; /* in HLT: need not show a round */
    struct watched watched; /* by another CPU */
    uint64_t mca_due_tsc; /* of the next look at the machine check banks */
    uint32_t mca_left_out; /* corrected errors that were not logged */
    const struct mca_errors *mca_errors; /* that a panic is about */
    const char *last_words; /* of its panic, for the CPU that ends the machine */
    uint64_t watch_tsc, watch_next_tsc; /* when this CPU checked the others last, and will next */
    uint64_t wbinvd_done; /* tickets that this CPU has executed WBINVD for; smp.c */
    uint64_t wbinvd_tsc; /* what the last one took */
    bool answer_wanted; /* another CPU asks by NMI for answer_rip (watch.c) */
    uint64_t answer_rip;
};

static inline struct cpu *this_cpu(void)
{
    struct cpu *cpu;
    __asm__ volatile("mov %%gs:0, %0" : "=r"(cpu));
    return cpu;
}

#define MAX_CPUS HANDOFF_MAX_CPUS

/* The boot CPU's own structure; before there is memory. */
struct cpu *cpu_boot(void);
/* Another CPU's, in `page`: a page of zeros, which is the CPU's for good. */
struct cpu *cpu_create(void *page, uint32_t index, uint32_t apic_id);
/* GDT, IDT, TSS with IST stacks for #DF, NMI and #MC, GS base, control registers. On the CPU itself. */
void cpu_init(struct cpu *cpu);
/* The stack whose top this is, for #DF, NMI or #MC: 0 to CPU_IST_STACKS - 1. Until then they share one. */
#define CPU_IST_STACKS 3u
void cpu_set_ist_stack(struct cpu *cpu, uint32_t which, void *top);

#endif
