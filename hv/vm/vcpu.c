/* SPDX-License-Identifier: BSD-2-Clause-Patent */
#include "hv/vm/vcpu.h"

#include "hv/cpu/clock.h"
#include "hv/cpu/lapic.h"
#include "hv/lib/panic.h"
#include "hv/lib/x86.h"
#include "hv/mm/page.h"
#include "hv/svm/switch.h"
#include "hv/vm/event.h"
#include "hv/vm/exit_cache.h"
#include "hv/vm/exit_cpuid.h"
#include "hv/vm/exit_cr.h"
#include "hv/vm/exit_npf.h"
#include "hv/vm/guest.h"
#include "hv/vm/sched.h"
#include "hv/vm/vcpu_start.h"

#define RFLAGS_RESERVED_1 (UINT64_C(1) << 1)
#define MTRR_DEF_TYPE_RESET UINT64_C(0x806)     /* enabled, write-back; exit_msr.c */

_Static_assert(sizeof(struct vcpu) <= PAGE_SIZE, "a vCPU is one pool page");

void vcpu_init(struct cpu *cpu)
{
    vcpu_init_cpu(cpu);
    exit_cpuid_init(&cpu->features);    /* asks switch.c, which that has set up */
    exit_npf_init();
    ASSERT(vmcb_maps_init());
}

void vcpu_init_cpu(struct cpu *cpu)
{
    switch_init();
    __asm__ volatile("vmsave" : : "a"(view_entry_address(cpu->host_vmcb, VIEW_ENCRYPTED)) : "memory");
}

static struct vmcb_segment segment(const struct manifest_segment *from)
{
    return (struct vmcb_segment){
        .selector = from->selector, .attributes = from->attributes, .limit = from->limit, .base = from->base,
    };
}

/* manifest_check() has seen that VMRUN will take them. */
static void load_registers(struct vcpu *vcpu, const struct manifest_registers *r)
{
    struct vmcb *vmcb = vcpu->vmcb;
    vcpu->run.gprs = (struct vmrun_gprs){
        .rbx = r->rbx, .rcx = r->rcx, .rdx = r->rdx, .rsi = r->rsi, .rdi = r->rdi, .rbp = r->rbp,
        .r8 = r->r8, .r9 = r->r9, .r10 = r->r10, .r11 = r->r11,
        .r12 = r->r12, .r13 = r->r13, .r14 = r->r14, .r15 = r->r15,
    };
    vmcb_set_rax(vmcb, r->rax);
    vmcb_set_rsp(vmcb, r->rsp);
    vmcb_set_rip(vmcb, r->rip);
    vmcb_set_rflags(vmcb, r->rflags | RFLAGS_RESERVED_1);
    exit_cr_reset(vcpu, r->cr0, r->cr4);
    vmcb_set_cr3(vmcb, r->cr3);
    vmcb_set_efer(vmcb, r->efer | EFER_SVME);
    vmcb_set_es(vmcb, segment(&r->es));
    vmcb_set_cs(vmcb, segment(&r->cs));
    vmcb_set_ss(vmcb, segment(&r->ss));
    vmcb_set_ds(vmcb, segment(&r->ds));
    vmcb_set_fs(vmcb, segment(&r->fs));
    vmcb_set_gs(vmcb, segment(&r->gs));
    vmcb_set_gdtr(vmcb, segment(&r->gdtr));
    vmcb_set_ldtr(vmcb, segment(&r->ldtr));
    vmcb_set_idtr(vmcb, segment(&r->idtr));
    vmcb_set_tr(vmcb, segment(&r->tr));
    vmcb_set_cpl(vmcb, r->ss.attributes >> 5 & 3u);     /* SS.DPL */
}

bool vcpu_create(struct guest *guest, uint32_t id, const struct manifest_registers *registers, struct vcpu **out)
{
    paddr_t self, vmcb, fpu;
    if (!page_alloc(1, 1, &self))
        return false;
    if (!page_alloc(1, 1, &vmcb))
        goto free_self;
    if (!page_alloc(1, 1, &fpu))
        goto free_vmcb;

    struct vcpu *vcpu = page_va(self);
    vcpu->vmcb = page_va(vmcb);
    vcpu->vmcb_pa = vmcb;
    vcpu->run.vmcb_address = view_entry_address(vmcb, VIEW_ENCRYPTED);
    vcpu->switched.fpu = page_va(fpu);
    vcpu->guest = guest;
    vcpu->id = id;
    vcpu->state = VCPU_RUNNABLE;
    vcpu->attention = true;
    vcpu->mtrr_def_type = MTRR_DEF_TYPE_RESET;
    vcpu->nmi_iret_rip = NMI_NO_IRET;
    vlapic_reset(&vcpu->lapic, id, id == 0);
    switch_reset(&vcpu->switched);
    vmcb_init(vcpu->vmcb, &(struct vmcb_setup){
        .asid = guest->asid,
        .n_cr3 = view_entry_address(guest->npt.root, VIEW_ENCRYPTED),
        /* A guest's TSC starts at 0, and is one for all its vCPUs. */
        .tsc_offset = id == 0 ? 0 - clock_tsc() : guest->vcpus[0]->vmcb->tsc_offset,
        .sev = guest->sev,
    });
    if (id == 0)
        load_registers(vcpu, registers);
    else
        vcpu_start_init(vcpu);
    *out = vcpu;
    return true;

free_vmcb:
    page_free(vmcb, 1);
free_self:
    page_free(self, 1);
    return false;
}

void vcpu_destroy(struct vcpu *vcpu)
{
    ASSERT(vcpu->next == NULL);
    page_free(page_pa(vcpu->switched.fpu), 1);
    page_free(vcpu->vmcb_pa, 1);
    page_free(page_pa(vcpu), 1);
}

uint64_t vcpu_poll(struct vcpu *vcpu, uint64_t now)
{
    uint64_t guest_now = vcpu_guest_tsc(vcpu, now), host;
    event_take_posted(vcpu);
    if (vcpu->wbinvd_ticket != 0) {     /* in the middle of an instruction, which nothing interrupts */
        if (!exit_cache_over(vcpu))
            return vcpu->asleep_tsc;
        sched_wake(vcpu);
    }
    bool hears = (vcpu->vmcb->rflags & RFLAGS_IF) != 0;
    uint64_t deadline = vlapic_timer(&vcpu->lapic, guest_now);
    event_sync_tpr(vcpu);
    if (vlapic_pending(&vcpu->lapic) >= 0) {
        vcpu->attention = true;
        if (hears)
            sched_wake(vcpu);
    }
    if (vcpu->nmi_pending && event_nmi_possible(vcpu)) {
        vcpu->attention = true;
        sched_wake(vcpu);
    }
    if (vcpu->state != VCPU_RUNNABLE) {
        if (!hears && !vcpu->stranded)
            event_strand(vcpu);
        if (!hears || !vlapic_timer_heard(&vcpu->lapic))
            deadline = UINT64_MAX;
    }
    /* The guest chooses its TSC, so only the distance is worth anything. */
    if (deadline == UINT64_MAX || __builtin_add_overflow(now, deadline > guest_now ? deadline - guest_now : 0, &host))
        host = UINT64_MAX;
    if (vcpu->state == VCPU_HALTED && vcpu->asleep_tsc != 0) {
        if (now < vcpu->asleep_tsc)
            return vcpu->asleep_tsc < host ? vcpu->asleep_tsc : host;
        sched_wake(vcpu);
    }
    return host;
}

/* The VMCB may be in no other CPU's cache, and the TLB holds nothing of an earlier owner of the
 * ASID. Nor of another vCPU of the same guest: their TLB entries have the same tag. */
static void arrive(struct cpu *cpu, struct vcpu *vcpu)
{
    if (vcpu->last_cpu == cpu && vcpu->guest->config->vcpus == 1)
        return;
    vmcb_mark_dirty(vcpu->vmcb);
    vcpu_flush_tlb(vcpu);
    vcpu->last_cpu = cpu;
}

static bool can_run(const struct vcpu *vcpu)
{
    return vcpu->state == VCPU_RUNNABLE && __atomic_load_n(&vcpu->guest->end, __ATOMIC_ACQUIRE) == GUEST_END_NONE;
}

/* A HLT is over at once when something waits that ends it. Else `*deadline` tells when its timer could. */
static bool goes_on(struct vcpu *vcpu, uint64_t *deadline)
{
    if (vcpu->state == VCPU_HALTED)
        *deadline = vcpu_poll(vcpu, clock_tsc());
    return can_run(vcpu);
}

void vcpu_run(struct vcpu *vcpu)
{
    struct cpu *cpu = this_cpu();
    volatile bool *timer_fired = &cpu->timer_fired;
    uint64_t host_vmcb = view_entry_address(cpu->host_vmcb, VIEW_ENCRYPTED), asleep_until = UINT64_MAX;
    bool preempt = false;

    __atomic_store_n(&vcpu->quiet_until, 0, __ATOMIC_SEQ_CST);   /* before it looks at what was posted */
    arrive(cpu, vcpu);
    switch_to(cpu->current != NULL ? &cpu->current->switched : NULL, &vcpu->switched);
    cpu->current = vcpu;
    struct vcpu *payer = cpu->sleeper != NULL ? cpu->sleeper : vcpu;    /* of the way into the guest */
    vcpu->timer_changed = true;         /* look at the timers first */
    while (goes_on(vcpu, &asleep_until)) {
        if (*timer_fired || vcpu->timer_changed) {
            sched_look_around(cpu);     /* before the poll: what comes during it is seen next time */
            vcpu->timer_changed = false;
            uint64_t now = clock_tsc();
            if (payer == vcpu)
                sched_charge_stay(cpu, vcpu, now);
            else
                sched_charge(cpu, payer, now);
            uint64_t next = sched_poll(cpu, vcpu, now, &preempt);
            if (cpu->line_tsc != 0) {
                uint64_t line = sched_look_at_line(cpu, now);
                next = line < next ? line : next;
            }
            if (now >= cpu->slice_end_tsc || preempt)
                break;
            lapic_timer_arm(next < cpu->slice_end_tsc ? next : cpu->slice_end_tsc);
            if (!can_run(vcpu))
                break;                  /* an INIT that was posted to it, or its guest's end */
            if (payer != vcpu)
                sched_charge(cpu, payer, clock_tsc());
            payer = vcpu;
        }
        if (vcpu->attention)
            event_prepare(vcpu);
        if ((vcpu->vmcb->cr4 & CR4_MCE) == 0)       /* a guest on a CPU without decode assists: exit_cr.c */
            vmcb_set_cr4(vcpu->vmcb, vcpu->vmcb->cr4 | CR4_MCE);
        ASSERT(cpu->locks_held == 0);
        vmrun_enter(&vcpu->run, &cpu->timer_fired, host_vmcb);
    }
    if (!preempt)
        sched_charge(cpu, vcpu, clock_tsc());   /* else the rest is for the one that woke up */
    sched_put_back(cpu, vcpu, asleep_until);
    cpu->sleeper = vcpu->state == VCPU_HALTED ? vcpu : NULL;
}
