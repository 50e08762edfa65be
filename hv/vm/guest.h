/* SPDX-License-Identifier: BSD-2-Clause-Patent */
/* A guest from launch to end. */
#ifndef SEVISOR_GUEST_H
#define SEVISOR_GUEST_H

#include "guest/control.h"
#include "guest/manifest_format.h"
#include "hv/console/output.h"
#include "hv/cpu/lock.h"
#include "hv/dev/vuart.h"
#include "hv/lib/rate.h"
#include "hv/mm/memory.h"
#include "hv/svm/npt.h"
#include "hv/vm/vcpu.h"
#include "psp/psp.h"

#define GUEST_MAX MANIFEST_MAX_GUESTS
#define GUEST_MAX_VCPUS MANIFEST_MAX_VCPUS

enum guest_state {
    GUEST_EMPTY,
    GUEST_LAUNCHING,
    GUEST_RUNNING,      /* also while it is being ended: until all its resources are returned */
    GUEST_ENDED,        /* all resources returned */
    GUEST_REFUSED,      /* never ran */
};

enum guest_end_kind {
    GUEST_END_NONE,
    GUEST_END_POWEROFF,
    GUEST_END_RESET,
    GUEST_END_CRASH,    /* triple fault, unhandled exit, VMEXIT_INVALID */
    GUEST_END_DESTROYED,    /* by the operator */
    GUEST_END_REFUSED,  /* launch refused */
};

/* clang-format off */
enum launch_phase {
    LAUNCH_ALLOC, LAUNCH_COPY, LAUNCH_START_CMD, LAUNCH_UPDATE, LAUNCH_MEASURE_CMD, LAUNCH_FINISH_CMD, LAUNCH_PHASES
};
/* clang-format on */

struct launch_report {
    uint64_t tsc[LAUNCH_PHASES];
    uint64_t commands;          /* mailbox commands */
    uint64_t psp_bytes;         /* through LAUNCH_UPDATE_DATA */
    uint64_t table_pages;       /* nested tables */
    enum launch_phase phase;    /* that is under way; LAUNCH_MEASURE_CMD: measured, LAUNCH_FINISH_CMD: it runs */
    uint64_t hv_pages;          /* the rest of what hv took from its pool for it */
};

struct guest_counters {
    uint64_t run_tsc;           /* on CPUs */
    uint64_t exits[VCPU_EXIT_KINDS];
};

#define GUEST_IPI_CAME (UINT64_C(1) << 32)

struct guest {
    uint32_t index;
    struct lock lock;           /* LOCK_GUEST */
    enum guest_state state;     /* the boot CPU's to change */
    enum guest_end_kind end;    /* written under the lock */
    bool paused;                /* its vCPUs leave their queues, until sched_resume() */
    uint32_t awaits; /* GUEST_LAUNCHING: CONTROL_STATE_SESSION, CONTROL_STATE_HELD; 0: nothing of control's */
    uint32_t doorbell; /* the control guest's last write to it; 0: taken */
    char end_reason[256]; /* in words */
    const struct manifest_guest *config; /* hv's own checked copy; NULL: no such guest */
    uint32_t restarts_left;
    bool stays_ended; /* its launch is over, and none follows by itself */
    uint32_t launches;

    struct extent memory; /* all of guest-physical RAM; size 0: none */
    struct extent window; /* the control guest's; control.c */
    struct npt npt; /* root 0: none */
    uint32_t bus_pages; /* mapped there outside of RAM; exit_npf.c */
    uint64_t *shared, *share_changed; /* SEV: pages.c; NULL: none */
    uint32_t migration_control; /* its MSR; exit_msr.c */
    uint32_t asid; /* 0: none */
    bool sev;
    bool sev_context, sev_active; /* LAUNCH_START / ACTIVATE done, or sent and never answered */
    bool sev_memory_given; /* LAUNCH_UPDATE_DATA was never answered: the SEV firmware may still write */
    bool memory_damaged; /* an error that was not corrected, at this offset of its memory */
    uint64_t damaged_at;
    uint32_t sev_handle, sev_policy;
    const struct control_session *session; /* for its LAUNCH_START, in place of the manifest's; NULL: none */
    bool secret_placed; /* by LAUNCH_SECRET */
    bool receives; /* the launch is of a guest from elsewhere, by CONTROL_RECEIVE */
    bool received, state_set; /* RECEIVE_FINISH is done; STATE_SET of the whole guest */
    uint64_t vcpus_set; /* STATE_SET of these vCPUs: a bit each */
    uint64_t tsc_moved; /* what their TSC offsets get more here than where they come from */
    struct sev_measurement measurement;

    struct vcpu *vcpus[GUEST_MAX_VCPUS]; /* NULL: none; those that exist come first */
    uint32_t vcpus_queued; /* on some CPU's run queue, or on the way; 0: none can run any more */
    uint64_t awaiting_ipi; /* vCPUs with `awaits_ipi`; and above, in steps of GUEST_IPI_CAME, how often one was reset */
    struct vuart uart;
    struct output output; /* of the UART, to the operator */
    struct rate messages; /* about it; under the lock */
    uint64_t wbinvd_tsc; /* when the WBINVDs that it has had would be over, were they spread evenly; under the lock */
    struct launch_report report;

    uint64_t started_tsc; /* of this launch; 0: not running */
    uint64_t alive_tsc; /* wall time of all launches that are over */
    struct guest_counters past; /* theirs, too */
};

extern struct guest guests[GUEST_MAX];

/* Those of the manifest; they come first. */
static inline uint32_t guest_count(void)
{
    uint32_t count = 0;
    while (count < GUEST_MAX && guests[count].config != NULL)
        count++;
    return count;
}

/* How hv reaches memory that the guest shares with it: none and sev → PLAIN, host → ENCRYPTED. */
enum memory_view guest_shared_view(const struct guest *guest);
/* Where guest RAM [gpa, gpa+size) is; false when it is not all RAM. Overflow-safe. */
bool guest_ram_address(const struct guest *guest, gpaddr_t gpa, uint64_t size, paddr_t *out);
/* This CPU's window onto guest RAM [gpa, gpa+size), within one page; NULL when it is not all RAM.
 * guest_unmap_shared() after use, before the next. */
void *guest_map_shared(const struct guest *guest, gpaddr_t gpa, uint64_t size);
void guest_unmap_shared(void);

/* A byte from the operator, or CONSOLE_BREAK, to the guest's UART. False: no room, or an earlier break has not been read; it
 * is lost. */
bool guest_input(struct guest *guest, int input);

/* Marks a guest that runs or is being launched as ending: its vCPUs leave their CPUs' queues, and the boot CPU's loop begins its end
 * (control/). Any CPU; also from an exit handler. The first call counts, and returns true. */
bool guest_end(struct guest *guest, enum guest_end_kind end, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Its vCPUs leave their CPUs' queues; when vcpus_queued is 0, it is paused. On the boot CPU, or on that of a vCPU of it that runs. */
void guest_pause(struct guest *guest);
/* Whether its vCPUs are to leave their queues. */
static inline bool guest_stops(const struct guest *guest)
{
    return __atomic_load_n(&guest->end, __ATOMIC_ACQUIRE) != GUEST_END_NONE ||
           __atomic_load_n(&guest->paused, __ATOMIC_ACQUIRE);
}
/* Of all launches, the present one included. Its vCPUs may run on meanwhile: each counter is as it
 * was at some moment of the call, and never less than in the call before. */
void guest_read_counters(const struct guest *guest, struct guest_counters *counters);
/* Adds one vCPU's. */
void guest_count_vcpu(const struct vcpu *vcpu, struct guest_counters *counters);
/* It ran, and guest_end() has marked it; its state changes when all it held is returned. */
bool guest_is_ending(const struct guest *guest);

/* A guest's end or pause has begun or can go on, it is to be launched again, or it rang the doorbell: wakes the boot CPU, which checks all guests. On any CPU. */
void guest_note_end(void);
/* That is still to be done: the boot CPU's vCPU does not use up its slice before. */
bool guest_ends_wait(void);
/* The same, and no more from here on. On the boot CPU. */
bool guest_ends_noted(void);

#endif
