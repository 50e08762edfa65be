/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/*
 * What a guest leaves and arrives by: PAGES, STATE_GET, STATE_SET. What is set is hostile: it is what a guest could have come to by itself, or is refused, and nothing of it has
 * changed then. What VMRUN refuses in spite of that ends the guest alone.
 */
#include "hv/control/control_state.h"

#include "hv/control/control_debug.h"
#include "hv/cpu/clock.h"
#include "hv/lib/x86.h"
#include "hv/vm/event.h"
#include "hv/vm/exit_msr.h"
#include "hv/vm/exit_npf.h"
#include "hv/vm/ipi.h"
#include "hv/vm/pages.h"

#define TSC_TOLERANCE 4000u             /* a 4,000th: 250 in a million, as KVM's tsc_tolerance_ppm */
#define SPEC_CTRL_KNOWN UINT64_C(0x87)  /* IBRS, STIBP, SSBD, PSFD (APM2 3.2.9) */
#define EVENT_KNOWN \
    (EVENT_VALID | EVENT_ERROR_VALID | EVENT_TYPE_MASK | UINT64_C(0xff) | UINT64_C(0xffffffff) << EVENT_ERROR_SHIFT)
#define UART_OVERRUN 1u
#define UART_TRANSMIT_EVENT 2u

_Static_assert(sizeof(((struct control_guest_state *)0)->input) == VUART_INPUT, "all that waits");

/* Fields that are the same here and there. */
#define UART_REGISTERS(X) X(ier) X(fcr) X(lcr) X(mcr) X(scr) X(dll) X(dlm)
#define VCPU_FIELDS(X)                          \
    X(mtrr_def_type, mtrr_def_type)             \
    X(system_time_msr, pvclock.system_time_msr) \
    X(pvclock_version, pvclock.version)         \
    X(tsc_aux, switched.tsc_aux)                \
    X(xcr0, switched.xcr0)
#define APIC_FIELDS(X)                   \
    X(apic_tpr, tpr)                     \
    X(apic_svr, svr)                     \
    X(apic_esr, esr)                     \
    X(apic_esr_shadow, esr_shadow)       \
    X(apic_timer_initial, timer_initial) \
    X(apic_timer_divide, timer_divide)   \
    X(apic_timer_start, timer_start_tsc) X(apic_deadline, deadline_tsc) X(apic_icr, icr)
#define APIC_ARRAYS(X) X(apic_irr, irr) X(apic_isr, isr) X(apic_lvt, lvt)

/* ---- the guest as a whole ---- */

static enum control_result get_guest(struct control_call *call)
{
    static struct control_guest_state out;
    const struct guest *guest = call->guest;
    const struct vuart *uart = &guest->uart;
    out = (struct control_guest_state){
        .version = CONTROL_VERSION,
        .encryption = guest->config->encryption,
        .vcpus = guest->config->vcpus,
        .migration_control = guest->migration_control,
        .memory = guest->memory.size,
        .tsc = clock_tsc(),
        .tsc_hz = clock_hz(),
#define REGISTER(name) .uart_##name = uart->name,
        UART_REGISTERS(REGISTER)
#undef REGISTER
            .uart_flags =
            (uint8_t)((uart->overrun ? UART_OVERRUN : 0) | (uart->transmit_event ? UART_TRANSMIT_EVENT : 0)),
        .input_count = uart->input_count,
        .input_break = uart->break_after,
    };
    for (uint32_t i = 0; i < out.input_count; i++)
        out.input[i] = vuart_peek(uart, i);
    return control_put(call, &out, sizeof(out));
}

static bool guest_valid(const struct guest *guest, const struct control_guest_state *in)
{
    uint64_t hz = clock_hz(), difference = in->tsc_hz > hz ? in->tsc_hz - hz : hz - in->tsc_hz;
    return in->version == CONTROL_VERSION && in->encryption == guest->config->encryption &&
           in->vcpus == guest->config->vcpus && in->memory == guest->memory.size &&
           in->migration_control <= (guest->sev ? 1u : 0u) && difference <= hz / TSC_TOLERANCE &&
           in->uart_flags <= (UART_OVERRUN | UART_TRANSMIT_EVENT);
}

static enum control_result set_guest(struct control_call *call)
{
    static struct control_guest_state in;
    struct guest *guest = call->guest;
    struct vuart uart = {.input = guest->uart.input, .output = guest->uart.output};
    if (call->request.size < sizeof(in))
        return CONTROL_INVALID;
    control_take(call, &in, sizeof(in));
#define REGISTER(name) uart.name = in.uart_##name;
    UART_REGISTERS(REGISTER)
#undef REGISTER
    uart.overrun = (in.uart_flags & UART_OVERRUN) != 0;
    uart.transmit_event = (in.uart_flags & UART_TRANSMIT_EVENT) != 0;
    uart.input_count = in.input_count;
    uart.break_after = in.input_break;
    if (!guest_valid(guest, &in) || !vuart_valid(&uart))
        return CONTROL_INVALID;
    uart.input_count = 0;
    for (uint32_t i = 0; i < in.input_count; i++)
        (void)vuart_input(&uart, in.input[i]);
    guest->uart = uart;
    guest->migration_control = in.migration_control;
    guest->tsc_moved = in.tsc - clock_tsc();
    guest->state_set = true;
    return CONTROL_OK;
}

/* ---- a vCPU ---- */

/* One that hv has put to sleep in the middle of a WBINVD executes that again. */
static uint32_t state_of(const struct vcpu *vcpu)
{
    return vcpu->wbinvd_ticket != 0 || vcpu->asleep_tsc != 0 ? VCPU_RUNNABLE : vcpu->state;
}

static enum control_result get_vcpu(struct control_call *call, struct vcpu *vcpu)
{
    static struct control_vcpu_state out;
    const struct vmcb *vmcb = vcpu->vmcb;
    const struct vlapic *lapic = &vcpu->lapic;
    if (vcpu->breakpoints != 0)
        return CONTROL_STATE; /* a debugger's, which the guest has not set */
    ipi_take(vcpu); /* what other vCPUs sent it before they stopped */
    event_sync_tpr(vcpu);
    out = (struct control_vcpu_state){.tsc_offset = vmcb->tsc_offset,
                                      .pat = vmcb->g_pat,
                                      .spec_ctrl = vmcb->spec_ctrl,
                                      .cpl = vmcb->cpl,
                                      .interrupt_shadow = vmcb->interrupt_shadow & INTERRUPT_SHADOW,
                                      .event = event_first(vcpu),
                                      .nmi_pending = vcpu->nmi_pending,
                                      .nmi_blocked = vcpu->nmi_blocked,
                                      .nmi_iret_rip = vcpu->nmi_iret_rip,
                                      .apic_base = lapic->apic_base,
#define FIELD(to, from) .to = vcpu->from,
                                      VCPU_FIELDS(FIELD)
#undef FIELD
#define FIELD(to, from) .to = lapic->from,
                                          APIC_FIELDS(FIELD)
#undef FIELD
    };
    control_debug_get(vcpu, &out.registers);
    out.registers.state = state_of(vcpu);
#define ARRAY(to, from) memcpy(out.to, lapic->from, sizeof(out.to));
    APIC_ARRAYS(ARRAY)
#undef ARRAY
    switch_read_xsave(&vcpu->switched, out.xsave);
    return control_put(call, &out, sizeof(out));
}

static bool event_valid(uint64_t event)
{
    uint64_t type = event & EVENT_TYPE_MASK;
    return event == 0 || ((event & EVENT_VALID) != 0 && (event & ~EVENT_KNOWN) == 0 &&
                          (type == EVENT_TYPE_INTERRUPT || type == EVENT_TYPE_NMI || type == EVENT_TYPE_EXCEPTION));
}

static bool vcpu_valid(const struct vcpu *vcpu, const struct control_vcpu_state *in, const struct vlapic *lapic)
{
    bool virtual_spec_ctrl = this_cpu()->features.virtual_spec_ctrl;
    return in->registers.state <= VCPU_WAIT_SIPI && in->cpl == (in->registers.ss.attributes >> 5 & 3u) &&
           in->interrupt_shadow <= INTERRUPT_SHADOW && event_valid(in->event) && in->nmi_pending <= 1 &&
           in->nmi_blocked <= 1 && in->apic_base == vcpu->lapic.apic_base && vlapic_valid(lapic) &&
           (in->spec_ctrl & ~(virtual_spec_ctrl ? SPEC_CTRL_KNOWN : 0)) == 0 &&
           in->tsc_aux <= (switch_has_tsc_aux() ? UINT32_MAX : 0) && switch_xsave_valid(in->xsave, in->xcr0) &&
           vmcb_pat_valid(in->pat) && (in->mtrr_def_type & ~MTRR_DEF_TYPE_WRITABLE) == 0;
}

static enum control_result set_vcpu(struct control_call *call, struct vcpu *vcpu)
{
    static struct control_vcpu_state in;
    struct vmcb *vmcb = vcpu->vmcb;
    struct vlapic lapic = vcpu->lapic;
    if (call->request.size < sizeof(in))
        return CONTROL_INVALID;
    if (!call->guest->state_set)
        return CONTROL_STATE;
    control_take(call, &in, sizeof(in));
#define FIELD(from, to) lapic.to = in.from;
    APIC_FIELDS(FIELD)
#undef FIELD
#define ARRAY(from, to) memcpy(lapic.to, in.from, sizeof(lapic.to));
    APIC_ARRAYS(ARRAY)
#undef ARRAY
    if (!vcpu_valid(vcpu, &in, &lapic) || !control_debug_set(vcpu, &in.registers))
        return CONTROL_INVALID;
    vcpu->lapic = lapic;
#define FIELD(from, to) vcpu->to = in.from;
    VCPU_FIELDS(FIELD)
#undef FIELD
    vcpu->state = in.registers.state;
    vcpu->breakpoints = 0; /* they are the guest's own */
    vcpu->nmi_pending = in.nmi_pending != 0;
    event_block_nmi(vcpu, in.nmi_blocked != 0, in.nmi_iret_rip);
    event_write_tpr(vcpu);
    vmcb_set_tsc_offset(vmcb, in.tsc_offset + call->guest->tsc_moved);
    vmcb_set_g_pat(vmcb, in.pat);
    vmcb_set_spec_ctrl(vmcb, in.spec_ctrl);
    vmcb_set_interrupt_shadow(vmcb, in.interrupt_shadow);
    vmcb_set_eventinj(vmcb, in.event);
    vcpu->request = true;
    switch_write_xsave(&vcpu->switched, in.xsave);
    call->guest->vcpus_set |= UINT64_C(1) << vcpu->id;
    return CONTROL_OK;
}

/* ---- both ---- */

bool control_state_complete(const struct guest *guest)
{
    uint64_t all = UINT64_MAX >> (64 - guest->config->vcpus);
    return guest->state_set && guest->vcpus_set == all && (!guest->sev || guest->received);
}

enum control_result control_state_get(struct control_call *call)
{
    return call->vcpu == NULL ? get_guest(call) : get_vcpu(call, call->vcpu);
}

enum control_result control_state_set(struct control_call *call)
{
    return call->vcpu == NULL ? set_guest(call) : set_vcpu(call, call->vcpu);
}

/* ---- PAGES ---- */

/* Its vCPUs may map pages of the bus meanwhile. */
static bool split(struct guest *guest, gpaddr_t gpa, uint64_t size)
{
    exit_npf_freeze(true);
    bool done = npt_split(&guest->npt, gpa, size);
    exit_npf_freeze(false);
    return done;
}

/* Tracked pages are answered when no CPU is left that might write to them and not set D: each has taken an interrupt since, and flushes
 * before it enters the guest again. That it is the interrupt for WBINVD is for SEND_UPDATE_DATA: what was written is in memory. */
enum control_result control_state_pages(struct control_call *call)
{
    const struct control_request *request = &call->request;
    struct guest *guest = call->guest;
    bool track = request->argument == CONTROL_PAGES_TRACK;
    if (call->answer.size == 0) {
        if (request->argument > CONTROL_PAGES_TRACK || request->address % PAGE_SIZE != 0 ||
            request->address >= guest->memory.size || request->size == 0)
            return CONTROL_INVALID;
        uint64_t npages = (guest->memory.size - request->address) / PAGE_SIZE;
        npages = npages < CONTROL_PAGES_MAX ? npages : CONTROL_PAGES_MAX;
        npages = npages < request->size ? npages : request->size;
        if (track && !split(guest, gpaddr(request->address), npages * PAGE_SIZE))
            return CONTROL_LIMIT;
        for (uint64_t i = 0; i < npages; i++)
            call->data[i] = pages_look(guest, gpaddr(request->address + i * PAGE_SIZE), track);
        call->answer.size = (uint32_t)npages;
        if (track)
            pages_flush_tlb(guest);
    }
    return track && !wbinvd_all(&call->job->wbinvd) ? control_waits(call) : CONTROL_OK;
}
