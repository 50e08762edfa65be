/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* What the exit handlers have in common; the dispatcher is exit_dispatch.c. */
#include "hv/vm/exit.h"

#include "hv/console/log.h"
#include "hv/cpu/clock.h"
#include "hv/lib/panic.h"
#include "hv/lib/text.h"
#include "hv/mm/view.h"
#include "hv/vm/debug.h"
#include "hv/vm/event.h"
#include "hv/vm/guest.h"
#include "hv/vm/vcpu_cr.h"

#define LOG_LINES 10u               /* per guest and second */

void exit_single_step(struct vcpu *vcpu)
{
    if (vcpu->stepping) {
        vcpu_cr_step_end(vcpu);
        debug_stepped(vcpu);
        if ((vcpu->vmcb->rflags & RFLAGS_TF) == 0)
            return;
    }
    vmcb_set_dr6(vcpu->vmcb, vcpu->vmcb->dr6 | DR6_BS);
    event_inject_exception(vcpu, VECTOR_DB, false, 0);
}

void exit_log(struct vcpu *vcpu, const char *format, ...)
{
    char text[160];
    va_list arguments;
    struct guest *guest = vcpu->guest;

    uint32_t left_out;
    lock_take(&guest->lock, LOCK_GUEST);
    bool admitted = rate_admit(&guest->messages, clock_tsc(), clock_hz(), LOG_LINES, 1, &left_out) > 0;
    lock_release(&guest->lock, LOCK_GUEST);
    if (left_out > 0)
        log_print(LOG_GUEST, "%s: %u more messages were left out", guest->config->name, left_out);
    if (!admitted)
        return;
    va_start(arguments, format);
    text_format_list(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_print(LOG_GUEST, "%s: %s", guest->config->name, text);
}

/* Not rate-limited as LOG_GUEST is: a launch has one such end, and its report must not be crowded
 * out by what other guests do in the same second. */
void exit_report(const struct vcpu *vcpu)
{
    const struct vmcb *v = vcpu->vmcb;
    const struct vmrun_gprs *g = &vcpu->run.gprs;
    const char *name = vcpu->guest->config->name;
    log_print(LOG_NOTICE, "%s: vCPU %u, exit 0x%lx, info 0x%lx 0x%lx, event 0x%lx", name, vcpu->id, v->exitcode,
              v->exitinfo1, v->exitinfo2, v->exitintinfo);
    log_print(LOG_NOTICE, "%s: rip %04x:%016lx rsp %04x:%016lx rflags %08lx cpl %u", name, v->cs.selector, v->rip,
              v->ss.selector, v->rsp, v->rflags, v->cpl);
    log_print(LOG_NOTICE, "%s: rax %016lx rbx %016lx rcx %016lx rdx %016lx", name, v->rax, g->rbx, g->rcx, g->rdx);
    log_print(LOG_NOTICE, "%s: rsi %016lx rdi %016lx rbp %016lx r8  %016lx", name, g->rsi, g->rdi, g->rbp, g->r8);
    log_print(LOG_NOTICE, "%s: r9  %016lx r10 %016lx r11 %016lx r12 %016lx", name, g->r9, g->r10, g->r11, g->r12);
    log_print(LOG_NOTICE, "%s: r13 %016lx r14 %016lx r15 %016lx", name, g->r13, g->r14, g->r15);
    log_print(LOG_NOTICE, "%s: cr0 %08lx cr2 %016lx cr3 %016lx cr4 %08lx efer %04lx", name, vcpu_cr0(vcpu), v->cr2,
              v->cr3, vcpu_cr4(vcpu), v->efer);
}

/* Another of its vCPUs may crash at the same time: one report, of the first. */
void exit_crash(struct vcpu *vcpu, const char *format, ...)
{
    char reason[sizeof(vcpu->guest->end_reason)];
    va_list arguments;

    va_start(arguments, format);
    text_format_list(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    if (guest_end(vcpu->guest, GUEST_END_CRASH, "%s", reason))
        exit_report(vcpu);
    vcpu->request = true;
}

/* For control/end.c: the page must not go to the next guest, nor to this one's next launch. */
static void note_damage(struct guest *guest, uint64_t address)
{
    if (address < guest->memory.base.raw || address - guest->memory.base.raw >= guest->memory.size)
        return;
    guest->memory_damaged = true;
    guest->damaged_at = address - guest->memory.base.raw;
}

/* Most likely an error of its memory. Guests have no machine check architecture, so this one ends: also when its own
 * context is lost (TCC, RIPV=0). An error that concerns hv's memory too raises an #MC there. */
void exit_machine_check(struct vcpu *vcpu, const struct mca_errors *errors)
{
    const char *name = vcpu->guest->config->name;
    char text[MCA_TEXT] = "no bank has an error";
    if (errors->context_corrupt) {
        this_cpu()->mca_errors = errors;
        panic("machine check while %s ran: the processor's context is corrupt", name);
    }
    for (uint32_t i = errors->count; i-- > 0;) {        /* `text` is the first then: the reason */
        uint64_t address;
        if (mca_address(&errors->errors[i], &address))
            note_damage(vcpu->guest, address & ~view_c_bit());
        mca_describe(&errors->errors[i], text, sizeof(text));
        log_print(LOG_ERROR, "CPU %u, machine check while %s ran: %s", this_cpu()->index, name, text);
    }
    mca_done();
    exit_crash(vcpu, "machine check at RIP 0x%lx: %s", vcpu->vmcb->rip, text);
}
