/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A virtual CPU and its run loop. */
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
struct manifest_registers;

enum vcpu_state {
    VCPU_RUNNABLE,
    VCPU_HALTED,        /* HLT: wakes by interrupt or timer */
    VCPU_WAIT_SIPI,
};

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
/* "cpuid", five letters at most; NULL for a kind that does not exist. */
const char *vcpu_exit_kind_name(uint32_t kind);

/* What other CPUs' vCPUs sent. Anybody adds to it, the vCPU's own CPU takes it all. */
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
    paddr_t vmcb_pa;
    struct guest *guest;
    uint32_t id;                /* x2APIC id */
    enum vcpu_state state;
    struct cpu *cpu;            /* where it lives, from sched_place() on */
    struct cpu *last_cpu;
    bool attention;             /* the run loop has something to do before the next entry */
    bool stranded;              /* only another vCPU can wake it; guest->stranded counts it */
    uint64_t asleep_tsc;        /* VCPU_HALTED until then by hv's will, if nothing comes earlier; 0: by HLT */
    uint64_t wbinvd_ticket;     /* VCPU_HALTED because CPUs are late with its WBINVD: smp_wbinvd_begin()'s; 0: not */
    bool timer_changed;         /* the guest wants its timer interrupt earlier than the host's timer is armed for */
    struct vlapic lapic;
    struct vlapic_ipi ipi;      /* of the vlapic write that is under way */
    struct vcpu_posted posted;
    uint64_t quiet_until;       /* while cpu->slices is below, it needs no kick: it looks at `posted` before it runs */
    bool nmi_pending;
    bool nmi_blocked;           /* from its delivery to the end of its IRET */
    uint64_t nmi_iret_rip;      /* the IRET that is about to end it; NMI_NO_IRET */
    struct pvclock pvclock;
    struct vcpu *next;          /* run queue */
    bool queued;                /* there */
    struct heap_node ready;     /* cpu->ready, by fair_tsc: it can run, and does not */
    struct heap_node timer;     /* cpu->timers, by host TSC: it sleeps, and its timer could wake it then */
    struct switch_state switched;   /* the rest of its registers, while another vCPU has the CPU */
    uint64_t mtrr_def_type;
    uint64_t run_tsc;           /* time in the guest and its exits */
    uint64_t fair_tsc;          /* run_tsc, moved forward after a sleep: sched.c */
    uint64_t exits[VCPU_EXIT_KINDS];
    bool pending_exception;     /* to inject at the next entry */
    uint8_t exception_vector;
    uint32_t exception_error;
    bool exception_has_error;
    uint64_t cr0_hidden;        /* CD and NW as the guest wrote them: exit_cr.c */
    bool stepping;              /* CLTS, LMSW or SMSW runs with RFLAGS.TF set by hv: exit_cr.c */
    uint64_t step_tf, step_dr6; /* the guest's own */
};

#define NMI_NO_IRET UINT64_MAX

static inline struct vcpu *vcpu_of_run(struct vmrun_state *state)
{
    _Static_assert(offsetof(struct vcpu, run) == 0, "the same address");
    return (struct vcpu *)state;
}

/* Everything that vCPUs need on a CPU and in common; before the first is created. The CPU's
 * own GS, TR and system-call MSRs are final: VMSAVE keeps them for the exits. */
void vcpu_init(struct cpu *cpu);
/* The part of it that each CPU does for itself. */
void vcpu_init_cpu(struct cpu *cpu);
/* Allocates VMCB, FPU area; loads the initial registers, or, for all but vCPU 0, those of INIT. TSCs of a
 * guest's vCPUs are one. False: out of pool pages. */
bool vcpu_create(struct guest *guest, uint32_t id, const struct manifest_registers *registers, struct vcpu **out);
/* It is on no run queue. */
void vcpu_destroy(struct vcpu *vcpu);

/* Runs until the slice is over (cpu->slice_end_tsc), the vCPU halts, a vCPU that has run
 * less wakes up, or its guest has ended. */
void vcpu_run(struct vcpu *vcpu);
/* Something for a vCPU that sleeps arrived (an interrupt, its startup): runnable again. */
void vcpu_wake(struct vcpu *vcpu);
/* Takes what was posted to it, fires its timer if due, wakes it if something waits that can. Returns the host TSC of its
 * next timer interrupt, UINT64_MAX: none; of one that sleeps, none that would not wake it: what has expired meanwhile is
 * found when it runs again. On its own CPU. */
uint64_t vcpu_poll(struct vcpu *vcpu, uint64_t now);
/* vcpu_start.c: the state after INIT, waiting for a startup IPI; and that IPI. */
void vcpu_start_init(struct vcpu *vcpu);
void vcpu_start_at(struct vcpu *vcpu, uint8_t page);
/* #GP(0), #UD, ... at the next entry. */
void vcpu_inject_exception(struct vcpu *vcpu, uint8_t vector, bool has_error, uint32_t error);

/* The guest's TSC at the host's `tsc`. */
static inline uint64_t vcpu_guest_tsc(const struct vcpu *vcpu, uint64_t tsc)
{
    return tsc + vcpu->vmcb->tsc_offset;
}

/* The TLB has what the vCPU's tables said elsewhere, or before. */
static inline void vcpu_flush_tlb(struct vcpu *vcpu)
{
    vmcb_set_tlb_control(vcpu->vmcb, this_cpu()->features.flush_by_asid ? TLB_CONTROL_FLUSH_ASID : TLB_CONTROL_FLUSH_ALL);
}

/* event.c: decides what the next entry injects, and whether it ends when the guest can take
 * more; vcpu->attention is done with. */
void event_prepare(struct vcpu *vcpu);
/* An exit cut the delivery of an event short (EXITINTINFO). */
void event_interrupted(struct vcpu *vcpu);
/* The guest's CR8 writes, which do not exit, reach the vlapic. */
static inline void event_sync_tpr(struct vcpu *vcpu)
{
    uint8_t v_tpr = (uint8_t)(vcpu->vmcb->v_intr & V_TPR_MASK);
    if (v_tpr != vcpu->lapic.tpr >> 4)
        vlapic_set_tpr(&vcpu->lapic, v_tpr);
}
/* The other way, after a write to the vlapic's TPR. */
static inline void event_write_tpr(struct vcpu *vcpu)
{
    vmcb_set_v_intr(vcpu->vmcb, (vcpu->vmcb->v_intr & ~V_TPR_MASK) | vlapic_cr8(&vcpu->lapic));
}
/* After a write to the vlapic: if an interrupt waits, vcpu->attention asks for event_prepare(). */
static inline void event_notice(struct vcpu *vcpu)
{
    const uint32_t *irr = vcpu->lapic.irr;
    if ((irr[0] | irr[1] | irr[2] | irr[3] | irr[4] | irr[5] | irr[6] | irr[7]) != 0 || (vcpu->vmcb->v_intr & V_IRQ) != 0)
        vcpu->attention = true;
}

/* An ICR that `vcpu` wrote, to the vCPUs that it addresses; without itself where vlapic_write() has done that. */
void event_send_ipi(struct vcpu *vcpu, uint64_t icr);
/* What others sent to it, into its vlapic and its state. On its own CPU. */
void event_take_posted(struct vcpu *vcpu);
/* A vCPU that sleeps with interrupts off: when all of its guest are stranded, the guest ends. On its own CPU, after event_take_posted(). */
void event_strand(struct vcpu *vcpu);
/* The guest can take an NMI now. Asked for when one waits. */
bool event_nmi_possible(struct vcpu *vcpu);
/* The guest's IRET, intercepted while an NMI is being handled. */
void event_iret(struct vcpu *vcpu);

/* sched.c: gives a vCPU to a CPU, for its life; and has it run there. On the boot CPU. A CPU takes the vCPUs of guests
 * that have ended off its queue by itself: guest->vcpus_queued counts them down. */
void sched_place(struct cpu *cpu, struct vcpu *vcpu);
void sched_add(struct vcpu *vcpu);
/* Wakes the vCPUs whose timer is due, or to which something was sent. Returns the host TSC of the earliest timer that
 * somebody would hear; *preempt: one that has run less than `running` woke up. `running` may be NULL. */
uint64_t sched_poll(struct cpu *cpu, struct vcpu *running, uint64_t now, bool *preempt);
/* Something was written to vcpu->posted: its CPU takes it soon. On any CPU, while the vCPU's guest has one that runs. */
void sched_notify(struct vcpu *vcpu);
/* All time up to `now` that nobody has paid for yet is the vCPU's, without that of interrupts for others; at most
 * about a slice. */
void sched_charge(struct cpu *cpu, struct vcpu *vcpu, uint64_t now);
/* The same for work that the vCPU has asked for, without a limit. */
void sched_charge_work(struct cpu *cpu, struct vcpu *vcpu, uint64_t now);
/* The same at the end of a stay on the CPU: up to the interrupt that ended it, if one did, and of a stall at most a slice. */
void sched_charge_stay(struct cpu *cpu, struct vcpu *vcpu, uint64_t now);
/* It has run, and waits: for its turn, or, asleep, for `deadline` as vcpu_poll() has told. */
void sched_put_back(struct cpu *cpu, struct vcpu *vcpu, uint64_t deadline);
/* From here on the CPU sees all that was done before somebody set cpu->timer_fired. */
/* The boot CPU keeps what came in on the operator's line, if it is time; returns when it is next. */
uint64_t sched_look_at_line(struct cpu *cpu, uint64_t now);
static inline void sched_look_around(struct cpu *cpu)
{
    cpu->rounds++;
    (void)__atomic_exchange_n(&cpu->timer_fired, false, __ATOMIC_SEQ_CST);
}
/* The boot CPU's loop: guests' lives, the operator, and its own vCPUs, until no guest is alive. */
void sched_loop(struct cpu *cpu);
/* Called by the boot CPU between pieces of long work (launches, ends) and while it waits for the secure processor: the
 * operator's keys are looked at, and its own vCPUs run, of working time as long as the work. They end guests by mark
 * only, and touch neither the secure processor nor what memory.c gives out. */
void sched_breathe(bool waits);
/* Every other CPU's loop. */
_Noreturn void sched_serve(struct cpu *cpu);

#endif
