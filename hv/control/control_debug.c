/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* VCPU_GET, MEMORY_READ, MEMORY_WRITE. */
#include "hv/control/control_debug.h"

#include "hv/lib/x86.h"
#include "hv/mm/window.h"
#include "hv/vm/pages.h"
#include "hv/vm/vcpu_cr.h"

/* A SEV guest's policy decides, with which its owner has started it, by any of the bits; of others, their entry in the manifest. */
static bool is_forbidden(const struct guest *guest, uint32_t bits)
{
    return guest->sev ? (guest->sev_policy & bits) != 0 : (guest->config->flags & MANIFEST_GUEST_DEBUG) == 0;
}

/* The guest is paused: no CPU has any of its vCPUs' state. */
enum control_result control_debug_vcpu_get(struct control_call *call)
{
    uint32_t id = call->request.vcpu;
    if (is_forbidden(call->guest, SEV_POLICY_NODBG))
        return CONTROL_POLICY;
    if (id >= call->guest->config->vcpus)
        return CONTROL_INVALID;
    const struct vcpu *vcpu = call->guest->vcpus[id];
    const struct vmcb *vmcb = vcpu->vmcb;
    struct control_vcpu out = {
        .rax = vmcb->rax,
        .rsp = vmcb->rsp,
#define REGISTER(name) .name = vcpu->run.gprs.name,
        VMRUN_GPRS(REGISTER)
#undef REGISTER
            .rip = vmcb->rip,
        .rflags = vcpu->stepping ? (vmcb->rflags & ~RFLAGS_TF) | vcpu->step_tf : vmcb->rflags,
        .cr0 = vcpu_cr0(vcpu),
        .cr2 = vmcb->cr2,
        .cr3 = vmcb->cr3,
        .cr4 = vcpu_cr4(vcpu),
        .efer = vmcb->efer & ~EFER_SVME,
        .dr0 = vcpu->switched.dr[0],
        .dr1 = vcpu->switched.dr[1],
        .dr2 = vcpu->switched.dr[2],
        .dr3 = vcpu->switched.dr[3],
        .dr6 = vmcb->dr6,
        .dr7 = vmcb->dr7,
        .star = vmcb->star,
        .lstar = vmcb->lstar,
        .cstar = vmcb->cstar,
        .sfmask = vmcb->sfmask,
        .kernel_gs_base = vmcb->kernel_gs_base,
        .sysenter_cs = vmcb->sysenter_cs,
        .sysenter_esp = vmcb->sysenter_esp,
        .sysenter_eip = vmcb->sysenter_eip,
        .state = vcpu->state,
        .cpu = vcpu->cpu->index,
    };
    _Static_assert(sizeof(struct control_segment) == sizeof(struct vmcb_segment) &&
                       offsetof(struct control_vcpu, tr) - offsetof(struct control_vcpu, es) ==
                           (VMCB_SEGMENTS - 1) * sizeof(struct vmcb_segment),
                   "segments as the VMCB has them");
    memcpy(&out.es, &vmcb->es, VMCB_SEGMENTS * sizeof(struct vmcb_segment));
    return control_put(call, &out, sizeof out);
}

/* Either way, as the guest itself shares its memory with hv. */
enum control_result control_debug_memory(struct control_call *call)
{
    const struct control_request *request = &call->request;
    uint64_t offset = request->address % PAGE_SIZE;
    paddr_t address;
    bool read = request->operation == CONTROL_MEMORY_READ, nodbg = is_forbidden(call->guest, SEV_POLICY_NODBG);
    /* What is shared is read to be sent, too. */
    if (nodbg && (!read || is_forbidden(call->guest, SEV_POLICY_NOSEND)))
        return CONTROL_POLICY;
    if (request->size == 0 || !guest_ram_address(call->guest, gpaddr(request->address), request->size, &address))
        return CONTROL_INVALID;
    if (call->guest->sev && !pages_are_shared(call->guest, gpaddr(request->address), request->size))
        return nodbg ? CONTROL_POLICY : CONTROL_NOT_SHARED;
    uint8_t *memory = window_map(paddr(address.raw - offset), offset + request->size, guest_shared_view(call->guest));
    if (memory == NULL)
        return CONTROL_LIMIT;
    if (read) {
        memcpy(call->data, memory + offset, request->size);
        call->answer.size = request->size;
    } else {
        memcpy(memory + offset, call->data, request->size);
    }
    window_unmap(memory, offset + request->size);
    return CONTROL_OK;
}
