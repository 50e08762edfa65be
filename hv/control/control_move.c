/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* PAGES. */
#include "hv/control/control_move.h"

#include "hv/vm/exit_npf.h"
#include "hv/vm/pages.h"

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
enum control_result control_move_pages(struct control_call *call)
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
