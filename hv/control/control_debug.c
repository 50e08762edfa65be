/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * VCPU_GET, VCPU_SET, STEP, MEMORY_READ, MEMORY_WRITE. What VCPU_SET loads is what a guest could have loaded itself, or less: hv's own
 * bits of CR0, CR4 and EFER are not in it, and what VMRUN would refuse (APM2 15.5.1) is refused here. A guest that runs has
 * other states than a launch may begin with (rings, null segments, its features): guest/manifest_registers.c is for those.
 */
#include "hv/control/control_debug.h"

#include "hv/lib/x86.h"
#include "hv/mm/window.h"
#include "hv/vm/debug.h"
#include "hv/vm/exit_cr.h"
#include "hv/vm/exit_msr.h"
#include "hv/vm/pages.h"
#include "hv/vm/sched.h"
#include "hv/vm/vcpu_cr.h"
#include "hv/vm/vcpu_start.h"

#define RFLAGS_KNOWN UINT64_C(0x003f7fd7) /* APM2 3.1.6 */
#define DR7_ZERO UINT64_C(0xffffffff0000d800) /* APM2 13.1.1 */
#define DR6_CAUSES UINT64_C(0xe00f)
#define SEGMENT_L_D 0x600u
#define SEGMENT_L 0x200u
#define SEGMENT_KNOWN 0xfffu
#define SEGMENT_DPL 0x60u

/* Registers that only the VMCB has, as they are. */
#define VMCB_REGISTERS(X) \
    X(cr2) X(star) X(lstar) X(cstar) X(sfmask) X(kernel_gs_base) X(sysenter_cs) X(sysenter_esp) X(sysenter_eip)

_Static_assert(offsetof(struct control_vcpu, cr0) == offsetof(struct manifest_registers, cr0) &&
                   offsetof(struct control_vcpu, tr) - offsetof(struct control_vcpu, es) ==
                       offsetof(struct manifest_registers, tr) - offsetof(struct manifest_registers, es),
               "general-purpose registers and segments as the manifest has them");

bool control_debug_forbidden(const struct guest *guest, uint32_t bits)
{
    return guest->sev ? (guest->sev_policy & bits) != 0 : (guest->config->flags & MANIFEST_GUEST_DEBUG) == 0;
}

void control_debug_get(const struct vcpu *vcpu, struct control_vcpu *out)
{
    const struct vmcb *vmcb = vcpu->vmcb;
    *out = (struct control_vcpu){.rax = vmcb->rax,
                                 .rsp = vmcb->rsp,
#define REGISTER(name) .name = vcpu->run.gprs.name,
                                 VMRUN_GPRS(REGISTER)
#undef REGISTER
                                     .rip = vmcb->rip,
                                 .rflags = vcpu->stepping ? (vmcb->rflags & ~RFLAGS_TF) | vcpu->step_tf : vmcb->rflags,
                                 .cr0 = vcpu_cr0(vcpu),
                                 .cr3 = vmcb->cr3,
                                 .cr4 = vcpu_cr4(vcpu),
                                 .efer = vmcb->efer & ~EFER_SVME,
                                 .dr0 = vcpu->switched.dr[0],
                                 .dr1 = vcpu->switched.dr[1],
                                 .dr2 = vcpu->switched.dr[2],
                                 .dr3 = vcpu->switched.dr[3],
                                 .dr6 = vmcb->dr6,
                                 .dr7 = vmcb->dr7,
                                 .state = vcpu->state,
                                 .cpu = vcpu->cpu->index,
#define REGISTER(name) .name = vmcb->name,
                                 VMCB_REGISTERS(REGISTER)
#undef REGISTER
    };
    _Static_assert(sizeof(struct control_segment) == sizeof(struct vmcb_segment) &&
                       offsetof(struct control_vcpu, tr) - offsetof(struct control_vcpu, es) ==
                           (VMCB_SEGMENTS - 1) * sizeof(struct vmcb_segment),
                   "segments as the VMCB has them");
    memcpy(&out->es, &vmcb->es, VMCB_SEGMENTS * sizeof(struct vmcb_segment));
    /* SYSRET may leave another DPL there (Linux: X86_BUG_SYSRET_SS_ATTRS); VCPU_SET takes CPL from it. */
    out->ss.attributes = (uint16_t)((out->ss.attributes & ~SEGMENT_DPL) | vmcb->cpl << 5);
}

enum control_result control_debug_vcpu_get(struct control_call *call)
{
    struct control_vcpu out;
    debug_refresh(call->vcpu);
    control_debug_get(call->vcpu, &out);
    return control_put(call, &out, sizeof(out));
}

/* ---- VCPU_SET ---- */

static bool canonical(uint64_t address, uint64_t cr4)
{
    unsigned unused = (cr4 & CR4_LA57) != 0 ? 64 - 57 : 64 - 48;
    return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

static bool control_registers_valid(const struct control_vcpu *r, uint64_t cr4_now)
{
    bool long_mode = (r->cr0 & CR0_PG) != 0 && (r->efer & EFER_LME) != 0;
    return (r->cr0 & ~CR0_DEFINED) == 0 && (r->cr0 & CR0_HIDDEN) != CR0_NW && (r->cr0 & (CR0_PG | CR0_PE)) != CR0_PG &&
           (r->cr4 & ~(exit_cr4_defined() | cr4_now)) == 0 && (r->efer & ~EFER_WRITABLE) == 0 &&
           ((r->efer & EFER_LMA) != 0) == long_mode && r->cr3 >> 52 == 0 &&
           (long_mode ? (r->cr4 & CR4_PAE) != 0 && (r->cs.attributes & SEGMENT_L_D) != SEGMENT_L_D
                      : (r->cr4 & CR4_PCIDE) == 0);
}

static bool segments_valid(const struct control_vcpu *r)
{
    for (const struct control_segment *segment = &r->es; segment <= &r->tr; segment++)
        if ((segment->attributes & ~SEGMENT_KNOWN) != 0 || !canonical(segment->base, r->cr4))
            return false;
    return r->gdtr.limit <= UINT16_MAX && r->idtr.limit <= UINT16_MAX;
}

static bool addresses_valid(const struct control_vcpu *r)
{
    bool long_mode = (r->efer & EFER_LMA) != 0, code64 = long_mode && (r->cs.attributes & SEGMENT_L) != 0;
    return (code64 ? canonical(r->rip, r->cr4) : r->rip <= UINT32_MAX) && canonical(r->lstar, r->cr4) &&
           canonical(r->cstar, r->cr4) && canonical(r->kernel_gs_base, r->cr4) && canonical(r->sysenter_esp, r->cr4) &&
           canonical(r->sysenter_eip, r->cr4) && (r->rflags & ~RFLAGS_KNOWN) == 0 && (r->rflags & RFLAGS_ONE) != 0 &&
           !(long_mode && (r->rflags & RFLAGS_VM) != 0) && r->dr6 <= UINT32_MAX && (r->dr7 & DR7_ZERO) == 0;
}

static void load(struct vcpu *vcpu, const struct control_vcpu *r)
{
    struct vmcb *vmcb = vcpu->vmcb;
    const uint64_t dr[] = {r->dr0, r->dr1, r->dr2, r->dr3};
    struct manifest_registers registers = {.cr0 = r->cr0, .cr3 = r->cr3, .cr4 = r->cr4, .efer = r->efer};
    memcpy(&registers, r, offsetof(struct manifest_registers, cr0));
    memcpy(&registers.es, &r->es, sizeof(registers) - offsetof(struct manifest_registers, es));
    vcpu_load(vcpu, &registers);
#define REGISTER(name) vmcb_set_##name(vmcb, r->name);
    VMCB_REGISTERS(REGISTER)
#undef REGISTER
    vmcb_set_dr6(vmcb, (r->dr6 & DR6_CAUSES) | DR6_RESET);
    debug_set_breakpoints(vcpu, dr, r->dr7);
    vcpu_flush_tlb(vcpu);
}

bool control_debug_set(struct vcpu *vcpu, const struct control_vcpu *in)
{
    if (!control_registers_valid(in, vcpu_cr4(vcpu)) || !segments_valid(in) || !addresses_valid(in))
        return false;
    load(vcpu, in);
    return true;
}

enum control_result control_debug_vcpu_set(struct control_call *call)
{
    struct control_vcpu in;
    control_take(call, &in, sizeof(in));
    return in.state == call->vcpu->state && control_debug_set(call->vcpu, &in) ? CONTROL_OK : CONTROL_INVALID;
}

void control_debug_resume(struct guest *guest, const struct vcpu *step)
{
    job_of(guest)->wbinvd = (struct wbinvd){0};
    debug_begin(guest, step);
    sched_resume(guest, step);
}

enum control_result control_debug_step(struct control_call *call)
{
    debug_refresh(call->vcpu);
    control_debug_resume(call->guest, call->vcpu);
    return CONTROL_OK;
}

/* Either way, as the guest itself shares its memory with hv. */
enum control_result control_debug_memory(struct control_call *call)
{
    const struct control_request *request = &call->request;
    uint64_t offset = request->address % PAGE_SIZE;
    paddr_t address;
    bool read = request->operation == CONTROL_MEMORY_READ, sev = call->guest->sev;
    bool receives = sev && call->guest->awaits == CONTROL_STATE_RECEIVING;
    bool nodbg = !receives && control_debug_forbidden(call->guest, SEV_POLICY_NODBG);
    /* What is shared is read to be sent, too. */
    if (nodbg && (!read || control_debug_forbidden(call->guest, SEV_POLICY_NOSEND)))
        return CONTROL_POLICY;
    if (request->size == 0 || !guest_ram_address(call->guest, gpaddr(request->address), request->size, &address))
        return CONTROL_INVALID;
    if (receives && (request->address % PAGE_SIZE != 0 || request->size % PAGE_SIZE != 0))
        return CONTROL_INVALID;
    if (receives)
        pages_set_shared(call->guest, gpaddr(request->address), request->size, true);
    if (sev && !pages_are_shared(call->guest, gpaddr(request->address), request->size))
        return nodbg ? CONTROL_POLICY : CONTROL_NOT_SHARED;
    uint8_t *memory = window_map(paddr(address.raw - offset), offset + request->size, guest_shared_view(call->guest));
    if (memory == NULL)
        return CONTROL_LIMIT;
    if (read) {
        memcpy(call->data, memory + offset, request->size);
        call->answer.size = request->size;
    } else {
        memcpy(memory + offset, call->data, request->size);
        npt_mark(&call->guest->npt, gpaddr(request->address), request->size);
        if (sev)
            cache_flush(memory + offset, request->size); /* the secure processor may fill the page next */
    }
    window_unmap(memory, offset + request->size);
    return CONTROL_OK;
}
