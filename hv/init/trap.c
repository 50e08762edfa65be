/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Exceptions of the hypervisor itself: a panic with the registers, but for NMI and machine checks. */
#include "hv/cpu/cpu.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/mca.h"
#include "hv/cpu/smp.h"
#include "hv/cpu/trap.h"
#include "hv/init/panic.h"
#include "hv/init/shutdown.h"
#include "hv/init/uefi.h"
#include "hv/lib/x86.h"
#include "hv/vm/exit.h"
#include "hv/vm/watch.h"

/* APM2 8.2 */
/* clang-format off */
static const char *const trap_names[TRAP_EXCEPTIONS] = {
    "#DE divide error", "#DB debug", "NMI", "#BP breakpoint", "#OF overflow", "#BR bound range",
    "#UD invalid opcode", "#NM device not available", "#DF double fault", "coprocessor segment overrun",
    "#TS invalid TSS", "#NP segment not present", "#SS stack", "#GP general protection", "#PF page fault",
    [16] = "#MF x87", [17] = "#AC alignment", [18] = "#MC machine check", [19] = "#XF SIMD",
    [21] = "#CP control protection", [28] = "#HV hypervisor injection", [29] = "#VC VMM communication",
    [30] = "#SX security",
};
/* clang-format on */

/* A contained error that interrupted VMRUN hits the guest that ran. Any other hit hv, which panics; only the CPU that is
 * powering the machine off goes on after a contained error. */
static void machine_check(struct cpu *cpu, const struct trap_frame *frame)
{
    struct mca_errors errors;
    mca_collect(&errors);
    if (!errors.context_corrupt && !errors.task_corrupt) {
        if (frame->rip == (uintptr_t)vmrun_after_stgi) {
            exit_machine_check(cpu->current, &errors);
            return;
        }
        if (shutdown_is_here()) {
            panic_banks(&errors);
            mca_done();
            return;
        }
    }
    cpu->mca_errors = &errors;
    panic_trap(frame, trap_names[TRAP_MC]);
}

void trap_handle(struct trap_frame *frame)
{
    struct cpu *cpu = this_cpu();
    if (frame->vector == TRAP_NMI) {
        if (shutdown_is_elsewhere())
            end_elsewhere();
        if (!watch_answer(cpu, frame->rip))
            cpu->nmis++; /* reported later by main.c: an NMI may interrupt console output */
        return;
    }
    if (frame->vector == TRAP_MC) {
        machine_check(cpu, frame);
        return;
    }
    if (frame->vector < TRAP_EXCEPTIONS) {
        const char *name = trap_names[frame->vector];
        name = name != NULL ? name : "reserved exception";
        if (end_catch(frame, name))
            return;
        panic_trap(frame, name);
    }
    if (frame->vector == TRAP_SPURIOUS)
        return; /* APM2 16.4.7: no EOI */
    if (frame->vector == TRAP_TIMER)
        lapic_timer_interrupt();
    else if (frame->vector == TRAP_WBINVD)
        smp_wbinvd_interrupt();
    else if (frame->vector == TRAP_KICK)
        smp_kick_interrupt(); /* its sender has set timer_fired */
    lapic_eoi();
    if (frame->vector == TRAP_TIMER && cpu->timer_fired)
        (void)end_catch(frame, "the UEFI firmware has not returned in time, interrupted");
}
