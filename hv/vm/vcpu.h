/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A virtual CPU. */
#ifndef SEVISOR_VCPU_H
#define SEVISOR_VCPU_H

#include "hv/cpu/cpu.h"
#include "hv/dev/pvclock.h"
#include "hv/dev/vlapic.h"
#include "hv/lib/heap.h"
#include "hv/svm/switch.h"
#include "hv/svm/vmcb.h"
#include "hv/svm/vmrun.h"

struct guest;

enum vcpu_state {
    VCPU_RUNNABLE,
    VCPU_HALTED,        /* HLT: wakes by interrupt or timer */
    VCPU_WAIT_SIPI,
};

/* The operator's STEP (debug.c): asked for; an exception of the instruction is being delivered. */
enum vcpu_step { STEP_NONE, STEP_ASKED, STEP_DELIVERY };

/* Exits by kind, for the report and the monitor. */
enum vcpu_exit_kind {
    VCPU_EXIT_OTHER,
    VCPU_EXIT_INTERRUPT,        /* the host's: INTR, NMI, SMI, INIT */
    VCPU_EXIT_WINDOW,           /* the guest can take an interrupt now */
    VCPU_EXIT_CPUID,
    VCPU_EXIT_MSR,
    VCPU_EXIT_IO,
    VCPU_EXIT_HLT,
    VCPU_EXIT_VMMCALL,
    VCPU_EXIT_EXCEPTION,
    VCPU_EXIT_CACHE,            /* INVD, WBINVD */
    VCPU_EXIT_CR,               /* MOV to and from CR0 and CR4, XSETBV */
    VCPU_EXIT_FORBIDDEN,        /* instructions that guests do not have */
};
#define VCPU_EXIT_KINDS 16u
/* What other vCPUs sent. Any CPU adds to it, the vCPU's own CPU takes it all. */
struct vcpu_posted {
    uint32_t irr[8];
    uint32_t nmi, init, startup;    /* startup: STARTUP_VALID and the page */
    uint32_t any;               /* written last, taken first */
    bool listed;                /* on cpu->posted, or about to be */
    struct vcpu *next;          /* there */
};
#define STARTUP_VALID 0x100u

struct vcpu {
    struct vmrun_state run;     /* general registers; first: vcpu_of_run() */
    struct vmcb *vmcb;          /* its accessors are in vmcb.h */
    struct guest *guest;
    uint32_t id;                /* x2APIC id */
    enum vcpu_state state;
    struct cpu *cpu;            /* where it lives, from sched_place() on */
    struct cpu *last_cpu;
    bool request;               /* the run loop has something to do before the next entry */
    bool awaits_ipi;            /* only another vCPU can wake it; guest->awaiting_ipi counts it */
    uint64_t asleep_tsc;        /* VCPU_HALTED until then by hv, if nothing wakes it earlier; 0: by HLT */
    uint64_t wbinvd_ticket;     /* VCPU_HALTED because CPUs are late with its WBINVD: smp_wbinvd_begin()'s; 0: not */
    bool tlb_stale;             /* written by any CPU: to be flushed before the next entry */
    bool timer_changed;         /* the guest wants its timer interrupt earlier than the host's timer is armed for */
    struct vlapic lapic;
    bool ipi;                   /* the vlapic write that is under way has one to send */
    struct vcpu_posted posted;
    uint64_t no_kick_until; /* while cpu->slices is below, it needs no kick: it looks at `posted` before it runs */
    bool nmi_pending;
    bool nmi_blocked; /* from its delivery to the end of its IRET */
    uint64_t nmi_iret_rip; /* the IRET that is about to end it; NMI_NO_IRET */
    struct pvclock pvclock;
    struct vcpu *next; /* run queue */
    bool queued; /* there */
    struct heap_node ready; /* cpu->ready, by fair_tsc: it can run, and does not */
    struct heap_node timer; /* cpu->timers, by host TSC: it sleeps, and its timer could wake it then */
    struct switch_state switched; /* the rest of its registers, while another vCPU has the CPU */
    uint64_t mtrr_def_type;
    uint64_t run_tsc; /* time in the guest and its exits */
    uint64_t fair_tsc; /* run_tsc, moved forward after a sleep: fair.c */
    uint64_t exits[VCPU_EXIT_KINDS];
    uint64_t exception; /* to inject at the next entry, as EVENTINJ; 0: none */
    uint64_t cr0_hidden; /* CD and NW as the guest wrote them: vcpu_cr.c */
    bool stepping; /* an instruction runs with RFLAGS.TF set by hv: vcpu_cr.c */
    bool cr0_free; /* it is CLTS, LMSW or SMSW: CR0 is not intercepted */
    uint64_t step_tf, step_dr6; /* the guest's own */
    enum vcpu_step step;
    uint8_t stopped; /* 1 + EVENT_STOPPED's code, until control.c has told it; 0: nothing to tell */
    uint8_t breakpoints; /* of DR0 to DR3, the operator's: a bit each */
    uint32_t debugger; /* whose they are; debug.c */
};

#define NMI_NO_IRET UINT64_MAX

static inline struct vcpu *vcpu_of_run(struct vmrun_state *state)
{
    _Static_assert(offsetof(struct vcpu, run) == 0, "the same address");
    return (struct vcpu *)state;
}

/* The guest's TSC at the host's `tsc`. */
static inline uint64_t vcpu_guest_tsc(const struct vcpu *vcpu, uint64_t tsc)
{
    return tsc + vcpu->vmcb->tsc_offset;
}

/* The TLB may hold translations under this ASID that are no longer, or never were, this vCPU's. */
static inline void vcpu_flush_tlb(struct vcpu *vcpu)
{
    vmcb_set_tlb_control(vcpu->vmcb,
                         this_cpu()->features.flush_by_asid ? TLB_CONTROL_FLUSH_ASID : TLB_CONTROL_FLUSH_ALL);
}

#endif
