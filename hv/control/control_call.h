/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* One request of the control guest's: what its operation gets, and what it makes of it. */
#ifndef SEVISOR_CONTROL_CALL_H
#define SEVISOR_CONTROL_CALL_H

#include "hv/control/job.h"
#include "hv/lib/string.h"

struct control_call {
    struct control_request request; /* hv's own copy */
    struct control_answer answer;   /* but for `sequence` and `result` */
    struct guest *guest;            /* of the request; NULL: its operation has none */
    struct vcpu *vcpu;              /* likewise, or the guest as a whole */
    uint8_t *data;                  /* in the window, request.size bytes; the guest may change them at any time */
    paddr_t window;                 /* where that is */
    struct job *job;                /* the request's own */
    enum job_verdict verdict;       /* JOB_MOVED, unless the operation goes on later */
};

/* The operation is to be called again. */
static inline enum control_result control_waits(struct control_call *call)
{
    call->verdict = JOB_WAITS;
    return CONTROL_OK;
}

/* What of a structure has room. */
static inline enum control_result control_put(struct control_call *call, const void *bytes, size_t size)
{
    call->answer.size = call->request.size < size ? call->request.size : (uint32_t)size;
    memcpy(call->data, bytes, call->answer.size);
    return CONTROL_OK;
}

/* A structure from the window, of which there are `size` bytes at least. The copy is what is checked. */
static inline void control_take(const struct control_call *call, void *bytes, size_t size)
{
    memcpy(bytes, call->data, size);
    __asm__ volatile("" : : : "memory");
}

#endif
