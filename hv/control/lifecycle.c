/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* Which guests are launched, torn down and launched again, and when all of that is over. */
#include "hv/control/lifecycle.h"

#include "hv/console/log.h"
#include "hv/control/job.h"
#include "hv/control/leak.h"
#include "hv/control/program.h"
#include "hv/control/sev.h"
#include "hv/cpu/smp.h"
#include "hv/mm/page.h"

#define PAGES_OF(bytes) (((bytes) + PAGE_SIZE - 1) / PAGE_SIZE)

void lifecycle_begin(const struct handoff *handoff)
{
    bool has_session = false;
    if (!program_open(handoff))
        return;
    uint32_t count = program_header()->guest_count;
    bool wants_sev = (program_header()->flags & MANIFEST_SHOW_PDH) != 0;
    for (uint32_t i = 0; i < count; i++) {
        guests[i].index = i;
        guests[i].config = manifest_guest(program_header(), i);
        guests[i].restarts_left = guests[i].config->restarts;
        wants_sev |= guests[i].config->encryption == MANIFEST_ENCRYPTION_SEV;
        has_session |=
            guests[i].config->session_size != 0 || (guests[i].config->flags & MANIFEST_GUEST_SESSION_AT_LAUNCH) != 0;
        paddr_t history, input;
        bool keeps = page_alloc(PAGES_OF(HISTORY_SIZE), &history);
        output_init(&guests[i].output, i, guests[i].config->name, keeps ? page_va(history) : NULL);
        vuart_reset(&guests[i].uart, &guests[i].output);      /* its launch may be refused before it does this */
        if (page_alloc(PAGES_OF(VUART_INPUT), &input))
            guests[i].uart.input = page_va(input);
    }
    log_print(LOG_NOTICE, "the manifest has %u guests", count);
    if (wants_sev)
        sev_start(handoff, has_session);
    leak_mark();
    for (uint32_t i = 0; i < count; i++)
        job_begin(job_of(&guests[i]), JOB_LAUNCH, &guests[i]);
}

/* Whether no CPU has still to process a message that another vCPU of the guest posted before it stopped. */
static bool messages_taken(const struct guest *guest)
{
    bool taken = true;
    for (uint32_t i = 0; i < GUEST_MAX_VCPUS && guest->vcpus[i] != NULL; i++) {
        if (__atomic_load_n(&guest->vcpus[i]->posted.listed, __ATOMIC_ACQUIRE)) {
            smp_kick(guest->vcpus[i]->cpu);
            taken = false;
        }
    }
    return taken;
}

void lifecycle_begin_ends(void)
{
    for (uint32_t i = 0, count = guest_count(); i < count; i++) {
        struct guest *guest = &guests[i];
        if (guest_is_ending(guest) && job_of(guest)->kind == JOB_NONE &&
            __atomic_load_n(&guest->vcpus_queued, __ATOMIC_ACQUIRE) == 0 && messages_taken(guest))
            job_begin(job_of(guest), JOB_END, guest);
    }
}

bool lifecycle_relaunch(struct guest *guest)
{
    if ((guest->state != GUEST_ENDED && guest->state != GUEST_REFUSED) || job_of(guest)->kind != JOB_NONE)
        return false;
    job_begin(job_of(guest), JOB_LAUNCH, guest);
    guest_note_end();       /* wakes the boot CPU's loop */
    return true;
}

bool lifecycle_active(void)
{
    for (uint32_t i = 0; i < GUEST_MAX && guests[i].config != NULL; i++)
        if (guests[i].state == GUEST_RUNNING)
            return true;
    return job_active();
}
