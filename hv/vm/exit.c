/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* From #VMEXIT to a handler. */
#include "hv/vm/exit.h"

#include "hv/console/log.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/mca.h"
#include "hv/cpu/trap.h"
#include "hv/lib/panic.h"
#include "hv/lib/text.h"
#include "hv/lib/x86.h"
#include "hv/vm/event.h"
#include "hv/vm/exit_cache.h"
#include "hv/vm/exit_cpuid.h"
#include "hv/vm/exit_cr.h"
#include "hv/vm/exit_io.h"
#include "hv/vm/exit_msr.h"
#include "hv/vm/exit_msr_list.h"
#include "hv/vm/exit_npf.h"
#include "hv/vm/guest.h"

#define DR6_BS (UINT64_C(1) << 14)
#define LOG_LINES 10u               /* per guest and second */
#define EXCEPTIONS_WITH_ERROR 0x60227d00u   /* #DF #TS #NP #SS #GP #PF #AC #CP #VC #SX; APM2 8.2 */
#define KVM_ENOSYS 1000             /* Linux include/uapi/linux/kvm_para.h */
#define KVM_EPERM 1

/* ---- what handlers share ---- */

void exit_single_step(struct vcpu *vcpu)
{
    vmcb_set_dr6(vcpu->vmcb, vcpu->vmcb->dr6 | DR6_BS);
    event_inject_exception(vcpu, VECTOR_DB, false, 0);
}

static bool log_admits(struct guest *guest, uint64_t now)
{
    if (now - guest->log_window_tsc >= clock_hz()) {
        if (guest->log_dropped > 0)
            log_print(LOG_GUEST, "%s: %u more messages were left out", guest->config->name, guest->log_dropped);
        guest->log_window_tsc = now;
        guest->log_count = guest->log_dropped = 0;
    }
    if (guest->log_count == LOG_LINES) {
        guest->log_dropped++;
        return false;
    }
    guest->log_count++;
    return true;
}

void exit_log(struct vcpu *vcpu, const char *format, ...)
{
    char text[160];
    va_list arguments;
    struct guest *guest = vcpu->guest;

    lock_take(&guest->lock, LOCK_GUEST);
    bool admitted = log_admits(guest, clock_tsc());
    lock_release(&guest->lock, LOCK_GUEST);
    if (!admitted)
        return;
    va_start(arguments, format);
    text_format_list(text, sizeof(text), format, arguments);
    va_end(arguments);
    log_print(LOG_GUEST, "%s: %s", guest->config->name, text);
}

/* Not rate-limited as LOG_GUEST is: a launch has one such end, and its report must not be crowded
 * out by what other guests do in the same second. */
static void report(const struct vcpu *vcpu)
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
    log_print(LOG_NOTICE, "%s: cr0 %08lx cr2 %016lx cr3 %016lx cr4 %08lx efer %04lx", name, exit_cr0(vcpu), v->cr2,
              v->cr3, exit_cr4(vcpu), v->efer);
}

/* Another of its vCPUs may have come to the end at the same time: one report, of the one that counts. */
void exit_crash(struct vcpu *vcpu, const char *format, ...)
{
    char reason[sizeof(vcpu->guest->end_reason)];
    va_list arguments;

    va_start(arguments, format);
    text_format_list(reason, sizeof(reason), format, arguments);
    va_end(arguments);
    if (guest_end(vcpu->guest, GUEST_END_CRASH, "%s", reason))
        report(vcpu);
    vcpu->attention = true;
}

/* ---- handlers ---- */

static void exit_iret(struct vcpu *vcpu)
{
    event_iret(vcpu);
}

/* INTR, NMI, SMI, INIT: the host's own. It took them at STGI. */
static void exit_host(struct vcpu *vcpu)
{
    (void)vcpu;
}

static void exit_window(struct vcpu *vcpu)
{
    vcpu->attention = true;
}

static void exit_hlt(struct vcpu *vcpu)
{
    exit_skip(vcpu, 1);
    vcpu->state = VCPU_HALTED;
    vcpu->asleep_tsc = 0;
    vcpu->attention = true;
}

static void exit_vmmcall(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    vmcb_set_rax(vmcb, (uint64_t)(vmcb->cpl == 0 ? -KVM_ENOSYS : -KVM_EPERM));
    exit_skip(vcpu, 3);
}

static void exit_undefined(struct vcpu *vcpu)
{
    event_inject_exception(vcpu, VECTOR_UD, false, 0);
}

static void exit_rdpmc(struct vcpu *vcpu)
{
    event_inject_exception(vcpu, VECTOR_GP, true, 0);
}

/* Given on: they are intercepted only so that their delivery ends. The processor
 * has DR6 written already (APM2 15.12.2). */
static void exit_debug(struct vcpu *vcpu)
{
    if (vcpu->stepping && exit_cr_stepped(vcpu))
        return;
    event_inject_exception(vcpu, VECTOR_DB, false, 0);
}

static void exit_alignment(struct vcpu *vcpu)
{
    if (vcpu->stepping)
        exit_cr_step_end(vcpu);
    event_inject_exception(vcpu, VECTOR_AC, true, 0);
}

/* A fault of an instruction that is being stepped over: all others are the guest's own. APM2 8.2, 15.12. */
static void exit_fault(struct vcpu *vcpu)
{
    struct vmcb *vmcb = vcpu->vmcb;
    uint8_t vector = (uint8_t)(vmcb->exitcode - VMEXIT_EXCEPTION_DE);
    if (vector == VECTOR_PF)
        vmcb_set_cr2(vmcb, vmcb->exitinfo2);
    exit_cr_step_end(vcpu);
    event_inject_exception(vcpu, vector, (EXCEPTIONS_WITH_ERROR >> vector & 1) != 0, (uint32_t)vmcb->exitinfo1);
}

/* For release_memory(): the page must not go to the next guest, nor to this one's next launch. */
static void note_damage(struct guest *guest, uint64_t address)
{
    if (address < guest->memory.base.raw || address - guest->memory.base.raw >= guest->memory.size)
        return;
    guest->memory_damaged = true;
    guest->damaged_at = address - guest->memory.base.raw;
}

/* Most likely in its memory. Guests have no machine check architecture, so this one ends: also when its own
 * context is lost (TCC, RIPV=0). Were the host's memory concerned too, its own #MC tells. */
void exit_hit(struct vcpu *vcpu, const struct mca_errors *errors)
{
    const char *name = vcpu->guest->config->name;
    char text[MCA_TEXT] = "no bank says why";
    if (errors->context_corrupt) {
        this_cpu()->mca_errors = errors;
        panic("machine check while %s ran: the processor's context is corrupt", name);
    }
    for (uint32_t i = errors->count; i-- > 0;) {        /* `text` is the first then: the reason */
        uint64_t address;
        if (mca_address(&errors->errors[i], &address))
            note_damage(vcpu->guest, address & ~view_c_bit());
        mca_describe(&errors->errors[i], text, sizeof text);
        log_print(LOG_ERROR, "CPU %u, machine check while %s ran: %s", this_cpu()->index, name, text);
    }
    mca_done();
    exit_crash(vcpu, "machine check at RIP 0x%lx: %s", vcpu->vmcb->rip, text);
}

static void exit_machine_check(struct vcpu *vcpu)
{
    struct mca_errors errors;
    mca_collect(&errors);
    exit_hit(vcpu, &errors);
}

/* APM2 15.14.3: the save area is undefined after SHUTDOWN; the report is a hint. So is the IDT's: kernels that want a
 * reset, and know of no other way, load one of base and limit 0, and then raise an exception. So does Linux for a CPU
 * that it starts, but before paging. */
static void exit_shutdown(struct vcpu *vcpu)
{
    if (vcpu->vmcb->idtr.base == 0 && vcpu->vmcb->idtr.limit == 0 && (vcpu->vmcb->cr0 & CR0_PG) != 0) {
        if (guest_end(vcpu->guest, GUEST_END_RESET, "asked for a reset by a triple fault without an IDT"))
            report(vcpu);       /* in case it did not mean to */
        vcpu->attention = true;
        return;
    }
    exit_crash(vcpu, "triple fault at RIP 0x%lx", vcpu->vmcb->rip);
}

OUT_OF_LINE void exit_unknown(struct vcpu *vcpu)
{
    if (vcpu->vmcb->exitcode == VMEXIT_NPF) {
        exit_npf(vcpu);
        return;
    }
    uint64_t vector = vcpu->vmcb->exitcode - VMEXIT_EXCEPTION_DE;
    if (vcpu->stepping && vector < TRAP_EXCEPTIONS && vector != TRAP_NMI) {
        exit_fault(vcpu);
        return;
    }
    if ((uint32_t)vcpu->vmcb->exitcode == VMEXIT_INVALID) {
        exit_crash(vcpu, "the CPU refuses the guest's state (VMEXIT_INVALID) at RIP 0x%lx", vcpu->vmcb->rip);
        return;
    }
    exit_crash(vcpu, "exit code 0x%lx, which this hypervisor does not handle, at RIP 0x%lx", vcpu->vmcb->exitcode, vcpu->vmcb->rip);
}

/* ---- dispatch ---- */

struct exit_row {
    void (*handle)(struct vcpu *vcpu);
    uint32_t kind;
};

static const struct exit_row rows[] = {
    [VMEXIT_READ_CR0] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_READ_CR4] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_WRITE_CR0] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_WRITE_CR4] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_EXCEPTION_DB] = {exit_debug, VCPU_EXIT_EXCEPTION},
    [VMEXIT_EXCEPTION_AC] = {exit_alignment, VCPU_EXIT_EXCEPTION},
    [VMEXIT_EXCEPTION_MC] = {exit_machine_check, VCPU_EXIT_EXCEPTION},
    [VMEXIT_INTR] = {exit_host, VCPU_EXIT_INTERRUPT},
    [VMEXIT_NMI] = {exit_host, VCPU_EXIT_INTERRUPT},
    [VMEXIT_SMI] = {exit_host, VCPU_EXIT_INTERRUPT},
    [VMEXIT_INIT] = {exit_host, VCPU_EXIT_INTERRUPT},
    [VMEXIT_VINTR] = {exit_window, VCPU_EXIT_WINDOW},
    [VMEXIT_CR0_SEL_WRITE] = {exit_cr, VCPU_EXIT_CR},
    [VMEXIT_RDPMC] = {exit_rdpmc, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_CPUID] = {exit_cpuid, VCPU_EXIT_CPUID},
    [VMEXIT_RSM] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_IRET] = {exit_iret, VCPU_EXIT_WINDOW},
    [VMEXIT_INVD] = {exit_cache, VCPU_EXIT_CACHE},
    [VMEXIT_HLT] = {exit_hlt, VCPU_EXIT_HLT},
    [VMEXIT_INVLPGA] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_IOIO] = {exit_ioio, VCPU_EXIT_IO},
    [VMEXIT_MSR] = {exit_msr, VCPU_EXIT_MSR},
    [VMEXIT_SHUTDOWN] = {exit_shutdown, VCPU_EXIT_OTHER},
    [VMEXIT_VMRUN] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_VMMCALL] = {exit_vmmcall, VCPU_EXIT_VMMCALL},
    [VMEXIT_VMLOAD] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_VMSAVE] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_STGI] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_CLGI] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_SKINIT] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_WBINVD] = {exit_cache, VCPU_EXIT_CACHE},
    [VMEXIT_MONITOR] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_MWAIT] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_MWAIT_CONDITIONAL] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
    [VMEXIT_XSETBV] = {exit_xsetbv, VCPU_EXIT_CR},
    [VMEXIT_RDPRU] = {exit_undefined, VCPU_EXIT_FORBIDDEN},
};

/* Nested page faults, and what has no row. */
static const struct exit_row unknown = {NULL, VCPU_EXIT_OTHER};

const char *exit_kind_name(uint32_t kind)
{
    static const char *const names[VCPU_EXIT_KINDS] = {
        [VCPU_EXIT_OTHER] = "other", [VCPU_EXIT_INTERRUPT] = "host", [VCPU_EXIT_WINDOW] = "win",
        [VCPU_EXIT_CPUID] = "cpuid", [VCPU_EXIT_MSR] = "msr", [VCPU_EXIT_IO] = "io", [VCPU_EXIT_HLT] = "hlt",
        [VCPU_EXIT_VMMCALL] = "vmm", [VCPU_EXIT_EXCEPTION] = "excpt", [VCPU_EXIT_CACHE] = "cache",
        [VCPU_EXIT_CR] = "cr", [VCPU_EXIT_FORBIDDEN] = "forb",
    };
    return kind < VCPU_EXIT_KINDS ? names[kind] : NULL;
}

bool exit_dispatch(struct vmrun_state *state)
{
    struct vcpu *vcpu = vcpu_of_run(state);
    struct vmcb *vmcb = vcpu->vmcb;

    vmcb_mark_clean(vmcb);
    vmcb_set_tlb_control(vmcb, TLB_CONTROL_NONE);
    vmcb_set_eventinj(vmcb, 0);         /* delivered, or in EXITINTINFO */
    if ((vmcb->exitintinfo & EVENT_VALID) != 0)
        event_interrupted(vcpu);

    uint64_t code = vcpu->vmcb->exitcode;
    const struct exit_row *row = code < sizeof(rows) / sizeof(rows[0]) ? &rows[code] : &unknown;
    vcpu->exits[row->kind]++;
    if (row->handle != NULL)
        row->handle(vcpu);
    else
        exit_unknown(vcpu);
    return !vcpu->attention;
}
