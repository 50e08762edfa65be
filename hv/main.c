/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* hv from its first instruction in C to power-off. */
#include "asid.h"
#include "clock.h"
#include "console.h"
#include "cpu.h"
#include "entry.h"
#include "firmware.h"
#include "guest.h"
#include "hostmap.h"
#include "log.h"
#include "monitor.h"
#include "sev.h"
#include "vcpu.h"
#include "x86.h"

static void main_report(const struct handoff *handoff)
{
    struct memory_stats stats;
    memory_stats(&stats);
    log_print(LOG_NOTICE, "memory: %lu MiB for guests, %lu MiB for hv; %s", stats.extent_total >> 20,
              handoff->arena_size >> 20,
              handoff->c_bit_mask != 0 ? "hv's is encrypted (SME)" : "plain (no SME)");
    log_print(LOG_NOTICE, "TSC %lu.%03lu MHz", handoff->tsc_hz / 1000000, handoff->tsc_hz / 1000 % 1000);
    if (handoff->sev_usable == 0)
        log_print(LOG_NOTICE, "encrypted guests are refused: %s", handoff->sev_refusal);
}

/* On the guard-paged stack. */
static _Noreturn void main_run(const struct handoff *handoff)
{
    lapic_init();
    svm_init(this_cpu());
    vcpu_init(this_cpu());
    asid_init(this_cpu()->features.asids, handoff->min_sev_asid, handoff->max_sev_asid);
    firmware_init(handoff);
    monitor_init();
    sti();

    guest_launch_all(handoff);
    sched_loop(this_cpu());
    sev_stop();
    if (this_cpu()->nmis > 0)
        log_print(LOG_ERROR, "%lu NMIs came in: boards report hardware errors so", this_cpu()->nmis);
    guest_summary();    /* its verdict is the last line that the operator reads */
    machine_power_off();
}

void hv_main(const struct handoff *handoff)
{
    if (handoff->magic != HANDOFF_MAGIC || handoff->version != HANDOFF_VERSION || handoff->size != sizeof *handoff)
        for (;;)
            hlt();      /* not even the console's port can be trusted */
    console_init((uint16_t)handoff->serial_port);
    clock_init(handoff->tsc_hz);
    cpu_init(0);
    log_print(LOG_NOTICE, "Sevisor: hv runs, %s", handoff->c_bit_mask != 0 ? "encrypted" : "plain: this machine has no SME");
    memory_init(handoff);
    hostmap_init(handoff);
    main_report(handoff);
    entry_on_stack(cpu_stacks(0), main_run, handoff);
}
