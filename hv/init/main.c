/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv from its first instruction in C to power-off. */
#include "hv/console/console.h"
#include "hv/console/log.h"
#include "hv/console/mca_log.h"
#include "hv/control/lifecycle.h"
#include "hv/control/report.h"
#include "hv/control/sev.h"
#include "hv/cpu/clock.h"
#include "hv/cpu/cpu.h"
#include "hv/cpu/lapic.h"
#include "hv/cpu/mca.h"
#include "hv/cpu/smp.h"
#include "hv/init/cpu_pages.h"
#include "hv/init/entry.h"
#include "hv/init/loop.h"
#include "hv/init/smp.h"
#include "hv/init/uefi.h"
#include "hv/io/dma.h"
#include "hv/lib/panic.h"
#include "hv/lib/x86.h"
#include "hv/mm/hostmap.h"
#include "hv/mm/page.h"
#include "hv/mm/window.h"
#include "hv/monitor/monitor.h"
#include "hv/svm/asid.h"
#include "hv/svm/svm.h"
#include "hv/vm/guest.h"
#include "hv/vm/run.h"

#define RESET_DELAY_SECONDS 60u

static void main_report(const struct handoff *handoff)
{
    uint64_t usable = 0;
    for (uint32_t i = 0; i < handoff->range_count; i++)
        usable += handoff->ranges[i].kind == HANDOFF_USABLE ? handoff->ranges[i].pages * PAGE_SIZE : 0;
    log_print(LOG_NOTICE, "memory: %lu MiB for guests, %lu MiB for hv, %lu KiB unused in pieces below 2 MiB; %s",
              memory_bytes() >> 20, handoff->arena_size >> 20, (usable - memory_bytes()) >> 10,
              handoff->c_bit_mask != 0 ? "hv's is encrypted (SME)" : "plain (no SME)");
    log_print(LOG_NOTICE, "TSC %lu.%03lu MHz", handoff->tsc_hz / 1000000, handoff->tsc_hz / 1000 % 1000);
    if (clock_boot_wall_ns() == 0)
        log_print(LOG_ERROR, "the board's clock (RTC) is not set, or years behind: guests get no date or time; "
                             "set it in the BIOS");
    if (handoff->sev_usable == 0)
        log_print(LOG_NOTICE, "encrypted guests are refused: %s", handoff->sev_refusal);
}

static void main_report_nmis(void)
{
    uint64_t nmis = 0;
    for (uint32_t i = 0; i < smp_cpus(); i++)
        nmis += smp_cpu(i) != NULL ? smp_cpu(i)->nmis : 0;
    if (nmis > 0)
        log_print(LOG_ERROR,
                  "%lu NMIs were received: boards report hardware errors by NMI; look into the BMC's event log", nmis);
}

/* A guest that the operator ended during its launch counts as one that ran. */
static bool main_no_guest_ran(void)
{
    uint64_t launches = 0;
    for (uint32_t i = 0; i < guest_count(); i++)
        launches += guests[i].launches + (guests[i].end == GUEST_END_DESTROYED);
    return launches == 0;
}

/*
 * INIT, LAUNCH_START and others fail after ExitBootServices only, so the way back to the UEFI firmware is a reset. The
 * reason stays on the console for a while first, since the console may not be recorded.
 */
static _Noreturn void main_reset_unused(void)
{
    while (console_read() != CONSOLE_NOTHING)
        continue;       /* drop input from before the message */
    if (guest_count() == 0)
        log_print(LOG_ERROR, "no guest runs: the manifest cannot be used");
    else
        log_print(LOG_ERROR, "no guest runs: %s is refused: %s", guests[0].config->name, guests[0].end_reason);
    log_print(LOG_ERROR, "the machine is reset in %u seconds, or at a key, into the next boot option",
              RESET_DELAY_SECONDS);
    struct clock_limit limit = clock_limit(RESET_DELAY_SECONDS * UINT64_C(1000000));
    while (!clock_limit_over(&limit) && console_read() == CONSOLE_NOTHING) {
        this_cpu()->rounds++;   /* for the watchdog: not stuck */
        console_drain();
        cpu_relax();
    }
    machine_reset();
}

static void main_start_lapic(void)
{
    bool x2apic = this_cpu()->features.x2apic;
    if (!x2apic)
        lapic_use_registers(mmio_map_all(lapic_address()));
    lapic_init();
    log_print(LOG_NOTICE, "LAPIC %u: %s", this_cpu()->apic_id, x2apic ? "x2APIC" : "xAPIC");
}

/* On the guard-paged stack. */
static _Noreturn void main_run(const struct handoff *handoff)
{
    dma_stop(handoff);
    main_start_lapic();
    mca_log_init(this_cpu());
    ASSERT(svm_allocate(this_cpu()));
    svm_init(this_cpu());
    run_init(this_cpu(), handoff->com2_free != 0);
    asid_init(this_cpu()->features.svm.ebx, handoff->min_sev_asid, handoff->max_sev_asid);
    uefi_init(handoff);
    sti();
    smp_start(handoff);

    lifecycle_begin(handoff);
    loop_run(this_cpu());
    sev_stop();
    loop_run(this_cpu());   /* until that is over */
    monitor_report_losses();
    main_report_nmis();
    report_summary();       /* its result is the last line on the console */
    if (main_no_guest_ran())
        main_reset_unused();
    machine_power_off();
}

void hv_main(const struct handoff *handoff)
{
    if (handoff->magic != HANDOFF_MAGIC || handoff->version != HANDOFF_VERSION || handoff->size != sizeof(*handoff))
        for (;;)
            hlt();      /* the handoff's console cannot be trusted */
    console_init(&handoff->uart);
    clock_init(handoff->tsc_hz, handoff->wall_seconds, handoff->wall_tsc);
    uefi_end_init(handoff);
    cpu_init(cpu_boot());
    log_print(LOG_NOTICE, "Sevisor: hv runs, %s",
              handoff->c_bit_mask != 0 ? "encrypted" : "plain: this machine has no SME");
    view_init(handoff);
    page_init(handoff);
    memory_init(handoff);
    hostmap_init(handoff);
    main_report(handoff);
    void *stack = cpu_pages_stacks(this_cpu());
    ASSERT(stack != NULL);
    entry_on_stack(stack, main_run, handoff);
}
